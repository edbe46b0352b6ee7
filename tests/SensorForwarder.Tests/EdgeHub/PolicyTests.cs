using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

public sealed class PolicyTests
{
    static readonly TimeSpan Soon = TimeSpan.FromSeconds(3);
    static readonly TimeSpan Long = TimeSpan.FromHours(1);

    readonly FakeTimeProvider _clock = new();

    [Fact]
    public void Retry_delays_grow_up_to_a_minute_and_a_long_connection_resets_them()
    {
        var policy = new ReconnectPolicy(_clock, new Highest());
        _clock.Advance(Long);
        Assert.Equal([1, 2, 4, 8, 16, 32, 60, 60], Enumerable.Range(0, 8).Select(_ => policy.AfterFailure(DialFailure.Unreachable).TotalSeconds));
        Assert.Equal(1, policy.AfterEnd(Long, byPeer: true).TotalSeconds);
        _clock.Advance(Long);
        Assert.Equal(2, policy.AfterFailure(DialFailure.NotReady).TotalSeconds);
    }

    [Fact]
    public void Retry_delays_in_a_short_outage_stay_short_and_do_not_lengthen_those_after_a_later_refusal()
    {
        var policy = new ReconnectPolicy(_clock, new Highest());
        policy.AfterEnd(Long, byPeer: true);
        var outage = TimeSpan.Zero;
        while (outage < TimeSpan.FromMinutes(4))
        {
            var delay = policy.AfterFailure(DialFailure.Unreachable);
            Assert.InRange(delay.TotalSeconds, 0.9, Math.Max(1, outage.TotalSeconds / 4) + 1e-6);
            _clock.Advance(delay);
            outage += delay;
        }

        Assert.Equal(60, policy.AfterFailure(DialFailure.NotReady).TotalSeconds);
        Assert.Equal([10, 20], Enumerable.Range(0, 2).Select(_ => policy.AfterFailure(DialFailure.Refused).TotalSeconds));
    }

    [Fact]
    public void The_timeout_for_opening_a_connection_grows_with_the_outage()
    {
        var policy = new ReconnectPolicy(_clock, new Highest());
        Assert.Equal(10, policy.OpenTimeout.TotalSeconds);
        _clock.Advance(TimeSpan.FromSeconds(40));
        Assert.Equal(20, policy.OpenTimeout.TotalSeconds);
        _clock.Advance(Long);
        Assert.Equal(30, policy.OpenTimeout.TotalSeconds);
        policy.AfterEnd(Soon, byPeer: true);
        Assert.Equal(30, policy.OpenTimeout.TotalSeconds);
        policy.AfterEnd(Long, byPeer: true);
        Assert.Equal(10, policy.OpenTimeout.TotalSeconds);
    }

    [Fact]
    public void Failures_that_only_a_person_can_fix_are_retried_less_often()
    {
        foreach (var failure in (DialFailure[])[DialFailure.Refused, DialFailure.Untrusted, DialFailure.Clock, DialFailure.Unsupported])
        {
            var policy = new ReconnectPolicy(_clock, new Highest());
            Assert.Equal([5, 10, 20, 40, 80, 120], Enumerable.Range(0, 6).Select(_ => policy.AfterFailure(failure).TotalSeconds));
        }
    }

    [Fact]
    public void Three_short_connections_closed_by_the_peer_suggest_a_rival_and_retries_wait_up_to_a_minute()
    {
        var policy = new ReconnectPolicy(_clock, new Highest());
        policy.AfterEnd(Soon, byPeer: true);
        policy.AfterEnd(Soon, byPeer: true);
        Assert.False(policy.RivalSuspected);
        Assert.True(policy.AfterEnd(Soon, byPeer: true) >= TimeSpan.FromSeconds(15));
        Assert.True(policy.RivalSuspected);
        for (var i = 0; i < 10; i++) policy.AfterEnd(TimeSpan.FromSeconds(100), byPeer: true);
        Assert.Equal(60, policy.AfterEnd(Soon, byPeer: true).TotalSeconds);

        policy.AfterEnd(Long, byPeer: true);
        Assert.False(policy.RivalSuspected);
    }

    [Fact]
    public void Connections_closed_by_this_side_or_never_opened_do_not_suggest_a_rival()
    {
        var policy = new ReconnectPolicy(_clock, new Highest());
        for (var i = 0; i < 10; i++) policy.AfterEnd(Soon, byPeer: false);
        Assert.False(policy.RivalSuspected);
        for (var i = 0; i < 10; i++)
        {
            policy.AfterEnd(Soon, byPeer: true);
            policy.AfterFailure(DialFailure.Unreachable);
        }

        Assert.False(policy.RivalSuspected);
    }

    [Fact]
    public void Auto_tries_both_transports_and_keeps_the_one_that_answered_until_it_fails_ten_times()
    {
        var choice = new TransportChoice(HubTransport.Auto);
        Assert.Equal([HubTransport.Mqtt, HubTransport.MqttWs], choice.Candidates());
        choice.Answered(HubTransport.MqttWs);
        Assert.Equal([HubTransport.MqttWs], choice.Candidates());
        for (var i = 0; i < 9; i++) choice.NoneReached();
        Assert.Equal([HubTransport.MqttWs], choice.Candidates());
        choice.NoneReached();
        Assert.Equal([HubTransport.MqttWs, HubTransport.Mqtt], choice.Candidates());
        choice.Answered(HubTransport.Mqtt);
        Assert.Equal([HubTransport.Mqtt], choice.Candidates());
        Assert.Equal([HubTransport.MqttWs], new TransportChoice(HubTransport.MqttWs).Candidates());
    }

    [Fact]
    public async Task A_wait_ends_after_its_duration_when_the_clock_does_not_step()
    {
        var clock = new FakeTimeProvider();
        var waiting = ClockWatch.DelayAsync(TimeSpan.FromMinutes(1), clock, TestContext.Current.CancellationToken);
        await Until.True(() => waiting.IsCompleted, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(TimeSpan.Zero, await waiting);
    }

    [Theory]
    [InlineData(3600)]
    [InlineData(-3600)]
    public async Task A_wait_ends_at_once_when_the_wall_clock_steps(int seconds)
    {
        var clock = new SteppingClock();
        var waiting = ClockWatch.DelayAsync(TimeSpan.FromDays(1), clock, TestContext.Current.CancellationToken);
        clock.Step(TimeSpan.FromSeconds(seconds));
        Assert.Equal(seconds, (await waiting).TotalSeconds, tolerance: 1);
    }
}

/// <summary>The system's clocks, with a wall clock that can step, as when a person or NTP sets it.</summary>
internal sealed class SteppingClock : TimeProvider
{
    long _offset;

    public void Step(TimeSpan by) => Interlocked.Add(ref _offset, by.Ticks);

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow().AddTicks(Interlocked.Read(ref _offset));
}
