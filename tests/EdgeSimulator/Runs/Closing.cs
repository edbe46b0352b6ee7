using System.Text.Json.Nodes;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Runs;

/// <summary>How a run ended.</summary>
internal readonly record struct RunOutcome(string ExitReason, string Verdict)
{
    public bool Succeeded => ExitReason == "complete";
}

/// <summary>
/// Ends a run: asks the module for its last committed id, calls its flush method, and waits until every reading up to
/// that id has arrived. Sensors continue to sense, so later readings do not count.
/// </summary>
internal sealed class Closing(
    EdgeHubServer hub, Ledger ledger, bool hasModule, TimeProvider time, RunLog log, MessageCheck? check = null)
{
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(120);
    static readonly TimeSpan DrainTimeout = TimeSpan.FromSeconds(120);
    static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(100);
    static readonly TimeSpan StatusTimeout = TimeSpan.FromSeconds(10);
    static readonly TimeSpan ArrivalTimeout = TimeSpan.FromSeconds(10);
    const int FlushTimeoutSeconds = 30;

    // The module's latest answer: its current epoch and the last id that it has committed.
    EpochKey? _epoch;
    long _target;

    /// <summary>Waits until the running module's readings have arrived. Null on success or at the deadline, when
    /// <see cref="Judge"/> decides; otherwise the reason why the module could not be asked.</summary>
    public async Task<RunOutcome?> DrainAsync(CancellationToken cancellationToken)
    {
        if (!hasModule && !hub.HasBeenConnected)
        {
            return new RunOutcome("moduleNotReachable", "no module ever connected");
        }

        log.Write("closing: waiting until the module is reachable; press Ctrl+C again to abort");
        if (!await WaitAsync(() => hub.IsReachable || HasLeft, ConnectTimeout, cancellationToken).ConfigureAwait(false))
        {
            return new RunOutcome("moduleNotReachable", hub.IsConnected
                ? $"the module connected but did not subscribe to direct methods within {ConnectTimeout.TotalSeconds} s"
                : $"the module did not connect within {ConnectTimeout.TotalSeconds} s");
        }

        var deadline = time.GetTimestamp() + (long)(DrainTimeout.TotalSeconds * time.TimestampFrequency);
        while (!HasLeft)
        {
            // Asked before the flush, so that the flush covers every reading up to the target.
            if (await AskAsync(cancellationToken).ConfigureAwait(false) is { } problem)
            {
                if (time.GetTimestamp() >= deadline)
                {
                    return new RunOutcome("moduleNotReachable", problem);
                }

                await Task.Delay(TimeSpan.FromSeconds(1), time, cancellationToken).ConfigureAwait(false);
                continue;
            }

            log.Write($"closing: committed up to id {_target} in epoch {_epoch!.Value.Epoch}; flushing");
            var flush = await hub.Methods.InvokeAsync("flush", new JsonObject { ["timeoutSeconds"] = FlushTimeoutSeconds },
                TimeSpan.FromSeconds(FlushTimeoutSeconds + 5), cancellationToken).ConfigureAwait(false);
            if (flush is not { Outcome: MethodOutcome.Answered, Status: 200 })
            {
                log.Write($"closing: flush failed: {flush.Outcome} {flush.Status} {flush.Payload?.ToJsonString()}");
            }

            var left = time.GetElapsedTime(time.GetTimestamp(), deadline);
            var timeout = left < ArrivalTimeout ? left : ArrivalTimeout;
            await WaitAsync(() => IsComplete() || HasLeft, timeout, cancellationToken).ConfigureAwait(false);
            if (IsComplete() || time.GetTimestamp() >= deadline)
            {
                return null;
            }
        }

        return new RunOutcome("moduleNotReachable", "the module has disconnected; its last committed id is unknown");
    }

    /// <summary>The verdict, after the module has stopped.</summary>
    public RunOutcome Judge(int? exitCode)
    {
        var summary = ledger.Summary();
        if (summary.Unique == 0)
        {
            return new RunOutcome("nothingArrived", "no reading arrived, and the module reports no committed readings");
        }

        if (summary.Lost > 0)
        {
            return new RunOutcome("lost", $"{summary.Lost} committed readings did not arrive");
        }

        if (check is { Count: > 0 })
        {
            return new RunOutcome(
                "schemaViolated", $"{check.Count} messages violate docs/schemas, the first one: {check.Shown[0]}");
        }

        if (hasModule && exitCode != 0)
        {
            return new RunOutcome("moduleExited", exitCode is null
                ? "all readings arrived, but the module did not stop within 10 s of SIGTERM and was killed"
                : $"all readings arrived, but the module exited with code {exitCode} after SIGTERM");
        }

        return new RunOutcome("complete", summary.Evicted == 0
            ? $"all {summary.Unique} readings arrived"
            : $"{summary.Unique} readings arrived, {summary.Evicted} were reported as evicted, none was lost");
    }

    /// <summary>Calls getStatus for epoch and lastCommittedId. Returns null on success, otherwise the
    /// problem.</summary>
    async Task<string?> AskAsync(CancellationToken cancellationToken)
    {
        var answer = await hub.Methods.InvokeAsync("getStatus", null, StatusTimeout, cancellationToken).ConfigureAwait(false);
        if (answer is not { Outcome: MethodOutcome.Answered, Status: 200, Payload: JsonObject status })
        {
            return $"getStatus failed: {answer.Outcome} {answer.Status}";
        }

        if (status["epoch"] is not JsonValue epoch || !epoch.TryGetValue<string>(out var name) ||
            status["lastCommittedId"] is not JsonValue last || !last.TryGetValue<long>(out var id))
        {
            return $"getStatus returned no epoch or no lastCommittedId: {status.ToJsonString()}";
        }

        var known = ledger.Summary().Epochs.FirstOrDefault(e => e.Epoch == name);
        _epoch = known is null
            ? new EpochKey(hub.Identity.DeviceId, hub.Identity.ModuleId, name)
            : new EpochKey(known.Device, known.Module, known.Epoch);
        _target = id;
        ledger.Committed(_epoch.Value, id);
        return null;
    }

    /// <summary>Whether a module started by hand has disconnected. The simulator does not restart it.</summary>
    bool HasLeft => !hasModule && hub.HasLeft;

    bool IsComplete() => ledger.IsComplete(_epoch!.Value, _target);

    async Task<bool> WaitAsync(Func<bool> condition, TimeSpan timeout, CancellationToken cancellationToken)
    {
        var start = time.GetTimestamp();
        while (!condition())
        {
            if (time.GetElapsedTime(start) >= timeout)
            {
                return false;
            }

            await Task.Delay(Poll, time, cancellationToken).ConfigureAwait(false);
        }

        return true;
    }
}
