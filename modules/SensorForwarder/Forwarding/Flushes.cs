using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>The pending flush requests: each waits until all readings that were in the buffer at its start are settled.
/// Thread-safe; the forwarder's loop reports the progress.</summary>
internal sealed class Flushes(TelemetryBuffer buffer, TimeProvider timeProvider)
{
    readonly List<long> _targets = []; // guarded by its own lock
    volatile TaskCompletionSource _progress = NewPulse();
    long _settledThrough;

    /// <summary>Readings up to this id are sent without waiting for full batches or the backfill rate; 0: no flush is
    /// pending.</summary>
    public long Through
    {
        get
        {
            lock (_targets) return _targets.Count == 0 ? 0 : _targets.Max();
        }
    }

    /// <summary>Whether a flush waits for readings that are not settled yet.</summary>
    public bool IsPending => Volatile.Read(ref _settledThrough) < Through;

    /// <summary>Reports that every reading up to this id was accepted, dead-lettered or evicted.</summary>
    public void Report(long settledThrough)
    {
        Volatile.Write(ref _settledThrough, settledThrough);
        Interlocked.Exchange(ref _progress, NewPulse()).TrySetResult();
    }

    /// <summary>Commits what is in memory, and waits until everything is settled.</summary>
    /// <param name="begun">Called when <see cref="Through"/> was set.</param>
    /// <param name="changed">Called when the flush has ended.</param>
    /// <returns>Whether everything was settled in time.</returns>
    public async Task<bool> RunAsync(
        TimeSpan timeout, Action begun, Action changed, CancellationToken cancellationToken)
    {
        var started = timeProvider.GetTimestamp();
        try
        {
            await buffer.CommitAsync(cancellationToken).WaitAsync(timeout, timeProvider, cancellationToken);
        }
        catch (Exception exception) when (exception is TimeoutException or BufferUnavailableException)
        {
            return false; // the volume does not accept writes
        }

        var target = buffer.LastCommittedId;
        lock (_targets) _targets.Add(target);
        begun();
        try
        {
            while (true)
            {
                var progress = _progress.Task;
                if (Volatile.Read(ref _settledThrough) >= target) return true;
                var left = timeout - timeProvider.GetElapsedTime(started);
                if (left <= TimeSpan.Zero) return false;
                await progress.WaitAsync(left, timeProvider, cancellationToken).ConfigureAwait(
                    ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
                cancellationToken.ThrowIfCancellationRequested();
            }
        }
        finally
        {
            lock (_targets) _targets.Remove(target);
            changed();
        }
    }

    static TaskCompletionSource NewPulse() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
