using System.Globalization;

namespace EdgeSimulator.Accounting;

/// <summary>A set of ids, stored as ranges: memory grows with the number of gaps, not of ids. Not
/// thread-safe.</summary>
internal sealed class IdRanges
{
    // Ascending, disjoint, not adjacent: [1,3] and [4,6] are stored as [1,6].
    readonly List<(long First, long Last)> _ranges = [];

    public long Count { get; private set; }

    public long Min => _ranges.Count == 0 ? 0 : _ranges[0].First;

    public long Max => _ranges.Count == 0 ? 0 : _ranges[^1].Last;

    public IReadOnlyList<(long First, long Last)> Ranges => _ranges;

    /// <summary>Adds an id. Returns whether it was new.</summary>
    public bool Add(long id)
    {
        var at = IndexAtOrAfter(id);
        if (at < _ranges.Count && _ranges[at].First <= id)
        {
            return false;
        }

        var joinsLeft = at > 0 && _ranges[at - 1].Last == id - 1;
        var joinsRight = at < _ranges.Count && _ranges[at].First == id + 1;
        if (joinsLeft && joinsRight)
        {
            _ranges[at - 1] = (_ranges[at - 1].First, _ranges[at].Last);
            _ranges.RemoveAt(at);
        }
        else if (joinsLeft)
        {
            _ranges[at - 1] = (_ranges[at - 1].First, id);
        }
        else if (joinsRight)
        {
            _ranges[at] = (id, _ranges[at].Last);
        }
        else
        {
            _ranges.Insert(at, (id, id));
        }

        Count++;
        return true;
    }

    /// <summary>Adds all ids from first to last.</summary>
    public void AddRange(long first, long last)
    {
        if (first > last)
        {
            return;
        }

        // Merges all ranges that overlap or touch the new one.
        var from = IndexAtOrAfter(first - 1);
        var to = from;
        var (low, high) = (first, last);
        while (to < _ranges.Count && _ranges[to].First <= last + 1)
        {
            low = Math.Min(low, _ranges[to].First);
            high = Math.Max(high, _ranges[to].Last);
            Count -= _ranges[to].Last - _ranges[to].First + 1;
            to++;
        }

        _ranges.RemoveRange(from, to - from);
        _ranges.Insert(from, (low, high));
        Count += high - low + 1;
    }

    public bool Contains(long id)
    {
        var at = IndexAtOrAfter(id);
        return at < _ranges.Count && _ranges[at].First <= id;
    }

    /// <summary>The ids from first to last that are not in the set.</summary>
    public IEnumerable<(long First, long Last)> Holes(long first, long last)
    {
        var next = first;
        for (var at = IndexAtOrAfter(first); at < _ranges.Count && _ranges[at].First <= last; at++)
        {
            if (_ranges[at].First > next)
            {
                yield return (next, _ranges[at].First - 1);
            }

            next = Math.Max(next, _ranges[at].Last + 1);
        }

        if (next <= last)
        {
            yield return (next, last);
        }
    }

    /// <summary><c>7</c> or <c>5-9</c>.</summary>
    public static string Text((long First, long Last) range) => range.First == range.Last
        ? range.First.ToString(CultureInfo.InvariantCulture)
        : string.Create(CultureInfo.InvariantCulture, $"{range.First}-{range.Last}");

    /// <summary>Index of the first range that contains the id or follows it.</summary>
    int IndexAtOrAfter(long id)
    {
        var (low, high) = (0, _ranges.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_ranges[middle].Last < id)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
