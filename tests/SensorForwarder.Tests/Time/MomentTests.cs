using SensorForwarder.Tests.Support;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Time;

public sealed class MomentTests
{
    [Fact]
    public void The_time_of_a_moment_follows_later_corrections_of_the_clock()
    {
        var start = new DateTimeOffset(2026, 11, 24, 12, 0, 0, TimeSpan.Zero);
        var clock = new SteppedClock(start);
        var moment = Moment.Now(clock);
        clock.Advance(TimeSpan.FromSeconds(90));
        Assert.Equal(TimeSpan.FromSeconds(90), moment.Age(clock));
        Assert.Equal(start, moment.Time(clock));
        clock.Step(TimeSpan.FromHours(1) + TimeSpan.FromMicroseconds(600));
        Assert.Equal(start + TimeSpan.FromHours(1) + TimeSpan.FromMilliseconds(1), moment.Time(clock));
    }
}
