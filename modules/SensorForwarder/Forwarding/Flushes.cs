using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>The pending flush requests: each waits until all readings that were in the buffer at its start are settled.
/// Thread-safe; the forwarder's loop reports the progress.</summary>
internal sealed class Flushes(TelemetryBuffer buffer, TimeProvider timeProvider)
{
    // The last id of each pending flush, by the source that completes it. Guarded by its own lock.
    readonly Dictionary<TaskCompletionSource, long> _pending = [];

    /// <summary>Readings up to this id are sent without waiting for full batches or the backfill rate; 0: no flush is
    /// pending.</summary>
    public long Through
    {
        get
        {
            lock (_pending) return _pending.Values.DefaultIfEmpty().Max();
        }
    }

    /// <summary>Reports that every reading up to this id was accepted, dead-lettered or evicted.</summary>
    public void Report(long settledThrough)
    {
        lock (_pending)
        {
            foreach (var (settled, lastId) in _pending)
            {
                if (lastId > settledThrough) continue;
                _pending.Remove(settled);
                settled.SetResult();
            }
        }
    }

    /// <summary>Commits what is in memory, and waits until everything is settled.</summary>
    /// <param name="begun">Called when <see cref="Through"/> was set.</param>
    /// <param name="changed">Called when the flush has ended.</param>
    /// <returns>Whether everything was settled in time.</returns>
    public async Task<bool> RunAsync(
        TimeSpan timeout, Action begun, Action changed, CancellationToken cancellationToken)
    {
        using var timer = new CancellationTokenSource(timeout, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timer.Token);
        var settled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            await buffer.CommitAsync(cancellationToken).WaitAsync(deadline.Token);
            lock (_pending) _pending.Add(settled, buffer.LastCommittedId);
            begun();
            await settled.Task.WaitAsync(deadline.Token);
            return true;
        }
        catch (OperationCanceledException) when (timer.IsCancellationRequested)
        {
            return false;
        }
        catch (BufferUnavailableException)
        {
            return false; // the volume does not accept writes
        }
        finally
        {
            lock (_pending) _pending.Remove(settled);
            changed();
        }
    }
}
