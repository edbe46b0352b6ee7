using CsCheck;

namespace SensorForwarder.Tests.Forwarding;

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
    public void Each_draw_gives_its_own_delay_so_that_devices_spread()
    {
        var delays = Enumerable.Range(0, 100)
            .Select(n => Backoff.Next(5, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(5), n / 100.0)).Distinct();
        Assert.Equal(100, delays.Count());
    }
}
