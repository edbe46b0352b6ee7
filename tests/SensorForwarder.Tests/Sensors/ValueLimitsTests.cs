using System.Globalization;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary><c>min</c>, <c>max</c> and <c>maxChangePerSecond</c>, through the session that reads the sensor.</summary>
public sealed class ValueLimitsTests : IDisposable
{
    readonly SensorFixture _world = new();

    public void Dispose() => _world.Dispose();

    [Theory]
    [InlineData(-0.1, "value -0.1 is below min, 0")]
    [InlineData(0, null)]
    [InlineData(40, null)]
    [InlineData(40.5, "value 40.5 is above max, 40")]
    public void A_value_outside_its_limits_is_kept_and_is_uncertain(double value, string? detail)
    {
        using var session = Session("\"min\":0,\"max\":{\"value\":40}");
        var measured = Measure(session, value);
        Assert.Equal(value, measured.Values[0].Value);
        Assert.Equal(detail is null ? ReadingQuality.Good : ReadingQuality.Uncertain, measured.Quality);
        Assert.Equal(detail is null ? null : FaultReason.Limit, measured.Reason);
        Assert.Equal(detail, measured.Detail);
    }

    [Fact]
    public void Limits_apply_after_curve_scale_and_offset()
    {
        using var session = Session("\"curve\":[[0,0],[10,100]],\"scale\":2,\"offset\":1,\"max\":100");
        Assert.Null(Measure(session, 4.9).Reason);
        Assert.Equal(FaultReason.Limit, Measure(session, 5).Reason);
    }

    [Fact]
    public void A_jump_is_uncertain_until_the_next_reading_confirms_it()
    {
        using var session = Session("\"maxChangePerSecond\":1");
        Assert.Null(Next(20.1).Reason);
        Assert.Null(Next(21.1).Reason);
        var jump = Next(23);
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.Jump), (jump.Quality, jump.Reason));
        Assert.Equal("value jumped from 21.1 to 23, faster than maxChangePerSecond allows", jump.Detail);
        Assert.Null(Next(23.5).Reason);

        Assert.Equal(FaultReason.Jump, Next(85).Reason);
        Assert.Null(Next(24).Reason);

        Measurement Next(double value)
        {
            _world.Waits.Advance(TimeSpan.FromSeconds(1));
            return Measure(session, value);
        }
    }

    [Fact]
    public void A_change_that_is_slow_over_a_long_pause_is_not_a_jump()
    {
        using var session = Session("\"maxChangePerSecond\":1");
        Measure(session, 20);
        _world.Waits.Advance(TimeSpan.FromSeconds(60));
        Assert.Null(Measure(session, 70).Reason);
    }

    [Fact]
    public void An_on_demand_reading_may_differ_as_much_as_a_reading_one_interval_later()
    {
        using var session = Session("\"maxChangePerSecond\":1");
        Measure(session, 20);
        Assert.Null(Measure(session, 20.9).Reason);
    }

    [Fact]
    public void A_failed_reading_stays_bad_whatever_the_limits()
    {
        using var session = _world.Session(SensorFixture.Settings("sht3x", "\"max\":0"));
        Assert.Equal(ReadingQuality.Bad, session.Measure(CancellationToken.None).Quality);
    }

    SensorSession Session(string options) => _world.Session(
        SensorFixture.Settings("file", $"\"path\":\"{Path.Combine(_world.Root, "level")}\",{options}"));

    Measurement Measure(SensorSession session, double value)
    {
        _world.Write("level", value.ToString(CultureInfo.InvariantCulture));
        return session.Measure(CancellationToken.None);
    }
}
