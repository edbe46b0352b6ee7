namespace EdgeSimulator.Accounting;

/// <summary>Identifies an epoch of a module. Ids increase within an epoch and are never reused.</summary>
internal readonly record struct EpochKey(string Device, string Module, string Epoch);

/// <summary>The account of one epoch. Called only under the ledger's lock.</summary>
internal sealed class EpochAccount(EpochKey key, ModuleAccount module)
{
    readonly IdRanges _received = new();

    // Ids sent to edgeHub or to the HTTP endpoint.
    readonly IdRanges _taken = new();

    // Ids that may still be unconfirmed in the module: those sent since the last confirmation, and those sent between
    // the last two, since the module may end before it has stored the last one.
    IdRanges _unconfirmed = new();
    IdRanges _lastConfirmed = new();

    // In order of occurrence. The first cause that covers an id explains it; a doubt (Causes.IsDoubt) only if no other
    // does.
    readonly List<(string Cause, IdRanges Ids)> _mayRepeat = [];
    readonly Dictionary<string, long> _explained = new(StringComparer.Ordinal);

    public EpochKey Key { get; } = key;

    public ModuleAccount Module { get; } = module;

    public long Received { get; private set; }

    public long Unique => _received.Count;

    public long Duplicates => Received - Unique;

    public long MaxId => _received.Max;

    /// <summary>The last committed id as reported by the module; the highest id sent if it reported none.</summary>
    public long UpTo => LastCommittedId > 0 ? LastCommittedId : _taken.Max;

    /// <summary>The lowest id that arrived; <see cref="UpTo"/> + 1 if none has.</summary>
    public long FirstId => _received.Count > 0 ? _received.Min : UpTo + 1;

    /// <summary>The last committed id as reported by the module; 0 until it has reported one.</summary>
    public long LastCommittedId { get; set; }

    /// <summary>Number of duplicates by the cause that explains them.</summary>
    public IReadOnlyDictionary<string, long> Explained => _explained;

    /// <summary>Number of readings sent again, whether or not they had arrived before.</summary>
    public long SentAgain { get; private set; }

    /// <summary>Number of readings that edgeHub acknowledged and lost.</summary>
    public long LostByHub { get; set; }

    /// <summary>Records readings that the module has sent.</summary>
    /// <param name="ids">Their ids.</param>
    /// <param name="doubt">Why the module cannot know at present which readings have arrived. Null: it can.</param>
    /// <returns>Whether the module has reacted to the doubt by sending one of the doubtful readings again.</returns>
    public bool Take(IEnumerable<long> ids, string? doubt)
    {
        var wasSentBefore = false;
        foreach (var id in ids)
        {
            _unconfirmed.Add(id);
            if (!_taken.Add(id))
            {
                SentAgain++;
                wasSentBefore |= doubt is not null && Causes.IsDoubt(CauseOf(id));
            }
            else if (doubt is not null)
            {
                Repeatable(doubt).Add(id);
            }
        }

        return wasSentBefore;
    }

    /// <summary>The module has seen on the metrics page that everything sent so far has arrived.</summary>
    public void Confirm() => (_lastConfirmed, _unconfirmed) = (_unconfirmed, new IdRanges());

    /// <summary>Lets the cause explain duplicates of all readings that are unconfirmed in the module.</summary>
    public void Doubt(string cause)
    {
        foreach (var (first, last) in _unconfirmed.Ranges.Concat(_lastConfirmed.Ranges))
        {
            Repeatable(cause).AddRange(first, last);
        }
    }

    /// <summary>Counts an arrival. Returns true for the first arrival of the id.</summary>
    public bool Add(BatchItem item)
    {
        Received++;
        if (item.Gap is { } gap)
        {
            Module.Evicted.AddRange(gap.First, gap.Last);
        }

        if (_received.Add(item.Id))
        {
            return true;
        }

        if (CauseOf(item.Id) is { } cause)
        {
            _explained[cause] = _explained.GetValueOrDefault(cause) + 1;
        }

        return false;
    }

    public bool Has(long id) => _received.Contains(id);

    /// <summary>Lets the cause explain duplicates of these ids.</summary>
    public void MayRepeat(string cause, IEnumerable<long> ids)
    {
        foreach (var id in ids)
        {
            Repeatable(cause).Add(id);
        }
    }

    /// <summary>The ids that neither arrived nor were reported as evicted.</summary>
    public IEnumerable<(long First, long Last)> Lost() => Lost(UpTo);

    public IEnumerable<(long First, long Last)> Lost(long upTo) =>
        Missing(upTo).SelectMany(hole => Module.Evicted.Holes(hole.First, hole.Last));

    /// <summary>Number of ids that were reported as evicted and did not arrive.</summary>
    public long Evicted() => Count(Missing(UpTo)) - Count(Lost());

    string? CauseOf(long id) =>
        _mayRepeat.Where(entry => entry.Ids.Contains(id)).Select(entry => entry.Cause).OrderBy(Causes.IsDoubt).FirstOrDefault();

    IdRanges Repeatable(string cause)
    {
        var at = _mayRepeat.FindIndex(entry => entry.Cause == cause);
        if (at < 0)
        {
            at = _mayRepeat.Count;
            _mayRepeat.Add((cause, new IdRanges()));
        }

        return _mayRepeat[at].Ids;
    }

    IEnumerable<(long First, long Last)> Missing(long upTo) => _received.Holes(Module.FirstIdOf(this), upTo);

    static long Count(IEnumerable<(long First, long Last)> ranges) => ranges.Sum(range => range.Last - range.First + 1);
}
