using System.Globalization;
using EdgeSimulator.Accounting;
using EdgeSimulator.Runs;

namespace EdgeSimulator.Display;

/// <summary>Writes the result of a run in a few lines.</summary>
internal static class VerdictText
{
    public static void Write(TextWriter output, RunReport report, bool succeeded)
    {
        output.WriteLine();
        output.WriteLine($"{(succeeded ? "PASSED" : "FAILED")} ({report.ExitReason}): {report.Verdict}");
        Line("readings",
            $"{report.Unique} arrived, {report.Lost} lost, {report.Evicted} evicted, max backlog {report.MaxBacklog}");
        if (report.LostIds.Count > 0)
        {
            Line("lost ids", string.Join(", ", report.LostIds.Take(20)) + (report.LostIds.Count > 20 ? ", ..." : ""));
        }

        Line("duplicates", $"{report.Duplicates}, {report.DuplicatesExplained} of them explained");
        foreach (var (cause, count) in report.DuplicateCauses)
        {
            Line("", $"{count}: {cause}");
        }

        Line("sent again", $"{report.SentAgain} readings");
        Line("edgeHub", $"{report.HubRestarts} restarts, {report.LostByHub} readings lost after acknowledgement");
        Line("traffic", $"{report.Messages} messages, {report.Batches} batches, {report.Bytes} bytes");
        Line("schemas", report.SchemaViolations is { } violations ? $"{violations} messages violate docs/schemas" : "not checked");
        foreach (var epoch in report.Epochs)
        {
            Line("epoch", EpochText(epoch));
        }

        Line("module",
            $"{report.Restarts} restarts ({report.Kills} kills, {report.UnexpectedExits} unexpected exits), " +
            $"exit code {report.ModuleExitCode?.ToString(CultureInfo.InvariantCulture) ?? "none"}");
        Line("duration", string.Create(CultureInfo.InvariantCulture, $"{report.DurationSeconds:0.0} s"));

        void Line(string name, string text) => output.WriteLine($"  {name,-10}  {text}");
    }

    static string EpochText(EpochSummary epoch) =>
        $"{epoch.Epoch} of {epoch.Device}/{epoch.Module}: {epoch.Unique} arrived, highest id {epoch.MaxId}, committed {epoch.LastCommittedId}";
}
