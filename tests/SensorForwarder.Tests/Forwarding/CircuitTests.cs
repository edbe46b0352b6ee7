using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>When the next attempt is made. Random numbers are chosen: 1 is the longest delay.</summary>
public sealed class CircuitTests
{
    static readonly SendResult Unreachable = new(SendOutcome.Retry, "timeout");
    static readonly SendResult Refused = new(SendOutcome.Denied, "answered 403");

    readonly FakeTimeProvider _clock = new();
    readonly Chosen _random = new();
    readonly Circuit _circuit;

    public CircuitTests() => _circuit = new(_clock, _random);

    static TimeSpan Seconds(double seconds) => TimeSpan.FromSeconds(seconds);

    void Outage(TimeSpan duration)
    {
        _circuit.Observe(isReady: false, isHeld: false);
        _clock.Advance(duration);
        _circuit.Observe(isReady: true, isHeld: false);
    }

    [Fact]
    public void The_first_attempt_is_immediate_and_is_a_probe()
    {
        Assert.Equal((true, 0, TimeSpan.Zero), (_circuit.IsProbing, _circuit.Failures, _circuit.UntilNext));
        _circuit.Succeeded();
        Assert.False(_circuit.IsProbing);
    }

    [Fact]
    public void Each_refusal_doubles_the_delay_up_to_five_minutes()
    {
        double[] expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        foreach (var seconds in expected)
        {
            Assert.Equal(Seconds(seconds), _circuit.Failed(Refused));
            Assert.Equal(Seconds(seconds), _circuit.UntilNext);
            _clock.Advance(Seconds(seconds));
            Assert.Equal(TimeSpan.Zero, _circuit.UntilNext);
        }

        Assert.Equal(expected.Length, _circuit.Failures);
        _random.Next = 0;
        Assert.Equal(Seconds(0.1), _circuit.Failed(Refused));
    }

    [Fact]
    public void While_the_receiver_is_unreachable_the_delay_is_at_most_a_quarter_of_the_time_since_the_first_failure()
    {
        for (var attempt = 0; attempt < 9; attempt++) Assert.Equal(Seconds(1), _circuit.Failed(Unreachable));
        _clock.Advance(Seconds(100));
        Assert.Equal(Seconds(25), _circuit.Failed(Unreachable));
        _clock.Advance(TimeSpan.FromDays(1));
        Assert.Equal(Seconds(300), _circuit.Failed(Unreachable));
    }

    [Fact]
    public void Attempts_that_did_not_reach_the_receiver_do_not_lengthen_the_delay_after_a_refusal()
    {
        for (var attempt = 0; attempt < 9; attempt++) _circuit.Failed(Unreachable);
        _clock.Advance(TimeSpan.FromDays(1));
        Assert.Equal(Seconds(1), _circuit.Failed(Refused));
        Assert.Equal(Seconds(2), _circuit.Failed(Refused));
    }

    [Fact]
    public void After_an_accepted_batch_the_count_of_failures_starts_again()
    {
        _circuit.Failed(Refused);
        _clock.Advance(TimeSpan.FromDays(1));
        _circuit.Failed(Unreachable);
        Assert.True(_circuit.IsProbing);
        _circuit.Succeeded();
        Assert.Equal((false, 0), (_circuit.IsProbing, _circuit.Failures));
        for (var attempt = 0; attempt < 3; attempt++) Assert.Equal(Seconds(1), _circuit.Failed(Unreachable));
        Assert.Equal((true, 3), (_circuit.IsProbing, _circuit.Failures));
        Assert.Equal(Seconds(1), _circuit.Failed(Refused));
    }

    [Theory]
    [InlineData(0.5, 1)] // the delay of a first refusal
    [InlineData(1, 1)]
    [InlineData(90, 90)]
    [InlineData(3_600, 3_600)]
    [InlineData(3_601, 3_600)]
    [InlineData(1_000_000, 3_600)]
    public void A_receiver_may_ask_for_a_longer_delay_of_up_to_an_hour(double asked, double expected)
    {
        // Also when it is overloaded: it answered, so this is no outage.
        Assert.Equal(Seconds(expected), _circuit.Failed(Unreachable with { RetryAfter = Seconds(asked) }));
        _circuit.Succeeded();
        Assert.Equal(Seconds(expected), _circuit.Failed(Refused with { RetryAfter = Seconds(asked) }));
    }

