using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;
using SensorForwarder.Text;

namespace SensorForwarder.Intake;

/// <summary>
/// Stores the messages that edgeHub routes to inputs of the module, one at a time. A message is acknowledged when it is
/// on the medium. While the buffer refuses readings, or the sender exceeds its limit, the message waits, and edgeHub
/// keeps later messages. A message that can never be stored becomes a dead letter, so that it does not block others.
/// </summary>
internal sealed class ModuleInputs(
    IntakeStore store, EdgeIdentity identity, TimeProvider timeProvider, ILogger<ModuleInputs> logger)
{
    /// <summary>How long storing a message is retried. After that, edgeHub redelivers the message.</summary>
    public static readonly TimeSpan Patience = InputMessage.AcknowledgeWithin - TimeSpan.FromSeconds(5);

    // By the name of the source; the number of sources is bounded.
    readonly Dictionary<string, RecentMessages> _recent = new(StringComparer.Ordinal);

    // Inputs to which the module's own output is routed, each logged once. Bounded like sources.
    readonly HashSet<string> _loops = new(StringComparer.Ordinal);

    /// <summary>Stores a message.</summary>
    /// <returns>Whether to acknowledge the message.</returns>
    public async Task<bool> TakeAsync(InputMessage message, CancellationToken cancellationToken)
    {
        var taken = new IntakeMessage(message);
        var source = store.Sources.Find(NameOf(taken));
        if (taken.Device == identity.DeviceId && taken.Module == identity.ModuleId)
        {
            ReportLoop(source, taken);
            return true;
        }

        if (!_recent.TryGetValue(source.Name, out var recent)) _recent[source.Name] = recent = new();
        UInt128? mark = taken.Id is null ? null : RecentMessages.MarkOf(message);
        if (mark is { } known && recent.Contains(known))
        {
            IntakeLog.Repeated(logger, source.Name);
            source.Count(IntakeAnswer.Stored, 0);
            return true;
        }

        using var patience = new CancellationTokenSource(Patience, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, patience.Token);
        try
        {
            await StoreAsync(source, taken, deadline.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }

        if (mark is { } stored) recent.Add(stored);
        return true;
    }

    /// <summary>Returns when the message is on the medium, as readings or as a dead letter.</summary>
    async Task StoreAsync(IntakeSource source, IntakeMessage message, CancellationToken cancellationToken)
    {
        IntakeAnswer? problem = null;
        while (true)
        {
            await SlowDownAsync(source, cancellationToken);
            var answer = problem is null
                ? await store.StoreMessageAsync(source, message, cancellationToken)
                : await store.DeadLetterAsync(source, message, problem, cancellationToken);
            switch (answer.Outcome)
            {
                case IntakeOutcome.Stored:
                    if (problem is not null) IntakeLog.DeadLettered(logger, source.Name, problem.Reason);
                    return;
                case IntakeOutcome.Malformed or IntakeOutcome.TooLarge:
                    problem = answer;
                    break;
                default:
                    await Task.Delay(answer.RetryAfter ?? TimeSpan.Zero, timeProvider, cancellationToken);
                    break;
            }
        }
    }

    async Task SlowDownAsync(IntakeSource source, CancellationToken cancellationToken)
    {
        if (source.WaitTime == TimeSpan.Zero) return;
        IntakeLog.Slowed(logger, source.Name);
        while (source.WaitTime is var wait && wait > TimeSpan.Zero)
            await Task.Delay(wait + TimeSpan.FromMilliseconds(1), timeProvider, cancellationToken);
    }

    void ReportLoop(IntakeSource source, IntakeMessage message)
    {
        source.Count(IntakeAnswer.Malformed("this module itself sent it: a route leads its output to its input"), 0);
        if (_loops.Count < IntakeSources.MaxSources && _loops.Add(message.Input))
            IntakeLog.OwnOutput(logger, LogText.Clean(message.Input), LogText.Clean(identity.ModuleId ?? ""));
    }

    string NameOf(IntakeMessage message)
    {
        var device = message.Device == identity.DeviceId && message.Module is not null ? null : message.Device;
        var sender = string.Join('/', new[] { device, message.Module }.OfType<string>());
        return LogText.Clean(sender.Length == 0 ? $"input {message.Input}" : $"input {message.Input} from {sender}");
    }
}
