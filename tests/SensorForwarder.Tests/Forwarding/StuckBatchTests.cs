using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A receiver that always answers one batch with an error and accepts others.</summary>
public sealed class StuckBatchTests
{
    static readonly SendResult Error = new(SendOutcome.Retry, "answered 500: too old") { IsReached = true };

    static ForwardingSettings With(DrainOrder order) => new() { BatchSize = 10, UploadInterval = TimeSpan.Zero, DrainOrder = order };

    [Theory]
    [InlineData(nameof(DrainOrder.LiveFirst), 0)]
    [InlineData(nameof(DrainOrder.OldestFirst), 200)]
    public async Task A_stuck_batch_is_reported_and_kept_and_with_liveFirst_new_readings_are_still_delivered(string order, int kept)
    {
        var (isBad, log) = (true, new LogLines());
        var sink = new FakeSink { Rule = batch => isBad && batch.Readings.Any(reading => reading.Id == 3) ? Error : SendResult.Accepted };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: With(Enum.Parse<DrainOrder>(order)), log: log);
        await fixture.RunAsync();
        await fixture.StoreAsync(5);
        await Until.True(() => fixture.Forwarder.Status.Stuck is not null, fixture.Clock, TimeSpan.FromSeconds(10));
        var stuck = fixture.Forwarder.Status.Stuck!;
        var ids = stuck.Batch.Split(':')[1].Split('-').Select(long.Parse).ToArray();
        Assert.InRange(3, ids[0], ids[1]);
        Assert.Equal("answered 500: too old", stuck.Answer);
        Assert.True(stuck.Attempts >= 5, $"{stuck.Attempts} attempts");
        Assert.Single(log.All, line => line.Contains("has answered batch", StringComparison.Ordinal));

        await fixture.StoreAsync(200, from: 6);
        var end = fixture.Clock.GetUtcNow().AddHours(1);
        await Until.True(() => fixture.Clock.GetUtcNow() > end, fixture.Clock, TimeSpan.FromMinutes(1));
        await fixture.UntilDepthAsync(kept == 0 ? ids[1] - ids[0] + 1 : kept + 6 - ids[0]);
        Assert.Equal(0, fixture.Buffer.GetStatus().DeadLetters);

        isBad = false;
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(10));
        await Until.True(() => fixture.Forwarder.Status.Stuck is null);
    }

    /// <summary>Whether a batch is resting depends on the time, which advances at each reading of the clock
    /// here.</summary>
    [Fact]
    public async Task A_stuck_batch_is_retried_indefinitely_even_if_the_clock_advances_at_each_reading()
    {
        var attempts = 0;
        var sink = new FakeSink
        {
            Rule = batch => batch.Readings.Any(reading => reading.Id == 3) && ++attempts > 0 ? Error : SendResult.Accepted,
        };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: With(DrainOrder.LiveFirst));
        await fixture.RunAsync();
        await fixture.StoreAsync(5);
        await Until.True(() => fixture.Forwarder.Status.Stuck is not null, fixture.Clock, TimeSpan.FromSeconds(10));
        fixture.Clock.AutoAdvanceAmount = TimeSpan.FromSeconds(10);
        var until = attempts + 20;
        await Until.True(() => attempts >= until, fixture.Clock, TimeSpan.FromSeconds(10));
        fixture.Clock.AutoAdvanceAmount = TimeSpan.Zero;
    }
}
