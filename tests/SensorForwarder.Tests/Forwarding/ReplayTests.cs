using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Retained delivered readings can be sent once more.</summary>
public sealed class ReplayTests
{
    static readonly ForwardingSettings InTens = new() { BatchSize = 10, UploadInterval = TimeSpan.Zero };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task<ForwarderFixture> DeliveredAsync(FakeSink sink, ForwardingSettings settings)
    {
        var fixture = await ForwarderFixture.StartAsync(http: sink, hub: sink, settings: settings);
        fixture.Buffer.ApplyLimits(new() { RetainForwarded = TimeSpan.FromDays(10_000) });
        await fixture.RunAsync();
        await fixture.StoreAsync(40); // one per second
        await fixture.StoreAsync(1, from: 41);
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        await fixture.Buffer.CommitAsync(Token);
        return fixture;
    }

    [Theory]
    [InlineData(nameof(DrainOrder.OldestFirst))]
    [InlineData(nameof(DrainOrder.LiveFirst))]
    public async Task Delivered_readings_of_a_time_range_are_replayed_with_their_ids_in_the_backfill_lane(string order)
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var fixture = await DeliveredAsync(sink, InTens with { DrainOrder = Enum.Parse<DrainOrder>(order) });
        var before = sink.Sends;
        var (from, to) = (TimeOf(11), TimeOf(20));
        Assert.Equal(10, await fixture.Forwarder.ReplayAsync(from, to, null, Token));
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0 && sink.Sends > before, fixture.Clock, TimeSpan.FromSeconds(1));
        var again = sink.Seen.Skip(before).ToList();
        Assert.Equal(Enumerable.Range(11, 10).Select(id => (long)id), again.SelectMany(batch => batch.Readings).Select(reading => reading.Id));
        Assert.All(again, batch => Assert.Equal(("backfill", "replay"), (batch.Output, batch.LaneName)));

        // They are delivered again, and can be replayed again.
        await fixture.Buffer.CommitAsync(Token);
        Assert.Equal(10, await fixture.Forwarder.ReplayAsync(from, to, ["attic"], Token));
        Assert.Equal(0, await fixture.Forwarder.ReplayAsync(from, to, ["cellar"], Token));
        await fixture.UntilDepthAsync(0);
    }

    [Fact]
    public async Task In_a_backlog_replayed_readings_have_their_own_batches_even_after_a_split()
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var fixture = await DeliveredAsync(sink, InTens with { DrainOrder = DrainOrder.LiveFirst });
        sink.Rule = _ => new(SendOutcome.Retry, "away") { NotSent = true };
        await fixture.StoreAsync(25, from: 42);
        await Until.True(() => fixture.Forwarder.Status.Failures > 6, fixture.Clock, TimeSpan.FromSeconds(5));
        fixture.Forwarder.Pause();
        await fixture.PassAsync(TimeSpan.Zero);
        Assert.Equal(25, await fixture.Forwarder.ReplayAsync(TimeOf(5), TimeOf(29), null, Token));
        var before = sink.Sends;
        sink.Rule = batch => batch.Readings.Count > 6 ? new(SendOutcome.TooLarge, "6 at most") : SendResult.Accepted;
        fixture.Forwarder.Resume();
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        var sent = sink.Seen.Skip(before).ToList();
        Assert.Contains(sent, batch => batch.LaneName == "backfill");
        Assert.All(sent, batch => Assert.All(
            batch.Readings, reading => Assert.Equal(batch.LaneName == "replay", reading.Id is >= 5 and <= 29)));
    }

    [Fact]
    public async Task New_readings_are_sent_before_a_replay_is_complete()
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var fixture = await DeliveredAsync(sink, InTens with { BackfillBatchesPerMinute = 1 });
        Assert.Equal(41, await fixture.Forwarder.ReplayAsync(DateTimeOffset.MinValue, DateTimeOffset.MaxValue, null, Token));
        await fixture.StoreAsync(5, from: 42);
        await Until.True(() => sink.Ids(Lane.Live).Contains(46));
        Assert.True(fixture.Buffer.GetStatus().Depth > 0, "the replay is already complete");
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
    }

    [Fact]
    public async Task A_replay_is_counted_in_the_quota()
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted, IsMetered = true };
        await using var fixture = await DeliveredAsync(sink, InTens with { Sink = SinkKind.IotHub, DailyMessageLimit = 10_000 });
        var before = fixture.Forwarder.Status.MessagesToday;
        Assert.Equal(41, await fixture.Forwarder.ReplayAsync(DateTimeOffset.MinValue, DateTimeOffset.MaxValue, null, Token));
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.True(fixture.Forwarder.Status.MessagesToday > before);
    }

    static DateTimeOffset TimeOf(int reading) => BufferFixture.Reading(reading).Time;
}
