using System.Text.Json.Serialization;

namespace EdgeSimulator.Accounting;

/// <summary>The account of one epoch.</summary>
internal sealed record EpochSummary(
    string Device, string Module, string Epoch, long Received, long Unique, long Duplicates, long Lost, long Evicted, long MaxId,
    long LastCommittedId, [property: JsonIgnore] IReadOnlyList<(long First, long Last)> LostRanges);

/// <summary>The account over all epochs, at one moment.</summary>
internal sealed record LedgerSummary(
    IReadOnlyList<EpochSummary> Epochs, IReadOnlyDictionary<string, long> DuplicateCauses, long Batches, long Messages, long Bytes,
    long MaxBacklog, LastBatch? Last)
{
    public long Received => Epochs.Sum(epoch => epoch.Received);

    public long Unique => Epochs.Sum(epoch => epoch.Unique);

    public long Duplicates => Epochs.Sum(epoch => epoch.Duplicates);

    public long DuplicatesExplained => DuplicateCauses.Values.Sum();

    public long Lost => Epochs.Sum(epoch => epoch.Lost);

    public long Evicted => Epochs.Sum(epoch => epoch.Evicted);
}
