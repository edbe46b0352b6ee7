using CsCheck;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

public sealed class LaneTests
{
    static readonly ForwardingSettings LiveFirst = new()
    {
        BatchSize = 10,
        UploadInterval = TimeSpan.FromSeconds(10),
        DrainOrder = DrainOrder.LiveFirst,
    };

    static IEnumerable<long> Ids(Batch batch) => batch.Readings.Select(reading => reading.Id);

    static IEnumerable<long> Range(int first, int last) => Enumerable.Range(first, last - first + 1).Select(n => (long)n);

    /// <summary>Stores 40 readings during an outage, which ends one minute after the last.</summary>
    static async Task<ForwarderFixture> AfterBlackoutAsync(FakeSink sink, ForwardingSettings settings)
    {
        var fixture = await ForwarderFixture.StartAsync(http: sink, settings: settings);
        await fixture.StoreAsync(40);
        fixture.Clock.SetUtcNow(BufferFixture.Noon.AddSeconds(100));
        return await fixture.RunAsync();
    }

    [Fact]
    public async Task New_readings_are_sent_while_the_backlog_waits_for_its_rate()
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var fixture = await AfterBlackoutAsync(sink, LiveFirst with { BackfillBatchesPerMinute = 1 });
        await Until.True(() => sink.Count(Lane.Backfill) >= 1, fixture.Clock, TimeSpan.FromSeconds(1));

