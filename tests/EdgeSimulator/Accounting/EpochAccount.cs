namespace EdgeSimulator.Accounting;

/// <summary>Whose ids they are: ids count up without reuse inside an epoch.</summary>
internal readonly record struct EpochKey(string Device, string Module, string Epoch);

/// <summary>What arrived of one epoch. Locked by the ledger.</summary>
internal sealed class EpochAccount(EpochKey key)
{
    readonly IdRanges _received = new();
    readonly IdRanges _evicted = new();

    // In the order in which the causes came up: the first one that covers an id explains it.
    readonly List<(string Cause, IdRanges Ids)> _mayRepeat = [];
    readonly Dictionary<string, long> _explained = new(StringComparer.Ordinal);

    public EpochKey Key { get; } = key;

    public long Received { get; private set; }

    public long Unique => _received.Count;

    public long Duplicates => Received - Unique;

    public long MaxId => _received.Max;

    /// <summary>How far the module says that it has committed; 0 as long as it has not said so.</summary>
    public long LastCommittedId { get; set; }

    /// <summary>Duplicates by the cause that explains them.</summary>
    public IReadOnlyDictionary<string, long> Explained => _explained;

    /// <summary>Counts an arrival. Returns whether it was the first of its id.</summary>
    public bool Add(BatchItem item)
    {
        Received++;
        if (item.Gap is { } gap)
        {
            _evicted.AddRange(gap.First, gap.Last);
        }

        if (_received.Add(item.Id))
        {
            return true;
        }

        var cause = _mayRepeat.Find(entry => entry.Ids.Contains(item.Id)).Cause;
        if (cause is not null)
        {
            _explained[cause] = _explained.GetValueOrDefault(cause) + 1;
        }

        return false;
    }

    public bool Has(long id) => _received.Contains(id);

    /// <summary>These ids may come again, and this is why.</summary>
    public void MayRepeat(string cause, IEnumerable<long> ids)
    {
        var at = _mayRepeat.FindIndex(entry => entry.Cause == cause);
        if (at < 0)
        {
            at = _mayRepeat.Count;
            _mayRepeat.Add((cause, new IdRanges()));
        }

        foreach (var id in ids)
        {
            _mayRepeat[at].Ids.Add(id);
        }
    }

    /// <summary>The ids that neither arrived nor were announced evicted: up to what the module said it had committed, or, of an epoch
    /// that it said nothing about, up to the highest that came.</summary>
    public IEnumerable<(long First, long Last)> Lost() => Lost(LastCommittedId > 0 ? LastCommittedId : MaxId);

    public IEnumerable<(long First, long Last)> Lost(long upTo) =>
        _received.Holes(1, upTo).SelectMany(hole => _evicted.Holes(hole.First, hole.Last));

    /// <summary>How many ids were announced evicted and did not arrive.</summary>
    public long Evicted()
    {
        var upTo = LastCommittedId > 0 ? LastCommittedId : MaxId;
        return Count(_received.Holes(1, upTo)) - Count(Lost(upTo));
    }

    static long Count(IEnumerable<(long First, long Last)> ranges) => ranges.Sum(range => range.Last - range.First + 1);
}
