using CsCheck;
using EdgeSimulator.Accounting;

namespace SensorForwarder.Tests.Simulator;

public sealed class BacklogHistoryTests
{
    [Fact]
    public void Maximum_equals_that_of_a_check_at_every_moment() =>
        Gen.Select(Gen.Int[0, 40], Gen.Int[-3, 20]).Array[0, 40].Sample(readings =>
        {
            var history = new BacklogHistory();
            foreach (var (sensed, wait) in readings)
            {
                history.Add(At(sensed), At(sensed + wait));
            }

            // A reading waits from the slot of sensing to the slot of arrival, inclusive.
            var naive = Enumerable.Range(0, 80).Max(moment =>
                readings.Count(reading => reading.Item1 <= moment && moment <= reading.Item1 + Math.Max(0, reading.Item2)));
            Assert.Equal(naive, history.Max());
        });

    [Fact]
    public void Wider_slots_keep_a_long_backlog()
    {
        var history = new BacklogHistory();
        for (var moment = 0; moment < BacklogHistory.SlotsMax * 2; moment++)
        {
            history.Add(At(moment * 10), At(10_000_000));
        }

        Assert.Equal(BacklogHistory.SlotsMax * 2, history.Max());
    }

    static DateTimeOffset At(int milliseconds) => DateTimeOffset.UnixEpoch.AddMilliseconds(milliseconds);
}