        // Ten new readings are sent without advancing the clock, the backlog is not.
        await fixture.StoreAsync(10, from: 41);
        await Until.True(() => sink.Ids(Lane.Live).Contains(50));
        Assert.Equal(Range(41, 50), sink.Ids(Lane.Live));
        Assert.Equal(1, sink.Count(Lane.Backfill));

        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        var backlog = sink.Seen.Where(batch => batch.Lane == Lane.Backfill).ToList();
        Assert.Equal(Range(1, 40), backlog.SelectMany(Ids));
        var took = fixture.Clock.GetUtcNow() - BufferFixture.Noon.AddSeconds(100);
        Assert.True(took >= TimeSpan.FromMinutes(backlog.Count - 1), $"{backlog.Count} batches in {took}");
    }

    /// <summary>The clock may advance between two statements of the loop, even past the end of a wait.</summary>
    [Fact]
    public async Task A_backlog_is_never_sent_in_the_live_lane_even_if_the_clock_advances_at_each_reading()
    {
        for (var seed = 0; seed < 40; seed++)
        {
            var sink = new FakeSink { Rule = _ => SendResult.Accepted };
            var clock = new RestlessClock();
            await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: LiveFirst, random: new Random(seed), clock: clock);
            await fixture.StoreAsync(40);
            clock.SetUtcNow(BufferFixture.Noon.AddSeconds(200));
            clock.IsRestless = true;
            await fixture.RunAsync();
            await Until.True(() =>
            {
                fixture.Forwarder.Nudge();
                return sink.Seen.Count > 0;
            });
            clock.IsRestless = false;
            Assert.Equal(0, sink.Count(Lane.Live));
        }
    }

    [Fact]
    public async Task After_a_flush_has_timed_out_the_backlog_is_sent_at_its_rate_again()
    {
        var sink = new FakeSink(ready: false) { Rule = _ => SendResult.Accepted };
        await using var fixture = await AfterBlackoutAsync(sink, LiveFirst with { BackfillBatchesPerMinute = 1 });
        Assert.False(await fixture.Forwarder.FlushAsync(TimeSpan.Zero, ForwarderFixture.Token));
        sink.BecomeReady();
        await Until.True(() => sink.Count(Lane.Backfill) >= 1, fixture.Clock, TimeSpan.FromSeconds(1));

        // The new readings are sent without advancing the clock; readings left from the flush would be sent before
        // them.
        await fixture.StoreAsync(10, from: 41);
        await Until.True(() => sink.Ids(Lane.Live).Contains(50));
        Assert.Equal(1, sink.Count(Lane.Backfill));

        // Another flush does not wait for the backfill rate.
        var flush = fixture.Forwarder.FlushAsync(TimeSpan.FromHours(1), ForwarderFixture.Token);
        await Until.True(() => flush.IsCompleted);
        Assert.True(await flush);
    }

    [Fact]
    public async Task One_place_in_the_window_stays_free_for_new_readings()
    {
        var sink = new FakeSink { Window = 3 };
        await using var fixture = await AfterBlackoutAsync(sink, LiveFirst);
        (await fixture.NextAfterBackoffAsync(sink)).Accept(); // the probe
        Assert.Equal(Lane.Backfill, (await sink.NextAsync()).Batch.Lane);
        Assert.Equal(Lane.Backfill, (await sink.NextAsync()).Batch.Lane);
        Assert.False(sink.HasAttempt);
        await fixture.StoreAsync(10, from: 41);
        var live = (await sink.NextAsync()).Batch;
        Assert.Equal((Lane.Live, 41), (live.Lane, live.FirstId));
    }

    [Fact]
    public async Task New_readings_that_use_the_whole_window_do_not_starve_the_backlog()
    {
        var sink = new FakeSink();
        await using var fixture = await AfterBlackoutAsync(sink, LiveFirst with { UploadInterval = TimeSpan.Zero });
        var backlog = 0;
        for (var n = 41; n < 101; n += 10)
        {
            var attempt = await fixture.NextAfterBackoffAsync(sink);
            if (attempt.Batch.Lane == Lane.Backfill) backlog++;
            await fixture.StoreAsync(10, from: n); // whenever the window is free, new readings are waiting
            attempt.Accept();
        }

        Assert.InRange(backlog, 3, 4);
    }

    [Fact]
    public async Task After_an_outage_at_run_time_new_readings_are_sent_before_the_backlog()
    {
        var answer = SendResult.Accepted;
        var sink = new FakeSink { Rule = _ => answer };
        await using var fixture = await ForwarderFixture.StartAsync(
            http: sink, settings: LiveFirst with { UploadInterval = TimeSpan.Zero, BackfillBatchesPerMinute = 6 });
        await fixture.RunAsync();
        await fixture.StoreAsync(10);
        await fixture.UntilDepthAsync(0);

        answer = new(SendOutcome.Retry, "away") { NotSent = true };
        await fixture.StoreAsync(50, from: 11);
        await Until.True(() => fixture.Forwarder.Status.Failures > 4, fixture.Clock, TimeSpan.FromSeconds(1));
        answer = SendResult.Accepted;
        fixture.Clock.Advance(Circuit.BackoffMax);
        await Until.True(() => sink.Count(Lane.Backfill) > 0, fixture.Clock, TimeSpan.FromMilliseconds(100));
        await fixture.StoreAsync(5, from: 61);
        await Until.True(() => sink.Ids(Lane.Live).Contains(65));
        Assert.True(fixture.Buffer.GetStatus().Depth > 0, "the backlog has already drained");

        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Equal(Range(1, 65), sink.Seen.SelectMany(Ids).Distinct().Order());
    }

    [Fact]
    public async Task Switching_to_oldestFirst_during_a_backlog_loses_and_repeats_no_reading()
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var fixture = await AfterBlackoutAsync(sink, LiveFirst with { BackfillBatchesPerMinute = 1 });
        await Until.True(() => sink.Count(Lane.Backfill) >= 1, fixture.Clock, TimeSpan.FromSeconds(1));
        await fixture.StoreAsync(10, from: 41);
        await Until.True(() => sink.Ids(Lane.Live).Contains(50));
        var before = sink.Seen.Count;
        fixture.Forwarder.Apply(LiveFirst with { DrainOrder = DrainOrder.OldestFirst });
        await fixture.PassAsync(TimeSpan.Zero);
        await fixture.StoreAsync(10, from: 51);
        await fixture.UntilDepthAsync(0);
        Assert.Equal(Range(1, 60), sink.Seen.SelectMany(Ids).Order());
        var inOrder = sink.Seen.Skip(before).SelectMany(Ids).ToList();
        Assert.Equal(inOrder.Order(), inOrder);
    }

    [Fact]
    public async Task Retried_dead_letters_are_sent_although_they_are_older_than_both_lanes()
    {
        var bad = true;
        var sink = new FakeSink { Rule = batch => bad && Ids(batch).Contains(7) ? new(SendOutcome.Rejected, "no") : SendResult.Accepted };
        await using var fixture = await AfterBlackoutAsync(sink, LiveFirst);
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        bad = false;
        Assert.Equal(1, await fixture.Buffer.RetryDeadLettersAsync(ForwarderFixture.Token));
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Equal([7L], Ids(sink.Seen.Last()));
    }

    [Fact]
    public void The_backfill_rate_is_not_exceeded_in_any_minute()
    {
        Gen.Select(Gen.Int[1, 6000], Gen.Double[0.001, 5].Array[1, 300]).Sample((perMinute, pauses) =>
        {
            var clock = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
            var rate = new BackfillRate(clock);
            var taken = new List<DateTimeOffset>();
            foreach (var pause in pauses)
            {
                if (rate.UntilNext(perMinute) <= TimeSpan.Zero)
                {
                    rate.Take();
                    taken.Add(clock.GetUtcNow());
                }

                clock.Advance(TimeSpan.FromSeconds(pause));
            }

            foreach (var from in taken)
                Assert.InRange(taken.Count(at => at >= from && at < from.AddMinutes(1)), 1, perMinute);
        });
    }

    [Fact]
    public void The_age_of_a_commit_is_never_overestimated()
    {
        Gen.Select(Gen.Int[1, 100].Array[1, 200], Gen.Int[1, 60]).Sample((pauses, spanSeconds) =>
        {
            var clock = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
            var ages = new CommitAges(clock);
            var commits = new List<(long Id, DateTimeOffset At)>();
            var span = TimeSpan.FromSeconds(spanSeconds);
            foreach (var pause in pauses)
            {
                commits.Add((commits.Count + 1, clock.GetUtcNow()));
                ages.Note(commits.Count, span);
                clock.Advance(TimeSpan.FromSeconds(pause / 10.0));
                foreach (var age in new[] { span / 2, span })
                {
                    var id = ages.CommittedBefore(age);
                    if (id > 0) Assert.True(clock.GetUtcNow() - commits[(int)id - 1].At >= age);
                }
            }

            // Ids older than twice the span are known to be old.
            clock.Advance(2 * span);
            ages.Note(commits.Count, span);
            clock.Advance(span);
            ages.Note(commits.Count, span);
            Assert.Equal(commits.Count, ages.CommittedBefore(span));
        });
    }

    /// <summary>A clock that advances by a second whenever a duration is measured.</summary>
    sealed class RestlessClock() : FakeTimeProvider(BufferFixture.Noon)
    {
        public bool IsRestless { get; set; }

        public override long GetTimestamp()
        {
            if (IsRestless) Advance(TimeSpan.FromSeconds(1));
            return base.GetTimestamp();
        }
    }
}
