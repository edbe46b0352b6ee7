using System.Collections.Concurrent;
using Microsoft.Extensions.Time.Testing;

namespace SensorForwarder.Tests.Support;

/// <summary>
/// A fake clock that tracks its timers. A loop computes its delay and then creates the timer; if the clock is advanced
/// in between, the timer fires too late. A test therefore waits until the timer exists before it advances the clock.
/// </summary>
internal class ObservedClock(DateTimeOffset start) : FakeTimeProvider(start)
{
    readonly ConcurrentDictionary<Observed, DateTimeOffset> _due = [];

    /// <summary>Number of timers that are not disposed.</summary>
    public int Timers => _due.Count;

    /// <summary>Waits until a timer is due at exactly this time.</summary>
    public Task UntilTimerAsync(DateTimeOffset due) => UntilTimerAsync(due, due);

    /// <summary>Waits until a timer is due between these times, inclusive.</summary>
    public Task UntilTimerAsync(DateTimeOffset from, DateTimeOffset to) =>
        Until.True(() => _due.Values.Any(due => due >= from && due <= to));

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Observed(this, base.CreateTimer(callback, state, dueTime, period));
        _due[timer] = DueIn(dueTime);
        return timer;
    }

    DateTimeOffset DueIn(TimeSpan time) =>
        time == Timeout.InfiniteTimeSpan ? DateTimeOffset.MaxValue : GetUtcNow() + time;

    sealed class Observed(ObservedClock clock, ITimer inner) : ITimer
    {
        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            var isChanged = inner.Change(dueTime, period);
            if (isChanged && clock._due.ContainsKey(this)) clock._due[this] = clock.DueIn(dueTime);
            return isChanged;
        }

        public void Dispose()
        {
            clock._due.TryRemove(this, out _);
            inner.Dispose();
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
