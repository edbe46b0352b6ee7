namespace SensorForwarder.Buffer;

/// <summary>Maps ids to epochs: the content of the table <c>epoch</c>. Immutable.</summary>
internal sealed class Epochs
{
    readonly (long FirstId, string Epoch)[] _rows;

    public Epochs(IEnumerable<(long FirstId, string Epoch)> rows) => _rows = [.. rows.OrderBy(row => row.FirstId)];

    public bool Has(string epoch) => Array.Exists(_rows, row => row.Epoch == epoch);

    public Epochs With(long firstId, string epoch) =>
        new(_rows.Where(row => row.FirstId != firstId).Append((firstId, epoch)));

    /// <summary>The epoch of an id.</summary>
    /// <param name="fallback">Returned for ids below the first known epoch.</param>
    public string Of(long id, string fallback)
    {
        for (var i = _rows.Length - 1; i >= 0; i--)
        {
            if (_rows[i].FirstId <= id)
                return _rows[i].Epoch;
        }
        return fallback;
    }
}
