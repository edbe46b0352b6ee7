using CsCheck;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Forwarding;

public sealed class QuotaTests
{
    static readonly DateTimeOffset Midnight = new(2026, 11, 24, 0, 0, 0, TimeSpan.Zero);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task TakeAsync(Quota quota, int limit, int chunks) => await Until.True(() => quota.TryTake(limit, chunks, out _));

    [Fact]
    public async Task The_backlog_leaves_an_even_share_of_the_quota_to_the_rest_of_the_day()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        var clock = new FakeTimeProvider(Midnight.AddHours(6));
        var quota = new Quota(buffer, clock, static () => { });
        Assert.Equal(251, quota.Allowance(1_000, QuotaShare.Backlog)); // one chunk ahead
        Assert.Equal(375, quota.Allowance(1_000, QuotaShare.Live));
        Assert.Equal(1_000, quota.Allowance(1_000, QuotaShare.Everything));
        await TakeAsync(quota, 1_000, 251);
        Assert.Equal(0, quota.Allowance(1_000, QuotaShare.Backlog));
        var until = quota.Until(1_000, QuotaShare.Backlog, 10);
        Assert.InRange(until, Midnight.AddHours(6).AddMinutes(14.4), Midnight.AddHours(6).AddMinutes(14.41));
        clock.SetUtcNow(until);
        Assert.Equal(10, quota.Allowance(1_000, QuotaShare.Backlog));
        Assert.Equal(Midnight.AddDays(1), quota.Until(1_000, QuotaShare.Everything, 750));
        clock.SetUtcNow(Midnight.AddDays(1));
        Assert.Equal((1, 125, 1_000), (quota.Allowance(1_000, QuotaShare.Backlog), quota.Allowance(1_000, QuotaShare.Live), quota.Allowance(1_000, QuotaShare.Everything)));
    }

    [Fact]
    public void Until_returns_the_earliest_time_at_which_the_quota_suffices()
    {
        Gen.Select(Gen.Int[1, 1_000_000], Gen.Int[0, 86_399], Gen.Int[1, 60], Gen.Bool).Sample((limit, second, chunks, isLive) =>
        {
            if (chunks > limit) return;
            using var files = new BufferFixture(inMemory: true);
            using var buffer = new Disposing(files.OpenAsync().GetAwaiter().GetResult());
            var clock = new FakeTimeProvider(Midnight.AddSeconds(second));
            var quota = new Quota(buffer.Buffer, clock, static () => { });
            var share = isLive ? QuotaShare.Live : QuotaShare.Backlog;
            var until = quota.Until(limit, share, chunks);
            Assert.True(until <= Midnight.AddDays(1));
            if (until == Midnight.AddDays(1)) return;
            if (until > clock.GetUtcNow())
            {
                Assert.True(quota.Allowance(limit, share) < chunks);
                clock.SetUtcNow(until);
            }

            Assert.True(quota.Allowance(limit, share) >= chunks);
        }, iter: 100);
    }

    [Fact]
    public async Task Reserved_chunks_count_after_a_kill_and_sent_chunks_after_a_stop()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        var clock = new FakeTimeProvider(Midnight.AddHours(12));
        var quota = new Quota(buffer, clock, static () => { });
        await TakeAsync(quota, 1_000, 3);

        var afterKill = new Quota(buffer, clock, static () => { });
        Assert.InRange(afterKill.Used, 3, 13); // a block is 1/100 of the limit
        var commits = buffer.GetStatus().Commits;
        for (var i = 0; i < 10; i++) Assert.True(quota.TryTake(1_000, 1, out _));
        Assert.Equal(commits, buffer.GetStatus().Commits);
        await TakeAsync(quota, 1_000, 1);
        await quota.CloseAsync(Token);
        Assert.Equal(14, new Quota(buffer, clock, static () => { }).Used);

        // A new day starts at zero, and the old one is still known if the clock is set back.
        clock.SetUtcNow(Midnight.AddDays(1));
        Assert.Equal(0, new Quota(buffer, clock, static () => { }).Used);
        Assert.Equal(14, new Quota(buffer, new FakeTimeProvider(Midnight), static () => { }).Used);
    }

    [Fact]
    public async Task Chunks_sent_while_the_clock_was_wrong_also_count_for_the_correct_day()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        var clock = new SteppedClock(new(1970, 1, 1, 0, 1, 0, TimeSpan.Zero));
        var quota = new Quota(buffer, clock, static () => { });
        await TakeAsync(quota, 1_000, 7);
        clock.Step(Midnight - clock.GetUtcNow());
        Assert.Equal(7, quota.Used);
        await TakeAsync(quota, 1_000, 5);
        Assert.Equal(12, quota.Used);
        clock.Step(TimeSpan.FromDays(-30)); // the five chunks just sent may belong to that day
        Assert.Equal(5, quota.Used);
        clock.Step(TimeSpan.FromDays(30));
        Assert.Equal(12, quota.Used);
        clock.Advance(TimeSpan.FromDays(1));
        Assert.Equal(0, quota.Used);
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(3_840, 1)] // 256 bytes are reserved for the properties
    [InlineData(3_841, 2)]
    [InlineData(7_936, 2)]
    [InlineData(7_937, 3)]
    public void IoT_Hub_bills_chunks_of_4_KB(int bytes, int chunks) => Assert.Equal(chunks, Quota.Chunks(bytes));

    [Theory]
    [InlineData(3_839, -256)]
    [InlineData(3_840, 3_840)]
    [InlineData(7_935, 3_840)]
    [InlineData(7_936, 7_936)]
    public void Whole_chunks_are_filled_to_the_last_byte(int bytes, int whole) => Assert.Equal(whole, Quota.WholeChunkBytes(bytes));

    [Fact]
    public async Task The_last_chunk_of_the_day_may_be_used_today_and_a_further_one_only_tomorrow()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        var quota = new Quota(buffer, new FakeTimeProvider(Midnight.AddHours(12)), static () => { });
        quota.Count(6);
        Assert.True(quota.Until(10, QuotaShare.Everything, 4) <= Midnight.AddHours(12));
        Assert.Equal(Midnight.AddDays(1), quota.Until(10, QuotaShare.Everything, 5));
        Assert.Equal((4, 0), (quota.Allowance(10, QuotaShare.Everything), quota.Allowance(10, QuotaShare.Backlog)));
        Assert.True(quota.Hold(10, QuotaShare.Backlog, 1).IsBacklog);
        Assert.False(quota.Hold(10, QuotaShare.Live, 1).IsBacklog);
    }

    [Fact]
    public async Task The_forwarder_is_woken_when_a_reservation_is_committed_or_has_failed()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        var woken = 0;
        var quota = new Quota(buffer, new FakeTimeProvider(Midnight), () => Interlocked.Increment(ref woken));
        Assert.False(quota.TryTake(1_000, 2, out var wait));
        Assert.NotNull(wait);
        await quota.Reserving;
        Assert.Equal(1, woken);
        Assert.True(quota.TryTake(1_000, 2, out wait));
        Assert.Null(wait);
        Assert.Equal(2, quota.Used);

        await buffer.DisposeAsync();
        Assert.False(quota.TryTake(1_000, 11, out _));
        await quota.Reserving;
        Assert.Equal(2, woken);
        Assert.False(quota.TryTake(1_000, 11, out _)); // and again
        await quota.Reserving;
        Assert.Equal(3, woken);
    }

    [Fact]
    public async Task The_counts_of_the_last_four_days_are_kept_and_older_ones_dropped()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        var clock = new SteppedClock(Midnight);
        var quota = new Quota(buffer, clock, static () => { });
        for (var day = 1; day <= 5; day++)
        {
            await TakeAsync(quota, 1_000, day);
            if (day < 5) clock.Advance(TimeSpan.FromDays(1));
        }

        await quota.CloseAsync(Token);
        var used = Enumerable.Range(0, 5).Select(day => new Quota(buffer, new FakeTimeProvider(Midnight.AddDays(day)), static () => { }).Used);
        Assert.Equal([0, 2, 3, 4, 5], used);
        var commits = buffer.GetStatus().Commits;
        await quota.CloseAsync(Token); // nothing to release
        Assert.Equal(commits, buffer.GetStatus().Commits);
    }

    [Theory]
    [InlineData(5, 0)] // a correction that NTP makes
    [InlineData(5.1, 9)] // the clock was set: the chunks may have been sent on the new day
    public async Task A_small_clock_correction_across_midnight_starts_a_new_day(double minutes, long used)
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        var clock = new SteppedClock(Midnight.AddMinutes(-3));
        var quota = new Quota(buffer, clock, static () => { });
        await TakeAsync(quota, 1_000, 9);
        clock.Step(TimeSpan.FromMinutes(minutes));
        Assert.Equal(used, quota.Used);
        clock.Step(TimeSpan.FromMinutes(-minutes));
        Assert.Equal(9, quota.Used);
    }

    [Fact]
    public async Task A_time_in_the_past_causes_no_wait()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        var quota = new Quota(buffer, new FakeTimeProvider(Midnight), static () => { });
        Assert.Equal(TimeSpan.Zero, quota.WaitFor(Midnight.AddMilliseconds(-1)));
        Assert.Equal(TimeSpan.FromSeconds(5), quota.WaitFor(Midnight.AddSeconds(5)));
        Assert.Equal(TimeSpan.FromMinutes(1), quota.WaitFor(Midnight.AddHours(5)));
    }

    [Fact]
    public async Task Chunks_sent_before_a_limit_was_set_count_even_after_a_stop()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        var clock = new FakeTimeProvider(Midnight.AddHours(12));
        var quota = new Quota(buffer, clock, static () => { });
        quota.Count(40);
        Assert.Equal(60, quota.Allowance(100, QuotaShare.Everything));
        await quota.CloseAsync(Token);

        var next = new Quota(buffer, clock, static () => { });
        Assert.Equal(40, next.Used);
        await TakeAsync(next, 100, 60);
        Assert.Equal(0, next.Allowance(100, QuotaShare.Everything));
    }

    [Fact]
    public async Task A_limit_set_during_the_day_counts_earlier_messages_and_is_reported_only_while_it_holds_readings_back()
    {
        var hub = new FakeSink { Rule = _ => SendResult.Accepted, IsMetered = true };
        var settings = new ForwardingSettings { Sink = SinkKind.IotHub, BatchSize = 1, UploadInterval = TimeSpan.Zero };
        await using var fixture = await ForwarderFixture.StartAsync(hub: hub, settings: settings);
        await fixture.StoreAsync(30);
        await fixture.RunAsync();
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromMilliseconds(100));

        fixture.Forwarder.Apply(settings with { DailyMessageLimit = 30 });
        await fixture.StoreAsync(5, from: 31);
        await Until.True(() => fixture.Forwarder.Status.HeldBackUntil is not null, fixture.Clock, TimeSpan.FromMilliseconds(100));
        Assert.Equal(30, fixture.Forwarder.Status.MessagesToday);
        Assert.Equal(30, hub.Seen.Count);

        fixture.Forwarder.Pause();
        await Until.True(() => fixture.Forwarder.Status.HeldBackUntil is null, fixture.Clock, TimeSpan.FromMilliseconds(100));
    }

    [Fact]
    public async Task After_a_system_sleep_across_midnight_the_whole_quota_of_the_new_day_is_available()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        var (clock, slept) = (new SteppedClock(Midnight.AddHours(-1)), TimeSpan.Zero);
        var began = clock.GetTimestamp();
        var quota = new Quota(buffer, clock, static () => { }, () => new KernelTime(clock.GetElapsedTime(began) + slept, "boot", true));
        await TakeAsync(quota, 1_000, 900);
        slept = TimeSpan.FromHours(8); // the process's monotonic clock stops meanwhile
        clock.Step(slept);
        Assert.Equal(0, quota.Used);
    }

    [Fact]
    public async Task When_the_clock_is_set_across_midnight_only_the_last_chunks_before_it_count_for_the_new_day()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        var clock = new SteppedClock(Midnight.AddHours(-12));
        var quota = new Quota(buffer, clock, static () => { });
        await TakeAsync(quota, 1_000, 900);
        clock.Advance(TimeSpan.FromHours(11.9));
        await TakeAsync(quota, 1_000, 5);
        clock.Step(TimeSpan.FromMinutes(20));
        Assert.Equal(5, quota.Used);
    }

    [Fact]
    public async Task An_unreadable_quota_document_is_ignored()
    {
        foreach (var text in (string[])["", "x", "2026-13-01 5", "2026-11-24", "2026-11-24 -5", "2026-11-24 99999999999999999999"])
        {
            using var files = new BufferFixture(inMemory: true);
            await using var buffer = await files.OpenAsync();
            await buffer.SaveDocumentAsync(Quota.Document, System.Text.Encoding.UTF8.GetBytes(text), Token);
            Assert.Equal(0, new Quota(buffer, new FakeTimeProvider(Midnight), static () => { }).Used);
        }
    }

    [Fact]
    public async Task Live_readings_are_sent_while_the_quota_holds_the_backlog_and_the_status_says_until_when()
    {
        var hub = new FakeSink { Rule = _ => SendResult.Accepted, IsMetered = true };
        await using var fixture = await ForwarderFixture.StartAsync(hub: hub, settings: new()
        {
            Sink = SinkKind.IotHub,
            BatchSize = 50,
            UploadInterval = TimeSpan.FromSeconds(10),
            DrainOrder = DrainOrder.LiveFirst,
            DailyMessageLimit = 20,
        });
        await fixture.StoreAsync(2_000); // about 80 chunks
        fixture.Clock.SetUtcNow(BufferFixture.Noon.AddHours(1));
        await fixture.RunAsync();

        // At this time of the day the backlog may use eleven of twenty chunks. All but the probe are whole chunks.
        await Until.True(() => fixture.Forwarder.Status.HeldBackUntil is not null && fixture.Forwarder.Status.MessagesToday >= 11, fixture.Clock, TimeSpan.FromMilliseconds(100));
        Assert.Equal(11, fixture.Forwarder.Status.MessagesToday);
        var backlog = hub.Count(Lane.Backfill);
        Assert.All(hub.Seen.Where(batch => batch.Lane == Lane.Backfill).Skip(1), batch => Assert.Equal(1, Quota.Chunks(batch.Body.Length)));
        Assert.InRange(fixture.Forwarder.Status.HeldBackUntil!.Value - fixture.Clock.GetUtcNow(), TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(73));

        await fixture.StoreAsync(10, from: 2_001);
        fixture.Clock.Advance(TimeSpan.FromSeconds(11));
        await Until.True(() => hub.Ids(Lane.Live).Contains(2_010), fixture.Clock, TimeSpan.FromMilliseconds(100));
        Assert.Equal(backlog, hub.Count(Lane.Backfill));
    }

    [Fact]
    public async Task A_reading_larger_than_the_quota_of_a_whole_day_is_dead_lettered_and_HTTP_is_not_metered()
    {
        var hub = new FakeSink { Rule = _ => SendResult.Accepted, IsMetered = true };
        await using var fixture = await ForwarderFixture.StartAsync(
            http: new FakeSink { Rule = _ => SendResult.Accepted }, hub: hub,
            settings: new() { Sink = SinkKind.IotHub, UploadInterval = TimeSpan.Zero, DailyMessageLimit = 1 });
        await fixture.Buffer.EnqueueAsync(
            BufferFixture.Reading(1) with { Values = [.. Enumerable.Range(0, 400).Select(n => KeyValuePair.Create($"value{n}", 1.5))] }, Token);
        await fixture.StoreAsync(1, from: 2);
        fixture.Clock.SetUtcNow(Midnight.AddHours(23.5));
        await fixture.RunAsync();
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Contains("dailyMessageLimit is 1", Assert.Single(fixture.Buffer.ListDeadLetters(0, 10)).Answer);
        Assert.Equal([2], hub.Seen.SelectMany(batch => batch.Readings).Select(reading => reading.Id));

        fixture.Forwarder.Apply(new() { Sink = SinkKind.Http, UploadInterval = TimeSpan.Zero, DailyMessageLimit = 1 });
        await fixture.StoreAsync(20, from: 3);
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
    }

    sealed class Disposing(TelemetryBuffer buffer) : IDisposable
    {
        public TelemetryBuffer Buffer => buffer;

        public void Dispose() => buffer.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }
}
