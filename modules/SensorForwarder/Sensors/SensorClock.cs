using SensorForwarder.Time;

namespace SensorForwarder.Sensors;

/// <summary>
/// Starts the turns of all sensors: one thread sleeps until the next turn, so that turns that are due together cost one
/// wake-up. Waiters continue on that thread, which must not block: a sensor that may block has its own
/// <see cref="BusWorker"/>. Thread-safe.
/// </summary>
internal sealed class SensorClock : IDisposable
{
    readonly TimeProvider _timeProvider;
    readonly Alarm _alarm;
    readonly Lock _gate = new();

    // Guarded by _gate.
    readonly PriorityQueue<TaskCompletionSource, long> _waiting = new(); // by timestamp
    long _looksAt = long.MaxValue; // when the thread next checks the queue unless it is woken
    bool _isDisposed;

    public SensorClock(TimeProvider timeProvider)
    {
        (_timeProvider, _alarm) = (timeProvider, new(timeProvider));
        new Thread(Run) { IsBackground = true, Name = "sensor clock" }.Start();
    }

    /// <summary>A time span in units of timestamps.</summary>
    public long Ticks(TimeSpan span) =>
        (long)((Int128)span.Ticks * _timeProvider.TimestampFrequency / TimeSpan.TicksPerSecond);

    /// <summary>The next timestamp that is a multiple of a time span, or now if now is one. Sensors that start there
    /// are due together.</summary>
    public long NextMultipleOf(TimeSpan span)
    {
        var (now, step) = (_timeProvider.GetTimestamp(), Ticks(span));
        return now % step == 0 ? now : now - (now % step) + step;
    }

    /// <summary>Waits until a timestamp.</summary>
    /// <returns>False: the wait was cancelled.</returns>
    public async ValueTask<bool> UntilAsync(long timestamp, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested) return false;
        if (timestamp <= _timeProvider.GetTimestamp()) return true;
        var waiter = new TaskCompletionSource();
        Add(waiter, timestamp);
        await using var registration = cancellationToken.UnsafeRegister(_ => Remove(waiter), null);
        await waiter.Task;
        return !cancellationToken.IsCancellationRequested;
    }

    /// <summary>Ends the thread; remaining waits end by cancellation only.</summary>
    public void Dispose()
    {
        lock (_gate) _isDisposed = true;
        _alarm.Wake();
    }

    void Add(TaskCompletionSource waiter, long timestamp)
    {
        lock (_gate)
        {
            _waiting.Enqueue(waiter, timestamp);
            if (timestamp >= _looksAt) return;
        }

        _alarm.Wake();
    }

    void Remove(TaskCompletionSource waiter)
    {
        lock (_gate) _waiting.Remove(waiter, out _, out _);
        waiter.TrySetResult();
    }

    void Run()
    {
        var due = new List<TaskCompletionSource>();
        while (TakeDue(due) is { } wait)
        {
            foreach (var waiter in due) waiter.TrySetResult();
            if (due.Count == 0) _alarm.Sleep(wait == Timeout.InfiniteTimeSpan ? null : wait);
            due.Clear();
        }

        _alarm.Dispose();
    }

    /// <returns>The time until the next turn if none is due now; null to end the thread.</returns>
    TimeSpan? TakeDue(List<TaskCompletionSource> due)
    {
        lock (_gate)
        {
            if (_isDisposed) return null;
            var now = _timeProvider.GetTimestamp();
            while (_waiting.TryPeek(out var waiter, out var timestamp) && timestamp <= now)
            {
                due.Add(waiter);
                _waiting.Dequeue();
            }

            // Turns added meanwhile are handled in the next round.
            _looksAt = due.Count > 0 ? long.MinValue : _waiting.TryPeek(out _, out var next) ? next : long.MaxValue;
            return _looksAt == long.MaxValue || due.Count > 0
                ? Timeout.InfiniteTimeSpan
                : _timeProvider.GetElapsedTime(now, _looksAt);
        }
    }
}
