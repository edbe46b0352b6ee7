using System.Text.Json.Serialization;

namespace EdgeSimulator.Accounting;

/// <summary>The account of one epoch.</summary>
internal sealed record EpochSummary(
    string Device, string Module, string Epoch, long Received, long Unique, long Duplicates, long Lost, long Evicted, long MaxId,
    long LastCommittedId, long SentAgain, long LostByHub, [property: JsonIgnore] IReadOnlyList<(long First, long Last)> LostRanges);

/// <summary>A snapshot of the account of all epochs.</summary>
internal sealed record LedgerSummary(
    IReadOnlyList<EpochSummary> Epochs, IReadOnlyDictionary<string, long> DuplicateCauses, long Batches, long Messages, long Bytes,
    long MaxBacklog, LastBatch? Last)
{
    public long Received => Epochs.Sum(epoch => epoch.Received);

    public long Unique => Epochs.Sum(epoch => epoch.Unique);

    public long Duplicates => Epochs.Sum(epoch => epoch.Duplicates);

    public long DuplicatesExplained => DuplicateCauses.Values.Sum();

    public long Lost => Epochs.Sum(epoch => epoch.Lost);

    /// <summary>Number of readings sent again, whether or not they had arrived before.</summary>
    public long SentAgain => Epochs.Sum(epoch => epoch.SentAgain);

    /// <summary>Number of readings that edgeHub acknowledged and lost. They may have arrived later, when sent
    /// again.</summary>
    public long LostByHub => Epochs.Sum(epoch => epoch.LostByHub);

    public long Evicted => Epochs.Sum(epoch => epoch.Evicted);
}
