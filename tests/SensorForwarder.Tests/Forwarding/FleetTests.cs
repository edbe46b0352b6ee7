using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A fleet after a regional outage. <c>TEST_FLEET</c> sets the number of devices, <c>TEST_SEED</c> repeats a
/// run.</summary>
public sealed class FleetTests(ITestOutputHelper output)
{
    // In a small fleet the random delays of a few devices decide the peak load and when the last device drains.
    const int DevicesForDrain = 1_000;
    const int DevicesForLoad = 10_000;

    const double PeakLoadMax = 2;
    const double DrainMax = 1.3; // of the ideal
    const double StarvationMax = 4; // of the median
    static readonly TimeSpan MostLiveAgeMax = TimeSpan.FromMinutes(4); // four upload intervals

    // The upload interval, and the longest waits after two refused attempts.
    static readonly TimeSpan LiveAgeMax = TimeSpan.FromMinutes(1) + (2 * Circuit.BackoffMax);

    [Theory]
    [InlineData(nameof(FleetReceiver.Http))]
    [InlineData(nameof(FleetReceiver.Hub))]
    public void A_fleet_drains_after_an_outage_without_loss_overload_or_starvation(string receiver)
    {
        var count = Tier.Size("TEST_FLEET", quick: 200, full: DevicesForDrain, deep: DevicesForLoad);
        var fleet = new FleetSimulation(Enum.Parse<FleetReceiver>(receiver), count, Tier.Seed ?? 1);
        fleet.Run();
        var figures = fleet.Figures;
        var (ideal, last, median) = (figures.IdealDrain, figures.LastDrain, figures.MedianDrain);
        output.WriteLine($"""
            {receiver}, {count} devices, seed {Tier.Seed ?? 1}
            requests/s    capacity {figures.Capacity:0.0}, of new readings {figures.NewRequests:0.0}
            backlog       {figures.BacklogRequests} requests
            refused       {figures.Refused} requests; {figures.Repeated} readings arrived again
            peak load     {figures.PeakLoad:0.00} of the capacity in any {FleetSimulation.LoadWindow.TotalSeconds} s
            drain         ideal {ideal.TotalSeconds:0} s, last {last.TotalSeconds:0} s ({last / ideal:0.00})
                          90 % {figures.MostDrain.TotalSeconds:0} s, median {median.TotalSeconds:0} s
            liveFirst     99 % of new readings arrive within {figures.MostLiveAge.TotalSeconds:0} s
                          all within {figures.OldestLiveAge.TotalSeconds:0} s
            hub           {fleet.Units:0.0} S1 units, {figures.Chunks} chunks
            """);
        Assert.Equal((0, 0), (figures.Lost, figures.Undrained));
        Assert.InRange(last / median, 1, StarvationMax);
        Assert.InRange(figures.OldestLiveAge, TimeSpan.Zero, LiveAgeMax);
        if (count >= DevicesForDrain) Assert.InRange(last / ideal, 0, DrainMax);
        if (count < DevicesForLoad) return;
        Assert.InRange(figures.PeakLoad, 0, PeakLoadMax);
        Assert.InRange(figures.MostLiveAge, TimeSpan.Zero, MostLiveAgeMax);
    }
}
