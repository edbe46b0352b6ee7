using System.Collections;
using System.Globalization;
using System.Text;

namespace SensorForwarder.Readings;

/// <summary>The ids from <paramref name="First"/> to <paramref name="Last"/>, both included.</summary>
internal readonly record struct IdRange(long First, long Last)
{
    public long Count => Last - First + 1;
}

/// <summary>
/// An immutable set of reading ids: sorted, disjoint ranges that do not touch. The cost of every operation depends on
/// the number of ranges, not on the number of ids. Ids are 0..2^62. Thread-safe.
/// </summary>
internal sealed class IdSet : IEquatable<IdSet>, IEnumerable<IdRange>
{
    public static readonly IdSet Empty = new([]);

    readonly IdRange[] _ranges;

    IdSet(IdRange[] ranges) => _ranges = ranges;

    /// <summary>The number of ids.</summary>
    public long Count => _ranges.Sum(range => range.Count);

    public bool IsEmpty => _ranges.Length == 0;

    public int RangeCount => _ranges.Length;

    /// <summary>The lowest id.</summary>
    /// <exception cref="InvalidOperationException">The set is empty.</exception>
    public long First => IsEmpty ? throw new InvalidOperationException("The set is empty.") : _ranges[0].First;

    /// <summary>The highest id.</summary>
    /// <exception cref="InvalidOperationException">The set is empty.</exception>
    public long Last => IsEmpty ? throw new InvalidOperationException("The set is empty.") : _ranges[^1].Last;

    /// <summary>The ids from first to last, both included; none when last is below first.</summary>
    public static IdSet Of(long first, long last) => first > last ? Empty : new([new(first, last)]);

    /// <param name="ids">In any order, with or without repeats.</param>
    public static IdSet Of(IEnumerable<long> ids)
    {
        var ranges = new List<IdRange>();
        foreach (var id in ids)
        {
            if (ranges.Count > 0 && id == ranges[^1].Last + 1)
                ranges[^1] = ranges[^1] with { Last = id };
            else
                ranges.Add(new(id, id));
        }
        return OfRanges(ranges);
    }

    /// <param name="ranges">In any order; they may overlap.</param>
    public static IdSet OfRanges(IEnumerable<IdRange> ranges)
    {
        var joined = new List<IdRange>();
        foreach (var range in ranges.Where(range => range.Count > 0).OrderBy(range => range.First))
            Append(joined, range);
        return joined.Count == 0 ? Empty : new([.. joined]);
    }

    public bool Contains(long id)
    {
        var index = IndexAtOrAfter(id);
        return index < _ranges.Length && _ranges[index].First <= id;
    }

    /// <summary>Whether all ids of a range are in the set.</summary>
    public bool ContainsAll(long first, long last)
    {
        var index = IndexAtOrAfter(first);
        return index < _ranges.Length && _ranges[index].First <= first && _ranges[index].Last >= last;
    }

    /// <summary>The lowest id from <paramref name="id"/> on that is not in the set.</summary>
    public long FirstMissingFrom(long id)
    {
        var index = IndexAtOrAfter(id);
        return index < _ranges.Length && _ranges[index].First <= id ? _ranges[index].Last + 1 : id;
    }

    public IdSet Union(IdSet other)
    {
        if (other.IsEmpty)
            return this;
        if (IsEmpty)
            return other;
        var joined = new List<IdRange>(_ranges.Length + other._ranges.Length);
        for (int mine = 0, theirs = 0; mine < _ranges.Length || theirs < other._ranges.Length;)
        {
            var takesMine = theirs == other._ranges.Length
                || (mine < _ranges.Length && _ranges[mine].First <= other._ranges[theirs].First);
            Append(joined, takesMine ? _ranges[mine++] : other._ranges[theirs++]);
        }
        return new([.. joined]);
    }

    public IdSet Intersect(IdSet other)
    {
        var common = new List<IdRange>();
        for (int mine = 0, theirs = 0; mine < _ranges.Length && theirs < other._ranges.Length;)
        {
            var (a, b) = (_ranges[mine], other._ranges[theirs]);
            var (first, last) = (Math.Max(a.First, b.First), Math.Min(a.Last, b.Last));
            if (first <= last)
                common.Add(new(first, last));
            if (a.Last < b.Last)
                mine++;
            else
                theirs++;
        }
        return common.Count == 0 ? Empty : new([.. common]);
    }

