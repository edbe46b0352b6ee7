using SensorForwarder.Tests.Support;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Time;

public sealed class AlarmTests
{
    static readonly TimeSpan Long = TimeSpan.FromDays(1);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Wake_ends_the_current_sleep_or_the_next_one_if_none_has_begun(bool isFake)
    {
        using var alarm = new Alarm(isFake ? new ObservedClock(Buffer.BufferFixture.Noon) : TimeProvider.System);
        alarm.Wake();
        await SleepAsync(alarm, Long);
        alarm.Wake();
        await SleepAsync(alarm, null);
        var sleeping = SleepAsync(alarm, Long);
        alarm.Wake();
        await sleeping;
    }

    [Fact]
    public async Task With_the_system_clock_a_sleep_lasts_at_least_its_limit()
    {
        var limit = TimeSpan.FromMilliseconds(20.3);
        using var alarm = new Alarm(TimeProvider.System);
        var began = TimeProvider.System.GetTimestamp();
        await SleepAsync(alarm, limit);
        Assert.True(TimeProvider.System.GetElapsedTime(began) >= limit);
        await SleepAsync(alarm, TimeSpan.FromSeconds(-1));
    }

    [Fact]
    public async Task With_a_fake_clock_a_sleep_ends_when_the_clock_has_advanced_by_its_limit()
    {
        var clock = new ObservedClock(Buffer.BufferFixture.Noon);
        using var alarm = new Alarm(clock);
        var sleeping = SleepAsync(alarm, Long);
        await clock.UntilTimerAsync(Buffer.BufferFixture.Noon + Long);
        clock.Advance(Long - TimeSpan.FromTicks(1));
        Assert.False(sleeping.IsCompleted);
        clock.Advance(TimeSpan.FromTicks(1));
        await sleeping;
    }

    static Task SleepAsync(Alarm alarm, TimeSpan? limit) => Task.Run(() => alarm.Sleep(limit), TestContext.Current.CancellationToken);
}