    [Fact]
    public void Changed_settings_end_a_delay_unless_the_same_receiver_requested_it()
    {
        _circuit.Failed(Refused);
        _circuit.SettingsChanged(isAnotherReceiver: false);
        Assert.Equal(TimeSpan.Zero, _circuit.UntilNext);

        _circuit.Failed(Refused with { RetryAfter = Seconds(90) });
        _circuit.SettingsChanged(isAnotherReceiver: false);
        Assert.Equal(Seconds(90), _circuit.UntilNext);
        _circuit.SettingsChanged(isAnotherReceiver: true);
        Assert.Equal(TimeSpan.Zero, _circuit.UntilNext);
        _circuit.Failed(Refused with { RetryAfter = Seconds(90) });
        _circuit.TryNow();
        Assert.Equal(TimeSpan.Zero, _circuit.UntilNext);
    }

    [Theory]
    [InlineData(8, 2)]
    [InlineData(400, 100)]
    [InlineData(480, 120)]
    [InlineData(86_400, 120)]
    public void After_an_outage_a_device_waits_a_random_part_of_a_quarter_of_its_duration_and_then_probes(double outage, double expected)
    {
        _circuit.Succeeded();
        Outage(Seconds(outage));
        Assert.Equal((true, Seconds(expected)), (_circuit.IsProbing, _circuit.UntilNext));

        // New settings reach all devices in the same second.
        _circuit.SettingsChanged(isAnotherReceiver: true);
        Assert.Equal(Seconds(expected), _circuit.UntilNext);

        _random.Next = 0.5;
        Outage(Seconds(outage));
        Assert.Equal(Seconds(expected / 2), _circuit.UntilNext);
    }

    [Fact]
    public void An_outage_resets_the_count_of_failures()
    {
        for (var attempt = 0; attempt < 5; attempt++) _circuit.Failed(Refused);
        Outage(Seconds(4));
        Assert.Equal((0, Seconds(1)), (_circuit.Failures, _circuit.UntilNext));
        Assert.Equal(Seconds(1), _circuit.Failed(Refused));
    }

    [Fact]
    public void An_edgeHub_without_the_cloud_is_an_outage_and_of_overlapping_outages_the_longest_counts()
    {
        _circuit.Observe(isReady: true, isHeld: true);
        _clock.Advance(Seconds(40));
        _circuit.Observe(isReady: true, isHeld: true);
        Assert.Equal(TimeSpan.Zero, _circuit.UntilNext); // the outage has not ended
        _circuit.Observe(isReady: false, isHeld: true); // edgeHub restarts, and its connection is unknown meanwhile
        _clock.Advance(Seconds(4));
        _circuit.Observe(isReady: true, isHeld: false);
        Assert.Equal(Seconds(11), _circuit.UntilNext);
        _clock.Advance(Seconds(20));
        _circuit.Observe(isReady: true, isHeld: false);
        Assert.True(_circuit.UntilNext < TimeSpan.Zero); // counted once
    }

    [Fact]
    public void After_a_change_of_sink_the_outage_counts_from_the_last_send_to_the_new_sink()
    {
        _circuit.Succeeded();
        _circuit.Enter(Seconds(60));
        _circuit.Observe(isReady: false, isHeld: false);
        _clock.Advance(Seconds(4));
        _circuit.Observe(isReady: true, isHeld: false);
        Assert.Equal((true, Seconds(15)), (_circuit.IsProbing, _circuit.UntilNext));
        _circuit.Enter(TimeSpan.FromSeconds(-1)); // the clock was set back
        _circuit.Observe(isReady: true, isHeld: false);
        Assert.Equal(TimeSpan.Zero, _circuit.UntilNext);
    }

    sealed class Chosen : Random
    {
        public new double Next { get; set; } = 1;

        public override double NextDouble() => Next;
    }
}
