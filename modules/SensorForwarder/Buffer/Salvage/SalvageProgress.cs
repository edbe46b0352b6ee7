using System.Globalization;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>The progress of copying an old file. Stored in <c>meta</c> in the transactions that copy its readings, so
/// that it resumes after a crash. Immutable.</summary>
/// <param name="File">The name of the old file in the directory; empty when it was deleted or renamed.</param>
/// <param name="IsWhole">Whether the file is undamaged; it is then deleted when it has been copied.</param>
/// <param name="IsPlain">Whether the file is unencrypted although a key is configured now.</param>
/// <param name="LastOldId">The highest id of the old file; higher ones belong to new readings.</param>
/// <param name="Expected">The number of undelivered readings; -1 when unknown.</param>
/// <param name="NextPage">The first page that is not copied yet.</param>
/// <param name="Readings">Readings copied so far, without dead letters.</param>
/// <param name="DeadLetters">Dead letters copied so far.</param>
/// <param name="FirstId">The lowest id copied so far; 0: none.</param>
/// <param name="LastId">The highest id copied so far.</param>
/// <param name="Delivered">Ids that are not sent again.</param>
internal sealed record SalvageProgress(
    DateTimeOffset At, string Reason, string File, bool IsWhole, bool IsPlain, long LastOldId, long Expected,
    uint NextPage, long Readings, long DeadLetters, long FirstId, long LastId, IdSet Delivered)
{
    const int Lines = 12;

    public string Text => string.Join(
        '\n', At.ToUnixTimeMilliseconds(), $"={Reason.ReplaceLineEndings(" ")}", $"={File}",
        (IsWhole ? 1 : 0) + (IsPlain ? 2 : 0), LastOldId, Expected, NextPage, Readings, DeadLetters, FirstId, LastId,
        $"={Delivered}");

    /// <summary>Undelivered readings that were not found; meaningful when all pages are copied.</summary>
    public long Missing => IsWhole ? 0
        : Expected >= 0 ? Math.Max(0, Expected - Readings)
        : FirstId == 0 ? 0
        : Math.Max(0, LastId - FirstId + 1 - Readings - Delivered.Intersect(IdSet.Of(FirstId, LastId)).Count);

    public SalvageReport ToReport(bool isComplete) =>
        new(At, Reason, Readings + DeadLetters, isComplete ? Missing : 0, File) { IsComplete = isComplete };

    /// <returns>Null when the text is invalid.</returns>
    public static SalvageProgress? Parse(string? text)
    {
        if (text?.Split('\n') is not { Length: Lines } lines || IdSet.TryParse(lines[^1][1..]) is not { } delivered)
            return null;
        var numbers = new long[Lines];
        for (var i = 0; i < lines.Length; i++)
        {
            if (i is not 1 and not 2 and not Lines - 1
                && !long.TryParse(lines[i], CultureInfo.InvariantCulture, out numbers[i]))
            {
                return null;
            }
        }
        return new SalvageProgress(
            TimeRepair.Moment(numbers[0]), lines[1][1..], lines[2][1..], (numbers[3] & 1) != 0, (numbers[3] & 2) != 0,
            numbers[4], numbers[5],
            (uint)Math.Clamp(numbers[6], 1, uint.MaxValue), numbers[7], numbers[8], numbers[9], numbers[10],
            delivered);
    }

    /// <summary>Parses an unfinished salvage of a file of format 1, which then starts again.</summary>
    public static SalvageProgress? ParseFormat1(string? text) =>
        text?.Split('\n') is { Length: 11 } lines
            && long.TryParse(lines[0], CultureInfo.InvariantCulture, out var at)
            && long.TryParse(lines[3], CultureInfo.InvariantCulture, out var lastOldId)
            && long.TryParse(lines[4], CultureInfo.InvariantCulture, out var delivered)
            ? new SalvageProgress(
                TimeRepair.Moment(at), lines[1], Path.GetFileName(lines[2]), IsWhole: false, IsPlain: false, lastOldId,
                Expected: -1,
                NextPage: 1, 0, 0, 0, 0, IdSet.Of(1, delivered))
            : null;
}
