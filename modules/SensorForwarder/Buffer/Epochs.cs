namespace SensorForwarder.Buffer;

/// <summary>Maps ids to epochs: the content of the table <c>epoch</c>. Immutable.</summary>
internal sealed class Epochs
{
    readonly (long FirstId, string Epoch)[] _rows;

    /// <param name="rows">The epochs with their first ids.</param>
    /// <param name="current">The epoch of readings appended from now on.</param>
    public Epochs(IEnumerable<(long FirstId, string Epoch)> rows, string current)
    {
        _rows = [.. rows.OrderBy(row => row.FirstId)];
        Current = current;
    }

    public string Current { get; }

    /// <summary>Whether readings of the current epoch are stored.</summary>
    public bool HasCurrent => Array.Exists(_rows, row => row.Epoch == Current);

    /// <summary>Begins the current epoch with an id; replaces one that begins with the same id, since no reading has
    /// it.</summary>
    public Epochs WithCurrentFrom(long firstId) =>
        new(_rows.Where(row => row.FirstId != firstId).Append((firstId, Current)), Current);

    /// <summary>The epoch of an id; the current one for ids below the first known epoch.</summary>
    public string Of(long id)
    {
        for (var i = _rows.Length - 1; i >= 0; i--)
        {
            if (_rows[i].FirstId <= id)
                return _rows[i].Epoch;
        }
        return Current;
    }
}
