using Microsoft.Extensions.Time.Testing;

namespace SensorForwarder.Tests.Support;

/// <summary>A fake clock whose wall clock can be stepped without changing monotonic time.</summary>
internal sealed class SteppedClock(DateTimeOffset start) : TimeProvider
{
    readonly FakeTimeProvider _inner = new(start);
    TimeSpan _offset;

    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    public override long TimestampFrequency => _inner.TimestampFrequency;

    public void Advance(TimeSpan time) => _inner.Advance(time);

    public void Step(TimeSpan by) => _offset += by;

    public override DateTimeOffset GetUtcNow() => _inner.GetUtcNow() + _offset;

    public override long GetTimestamp() => _inner.GetTimestamp();

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        _inner.CreateTimer(callback, state, dueTime, period);
}
