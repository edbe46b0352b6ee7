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
/// The end of a run: asks the module how far it has committed, lets it flush, and waits until all of that has arrived. Sensors go
/// on sensing meanwhile, so the target is what was committed at one moment.
/// </summary>
internal sealed class Closing(EdgeHubServer hub, Ledger ledger, bool hasModule, TimeProvider time, RunLog log)
{
    static readonly TimeSpan ConnectPatience = TimeSpan.FromSeconds(120);
    static readonly TimeSpan DrainPatience = TimeSpan.FromSeconds(120);
    static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(100);
    static readonly TimeSpan StatusTimeout = TimeSpan.FromSeconds(10);
    static readonly TimeSpan FlushPatience = TimeSpan.FromSeconds(10);
    const int FlushTimeoutSeconds = 30;

    // What the module owed when it was asked last.
    EpochKey? _epoch;
    long _target;

    /// <summary>Drains the module while it runs. Null: all is here; otherwise why not.</summary>
    public async Task<RunOutcome?> DrainAsync(CancellationToken cancellationToken)
    {
        if (!hasModule && !hub.HasBeenConnected)
        {
            return new RunOutcome("moduleNotReachable", "no module has ever connected");
        }

        log.Write("closing: waiting for the module to be reachable; a second Ctrl+C ends it at once");
        if (!await WaitAsync(() => hub.IsReachable, ConnectPatience, cancellationToken).ConfigureAwait(false))
        {
            return new RunOutcome("moduleNotReachable", hub.IsConnected
                ? $"the module is connected but has not subscribed to direct methods within {ConnectPatience.TotalSeconds} s"
                : $"the module has not connected within {ConnectPatience.TotalSeconds} s");
        }

        var deadline = time.GetTimestamp() + (long)(DrainPatience.TotalSeconds * time.TimestampFrequency);
        while (true)
        {
            // First how far it is, then the flush: what the flush sends is at least that.
            if (await AskAsync(cancellationToken).ConfigureAwait(false) is { } problem)
            {
                if (time.GetTimestamp() >= deadline)
                {
                    return new RunOutcome("moduleNotReachable", problem);
                }

                await Task.Delay(TimeSpan.FromSeconds(1), time, cancellationToken).ConfigureAwait(false);
                continue;
            }

            log.Write($"closing: {_target} readings committed in epoch {_epoch!.Value.Epoch}; flushing");
            var flush = await hub.Methods.InvokeAsync("flush", new JsonObject { ["timeoutSeconds"] = FlushTimeoutSeconds },
                TimeSpan.FromSeconds(FlushTimeoutSeconds + 5), cancellationToken).ConfigureAwait(false);
            if (flush is not { Outcome: MethodOutcome.Answered, Status: 200 })
            {
                log.Write($"closing: flush ended with {flush.Outcome} {flush.Status} {flush.Payload?.ToJsonString()}");
            }

            var left = time.GetElapsedTime(time.GetTimestamp(), deadline);
            if (await WaitAsync(IsComplete, left < FlushPatience ? left : FlushPatience, cancellationToken).ConfigureAwait(false))
            {
                return null;
            }

            if (time.GetTimestamp() >= deadline)
            {
                return null;
            }
        }
    }

    /// <summary>The verdict, once the module is stopped.</summary>
    public RunOutcome Judge(int? exitCode)
    {
        var summary = ledger.Summary();
        if (summary.Unique == 0)
        {
            return new RunOutcome("nothingArrived", "not one reading arrived, and the module says that it has committed none");
        }

        if (summary.Lost > 0)
        {
            return new RunOutcome("lost", $"{summary.Lost} committed readings have not arrived");
        }

        if (hasModule && exitCode != 0)
        {
            return new RunOutcome("moduleExited", exitCode is null
                ? "all readings arrived, but the module did not stop within 10 s of SIGTERM and was killed"
                : $"all readings arrived, but the module exited with code {exitCode} after SIGTERM");
        }

        return new RunOutcome("complete", summary.Evicted == 0
            ? $"all {summary.Unique} readings arrived"
            : $"{summary.Unique} readings arrived, {summary.Evicted} were announced as evicted, none was lost");
    }

    /// <summary>Asks getStatus for epoch and lastCommittedId. Null if that worked.</summary>
    async Task<string?> AskAsync(CancellationToken cancellationToken)
    {
        var answer = await hub.Methods.InvokeAsync("getStatus", null, StatusTimeout, cancellationToken).ConfigureAwait(false);
        if (answer is not { Outcome: MethodOutcome.Answered, Status: 200, Payload: JsonObject status })
        {
            return $"getStatus ended with {answer.Outcome} {answer.Status}";
        }

        if (status["epoch"] is not JsonValue epoch || !epoch.TryGetValue<string>(out var name) ||
            status["lastCommittedId"] is not JsonValue last || !last.TryGetValue<long>(out var id))
        {
            return $"getStatus answers no epoch and lastCommittedId: {status.ToJsonString()}";
        }

        var known = ledger.Summary().Epochs.FirstOrDefault(e => e.Epoch == name);
        _epoch = known is null
            ? new EpochKey(hub.Identity.DeviceId, hub.Identity.ModuleId, name)
            : new EpochKey(known.Device, known.Module, known.Epoch);
        _target = id;
        ledger.Committed(_epoch.Value, id);
        return null;
    }

    bool IsComplete() => ledger.IsComplete(_epoch!.Value, _target);

    async Task<bool> WaitAsync(Func<bool> condition, TimeSpan patience, CancellationToken cancellationToken)
    {
        var start = time.GetTimestamp();
        while (!condition())
        {
            if (time.GetElapsedTime(start) >= patience)
            {
                return false;
            }

            await Task.Delay(Poll, time, cancellationToken).ConfigureAwait(false);
        }

        return true;
    }
}
