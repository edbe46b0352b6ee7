namespace SensorForwarder.Sensors;

/// <summary>Measures by how much a value changed within a sliding window of time. Memory is bounded: the window is
/// divided into parts, and only the lowest and the highest value of each part are kept. Used by one loop.</summary>
/// <param name="length">Length of the window, which may be exceeded by one part; zero: from one value to the next.
/// </param>
internal sealed class ChangeWindow(TimeSpan length)
{
    const int Count = 16;

    readonly List<Part> _parts = new(Count + 2); // by time
    TimeSpan? _first;
    TimeSpan _now;

    /// <param name="Number">The time of the part, in lengths of a part.</param>
    readonly record struct Part(long Number, double Min, double Max);

    /// <summary>The difference between the lowest and the highest value; there is at least one.</summary>
    public double Change => _parts.Max(part => part.Max) - _parts.Min(part => part.Min);

    /// <summary>Whether the added values cover the whole window.</summary>
    public bool IsWhole => length == TimeSpan.Zero ? _parts.Count > 1 : _now - _first >= length;

    public void Add(double value, TimeSpan now)
    {
        (_first, _now) = (_first ?? now, now);
        if (length == TimeSpan.Zero)
        {
            if (_parts.Count > 1) _parts.RemoveAt(0);
            _parts.Add(new(0, value, value));
            return;
        }

        var number = now.Ticks / Math.Max(1, length.Ticks / Count);
        _parts.RemoveAll(part => part.Number < number - Count);
        if (_parts.Count > 0 && _parts[^1] is var last && last.Number == number)
            _parts[^1] = new(number, Math.Min(last.Min, value), Math.Max(last.Max, value));
        else
            _parts.Add(new(number, value, value));
    }
}