    public IdSet Except(IdSet other)
    {
        if (IsEmpty || other.IsEmpty)
            return this;
        var left = new List<IdRange>(_ranges.Length);
        var theirs = 0;
        foreach (var range in _ranges)
        {
            var first = range.First;
            while (theirs < other._ranges.Length && other._ranges[theirs].Last < first)
                theirs++;
            for (var at = theirs; at < other._ranges.Length && other._ranges[at].First <= range.Last; at++)
            {
                if (other._ranges[at].First > first)
                    left.Add(new(first, other._ranges[at].First - 1));
                first = other._ranges[at].Last + 1;
            }
            if (first <= range.Last)
                left.Add(new(first, range.Last));
        }
        return left.Count == 0 ? Empty : new([.. left]);
    }

    /// <summary>The lowest <paramref name="count"/> ids; all of them when there are fewer.</summary>
    public IdSet Take(long count)
    {
        var taken = new List<IdRange>();
        foreach (var range in _ranges)
        {
            if (count <= 0)
                break;
            taken.Add(range with { Last = Math.Min(range.Last, range.First + count - 1) });
            count -= range.Count;
        }
        return taken.Count == 0 ? Empty : new([.. taken]);
    }

    /// <summary>A short text form: each range as its distance from the end of the range before, followed by <c>+n</c>
    /// if it has n more ids. <c>{5..9, 12}</c> is <c>5+4 3</c>; the empty set is an empty text.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        var before = 0L;
        foreach (var range in _ranges)
        {
            if (text.Length > 0)
                text.Append(' ');
            text.Append(CultureInfo.InvariantCulture, $"{range.First - before}");
            if (range.Count > 1)
                text.Append(CultureInfo.InvariantCulture, $"+{range.Count - 1}");
            before = range.Last;
        }
        return text.ToString();
    }

    /// <summary>Parses the form that <see cref="ToString"/> writes.</summary>
    /// <returns>Null when the text is not in that form.</returns>
    public static IdSet? TryParse(string text)
    {
        if (text.Length == 0)
            return Empty;
        const long MaxId = 1L << 62;
        var ranges = new List<IdRange>();
        var before = 0L;
        foreach (var part in text.Split(' '))
        {
            var plus = part.IndexOf('+', StringComparison.Ordinal);
            var more = 0L;
            if (!TryNumber(plus < 0 ? part : part[..plus], out var distance)
                || (plus >= 0 && (!TryNumber(part[(plus + 1)..], out more) || more == 0))
                || distance > MaxId - before || more > MaxId - before - distance
                || (ranges.Count > 0 && distance < 2))
            {
                return null;
            }
            ranges.Add(new(before + distance, before + distance + more));
            before = ranges[^1].Last;
        }
        return new([.. ranges]);

        static bool TryNumber(string digits, out long number) =>
            long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out number);
    }

    public bool Equals(IdSet? other) => other is not null && _ranges.AsSpan().SequenceEqual(other._ranges);

    public override bool Equals(object? obj) => Equals(obj as IdSet);

    public override int GetHashCode() => IsEmpty ? 0 : HashCode.Combine(_ranges.Length, _ranges[0], _ranges[^1]);

    public IEnumerator<IdRange> GetEnumerator() => ((IEnumerable<IdRange>)_ranges).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    // Ranges must be appended in the order of their first ids.
    static void Append(List<IdRange> joined, IdRange range)
    {
        if (joined.Count > 0 && range.First <= joined[^1].Last + 1)
            joined[^1] = joined[^1] with { Last = Math.Max(joined[^1].Last, range.Last) };
        else
            joined.Add(range);
    }

    // The index of the first range that ends at the id or above it.
    int IndexAtOrAfter(long id)
    {
        var (low, high) = (0, _ranges.Length);
        while (low < high)
        {
            var middle = low + ((high - low) / 2);
            if (_ranges[middle].Last < id)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }
}
