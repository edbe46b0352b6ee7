using SensorForwarder.Intake;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Status;

/// <summary>Another program that sends readings, in the status and on the page.</summary>
/// <param name="LastSeen">Null: it has not sent anything yet.</param>
/// <param name="Refused">Number of requests that were not stored, by reason.</param>
/// <param name="LastReason">The reason in the answer to the last of these requests.</param>
/// <param name="Silent">True: it has sent nothing for longer than allowed.</param>
internal sealed record SourceDocument(
    DateTime? LastSeen, long Accepted, Dictionary<string, long>? Refused, string? LastReason, bool? Silent)
{
    const int MaxReasonLength = 120;

    /// <summary>Sources in the order given; null: there is none.</summary>
    public static OrderedDictionary<string, SourceDocument>? Of(
        ModuleStatus status, IEnumerable<IntakeSourceStatus> sources) =>
        status.Sources.Count == 0
            ? null
            : new(sources.Select(source => KeyValuePair.Create(source.Name, Of(status, source))));

    static SourceDocument Of(ModuleStatus status, IntakeSourceStatus source) => new(
        source.LastSeen?.Time(status.Clock).UtcDateTime, source.Accepted,
        source.Refused.Count == 0
            ? null
            : source.Refused.OrderBy(count => count.Key).ToDictionary(count => NameOf(count.Key), count => count.Value),
        source.Reason is { } reason ? LogText.CleanSentences(reason, MaxReasonLength) : null,
        source.IsSilent ? true : null);

    /// <summary>Why a request was not stored, in one word.</summary>
    public static string NameOf(IntakeOutcome outcome)
    {
        var name = outcome.ToString();
        return char.ToLowerInvariant(name[0]) + name[1..];
    }
}
