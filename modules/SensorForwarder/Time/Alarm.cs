namespace SensorForwarder.Time;

/// <summary>
/// Lets one thread sleep until a timeout passes or another thread wakes it. With the system's clock the thread waits
/// with that timeout, which costs one wake-up; a timer costs three: the timer thread, a pool thread and the sleeper.
/// </summary>
internal sealed class Alarm : IDisposable
{
    readonly AutoResetEvent _wake = new(initialState: false);
    readonly ITimer? _timer; // null: the system's clock

    public Alarm(TimeProvider timeProvider)
    {
        if (timeProvider == TimeProvider.System) return;
        _timer = timeProvider.CreateTimer(
            static alarm => ((Alarm)alarm!).Wake(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Ends the sleep, or the next one if no thread sleeps now. Any thread.</summary>
    public void Wake() => _wake.Set();

    /// <summary>Sleeps until <see cref="Wake"/> or the limit, which is rounded up to a millisecond; null: no limit.
    /// </summary>
    public void Sleep(TimeSpan? limit)
    {
        var time = limit is { } wait && wait < TimeSpan.Zero ? TimeSpan.Zero : limit ?? Timeout.InfiniteTimeSpan;
        if (_timer is null)
        {
            _wake.WaitOne((int)Math.Min(int.MaxValue, Math.Ceiling(time.TotalMilliseconds)));
            return;
        }

        _timer.Change(time, Timeout.InfiniteTimeSpan);
        _wake.WaitOne();
    }

    // The garbage collector releases the event: another thread may still be about to set it.
    public void Dispose() => _timer?.Dispose();
}
