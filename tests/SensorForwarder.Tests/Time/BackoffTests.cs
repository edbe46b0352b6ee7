using CsCheck;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Time;

public sealed class BackoffTests
{
    [Fact]
    public void Delays_stay_between_the_floor_and_a_bound_that_doubles_up_to_the_cap()
    {
        Gen.Select(Gen.Int[1, int.MaxValue], Gen.Double[0.1, 100], Gen.Double[1, 1000], Gen.Double[0, 0.999999]).Sample(
            (attempt, baseSeconds, maxSeconds, random) =>
            {
                var (first, cap) = (TimeSpan.FromSeconds(baseSeconds), TimeSpan.FromSeconds(maxSeconds));
                var delay = Backoff.Next(attempt, first, cap, random);
                var bound = Math.Min(maxSeconds, baseSeconds * Math.Pow(2, Math.Min(attempt - 1, 30)));
                Assert.InRange(delay.TotalSeconds, Math.Min(Backoff.Floor.TotalSeconds, bound) - 1e-6, bound + 1e-6);
            });
    }

    [Fact]
    public void Different_random_numbers_give_different_delays_so_that_devices_spread_out()
    {
        var delays = Enumerable.Range(0, 100)
            .Select(n => Backoff.Next(5, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(5), n / 100.0)).Distinct();
        Assert.Equal(100, delays.Count());
    }

    [Fact]
    public void After_any_outage_the_next_attempt_follows_within_a_fixed_share_of_it_and_within_the_cap()
    {
        Gen.Select(Gen.Double[0, 6], Gen.Double[2, 300], Gen.Int[0, int.MaxValue]).Sample((exponent, capSeconds, seed) =>
        {
            var outage = TimeSpan.FromSeconds(Math.Pow(10, exponent));
            var wait = WaitAfter(outage, TimeSpan.FromSeconds(capSeconds), new Random(seed));
            var share = Math.Max(1, outage.TotalSeconds * Backoff.OutageShare);
            Assert.InRange(wait.TotalSeconds, 0, Math.Min(share, capSeconds) + 1e-6);
        });
    }

    [Theory]
    [InlineData(15)]
    [InlineData(120)]
    [InlineData(3600)]
    public void A_fleet_spreads_its_retries_after_a_short_and_after_a_long_outage(int outageSeconds)
    {
        var cap = TimeSpan.FromMinutes(5);
        var share = TimeSpan.FromSeconds(Math.Min(outageSeconds * Backoff.OutageShare, cap.TotalSeconds));
        var random = new Random(1);
        var waits = Enumerable.Range(0, 5_000).Select(_ => WaitAfter(TimeSpan.FromSeconds(outageSeconds), cap, random)).ToList();

        // Earlier tenths of the interval get more devices than later ones, but none gets a quarter of the fleet.
        var tenths = waits.CountBy(wait => (int)(10 * wait / share)).ToDictionary();
        Assert.All(Enumerable.Range(0, 8), tenth => Assert.InRange(tenths[tenth], 50, waits.Count / 4));
    }

    [Fact]
    public void In_an_outage_no_wait_is_longer_than_after_the_same_number_of_other_failures()
    {
        Gen.Select(Gen.Int[1, 40], Gen.Double[0, 100_000], Gen.Double[0, 0.999999]).Sample((attempt, outageSeconds, random) =>
        {
            var (first, cap) = (TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(5));
            var outage = TimeSpan.FromSeconds(outageSeconds);
            Assert.True(Backoff.InOutage(attempt, outage, first, cap, random) <= Backoff.Next(attempt, first, cap, random));
        });
    }

    [Theory]
    [InlineData(0, 1, 300, 0.5, 0.55)]
    [InlineData(1, 1, 300, 0, 0.1)]
    [InlineData(1, 1, 300, 0.5, 0.55)]
    [InlineData(3, 1, 300, 0.5, 2.05)]
    [InlineData(10, 1, 300, 0.5, 150.05)]
    [InlineData(1, 1, 0.05, 0.9, 0.05)]
    [InlineData(int.MaxValue, 1e-6, 1e9, 0.5, 536.920912)]
    public void A_delay_is_drawn_between_the_floor_and_the_bound(
        int attempt, double baseSeconds, double maxSeconds, double random, double seconds) => Assert.Equal(
        seconds, Backoff.Next(attempt, TimeSpan.FromSeconds(baseSeconds), TimeSpan.FromSeconds(maxSeconds), random).TotalSeconds, 6);

    [Theory]
    [InlineData(2, 300, 0.55)]
    [InlineData(4, 300, 0.55)]
    [InlineData(8, 300, 1.05)]
    [InlineData(8, 1.5, 0.8)]
    [InlineData(100_000, 300, 150.05)]
    public void In_an_outage_the_bound_is_a_quarter_of_its_duration_but_at_least_a_second_and_at_most_the_cap(
        double outageSeconds, double maxSeconds, double seconds) => Assert.Equal(
        seconds,
        Backoff.InOutage(
            20, TimeSpan.FromSeconds(outageSeconds), TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(maxSeconds), 0.5).TotalSeconds,
        6);

    /// <summary>The time from the end of an outage to the next attempt, if attempts take no time.</summary>
    static TimeSpan WaitAfter(TimeSpan outage, TimeSpan cap, Random random)
    {
        var now = TimeSpan.Zero;
        for (var attempt = 1; now < outage; attempt++)
            now += Backoff.InOutage(attempt, now, TimeSpan.FromSeconds(1), cap, random.NextDouble());
        return now - outage;
    }
}
