using System.Globalization;

namespace SensorForwarder.Buffer;

/// <summary>How far the readings of a big damaged file have been taken over. Kept in <c>meta</c>, changed in the
/// transactions that take them over, so that it goes on after a crash where it was.</summary>
/// <param name="KeptAs">The damaged file.</param>
/// <param name="LastOldId">Higher ids were given to new readings.</param>
/// <param name="AcknowledgedThrough">Readings up to here were delivered.</param>
/// <param name="Holes">Ids that were known not to wait.</param>
/// <param name="NextPage">Pages before this one are done.</param>
/// <param name="Readings">Taken over so far, dead letters not included.</param>
/// <param name="DeadLetters">Taken over so far.</param>
/// <param name="FirstId">The lowest id of those; 0 before the first.</param>
/// <param name="LastId">The highest.</param>
internal sealed record SalvageProgress(
    DateTimeOffset At, string Reason, string KeptAs, long LastOldId, long AcknowledgedThrough, long Holes,
    uint NextPage, long Readings, long DeadLetters, long FirstId, long LastId)
{
    public const string Name = "salvaging";

    /// <summary>Where one waits that was not done when its new file was damaged in turn.</summary>
    public const string BeforeName = "salvaging_before";

    public string Text => string.Join(
        '\n', At.ToUnixTimeMilliseconds(), Reason, KeptAs, LastOldId, AcknowledgedThrough, Holes, NextPage, Readings,
        DeadLetters, FirstId, LastId);

    /// <summary>Ids between the first and the last that were not found; known when all pages are done.</summary>
    public long Missing => FirstId == 0 ? 0 : Math.Max(0, LastId - FirstId + 1 - Readings - Holes);

    public SalvageReport ToReport(bool isComplete) =>
        new(At, Reason, Readings + DeadLetters, isComplete ? Missing : 0, KeptAs) { IsComplete = isComplete };

    public static SalvageProgress Begin(SalvageReport report, long lastOldId, SalvagedRecords records) => new(
        report.At, report.Reason, report.KeptAs, lastOldId, records.AcknowledgedThrough(), BufferSalvage.Holes(records),
        NextPage: 1, Readings: 0, DeadLetters: 0, FirstId: 0, LastId: 0);

    /// <summary>Null when there is none, or it does not read.</summary>
    public static SalvageProgress? Parse(string? text)
    {
        if (text?.Split('\n') is not { Length: 11 } parts)
            return null;
        var numbers = new long[11];
        for (var i = 0; i < parts.Length; i++)
        {
            if (i is not 1 and not 2 && !long.TryParse(parts[i], CultureInfo.InvariantCulture, out numbers[i]))
                return null;
        }
        return new SalvageProgress(
            TimeRepair.Moment(numbers[0]), parts[1], parts[2], numbers[3], numbers[4], numbers[5],
            (uint)Math.Clamp(numbers[6], 1, uint.MaxValue), numbers[7], numbers[8], numbers[9], numbers[10]);
    }
}
