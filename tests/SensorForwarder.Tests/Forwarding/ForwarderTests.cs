using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

public sealed class ForwarderTests
{
    static readonly ForwardingSettings TenEveryMinute = new() { BatchSize = 10, UploadInterval = TimeSpan.FromMinutes(1) };

    static IEnumerable<long> Ids(Batch batch) => batch.Readings.Select(reading => reading.Id);

    static IEnumerable<long> Range(int first, int last) => Enumerable.Range(first, last - first + 1).Select(n => (long)n);

    [Fact]
    public async Task Full_batches_are_sent_immediately_and_a_partial_batch_when_its_oldest_reading_is_old_enough()
    {
        await using var fixture = await ForwarderFixture.StartAsync(settings: TenEveryMinute);
        await fixture.StoreAsync(25);
        fixture.Clock.SetUtcNow(BufferFixture.Noon.AddSeconds(21)); // reading 21, the oldest of the rest, is recorded now
        await fixture.RunAsync();

        for (var first = 1; first <= 11; first += 10)
        {
            var attempt = await fixture.NextAfterBackoffAsync(fixture.Http);
            Assert.Equal(Range(first, first + 9), Ids(attempt.Batch));
            attempt.Accept();
        }

        await fixture.UntilDepthAsync(5);
        Assert.False(fixture.Http.HasAttempt);
        var last = await fixture.NextAfterBackoffAsync(fixture.Http);
        Assert.Equal(Range(21, 25), Ids(last.Batch));
        Assert.True(fixture.Clock.GetUtcNow() >= BufferFixture.Noon.AddSeconds(21 + 60));
        last.Accept();
        await fixture.UntilDepthAsync(0);
    }

    [Fact]
    public async Task A_backlog_drains_completely_when_only_completed_sends_wake_the_loop()
    {
        // One wake-up that is too early shows the race; it happened once in some thousand sends.
        await using var fixture = await ForwarderFixture.StartAsync(
            http: new FakeSink
            {
                Send = async (_, _, _) =>
                {
                    await Task.Yield();
                    return SendResult.Accepted;
                },
            },
            settings: new() { BatchSize = 1 });
        await fixture.StoreAsync(10_000);
        await fixture.RunAsync();
        await Until.True(() => fixture.Forwarder.Status.Readings == 10_000, fixture.Clock, TimeSpan.FromSeconds(1));
    }

    [Fact]
    public async Task Readings_stay_in_the_buffer_until_the_receiver_accepts_them()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(10);
        await fixture.RunAsync();

        var attempt = await fixture.Http.NextAsync();
        Assert.Equal(10, fixture.Buffer.GetStatus().Depth);
        attempt.Accept();
        await fixture.UntilDepthAsync(0);
    }

    [Fact]
    public async Task Delays_are_at_most_a_quarter_of_the_outage_while_the_receiver_is_unreachable_and_double_after_refusals()
    {
        var log = new LogLines();
        await using var fixture = await ForwarderFixture.StartAsync(log: log, random: new Highest());
        var began = fixture.Clock.GetUtcNow();
        fixture.Http.Rule = _ => new(SendOutcome.Retry, "away");
        await fixture.StoreAsync(1);
        await fixture.RunAsync();
        await Until.True(() => log.Seconds("retrying in ").Count >= 7, fixture.Clock, TimeSpan.FromSeconds(0.1));
        var share = Math.Max(1, (fixture.Clock.GetUtcNow() - began).TotalSeconds / 4);
        Assert.All(log.Seconds("retrying in "), wait => Assert.InRange(wait, 1, share + 0.05)); // the log rounds

        fixture.Http.Rule = _ => new(SendOutcome.Denied, "who are you?");
        await Until.True(() => log.Seconds("next attempt in ").Count >= 4, fixture.Clock, TimeSpan.FromSeconds(0.1));
        Assert.Equal([1, 2, 4, 8], log.Seconds("next attempt in ").Take(4));
        fixture.Http.Rule = _ => SendResult.Accepted;
    }

    [Theory]
    [InlineData(nameof(SendOutcome.Retry))]
    [InlineData(nameof(SendOutcome.Denied))]
    public async Task A_failed_batch_is_retried_with_the_same_id_and_body(string outcome)
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(7);
        await fixture.RunAsync();

        var first = await fixture.Http.NextAsync();
        await fixture.StoreAsync(30, from: 8); // would fit into the batch if its boundaries moved
        first.Say(Enum.Parse<SendOutcome>(outcome));
        var second = await fixture.NextAfterBackoffAsync(fixture.Http);
        Assert.Equal(first.Batch.Id, second.Batch.Id);
        Assert.Equal(first.Batch.Body.ToArray(), second.Batch.Body.ToArray());
        Assert.Equal(37, fixture.Buffer.GetStatus().Depth);
        second.Accept();
        Assert.Equal(8, (await fixture.Http.NextAsync()).Batch.FirstId);
    }

    [Theory]
    [InlineData(10, 10)]
    [InlineData(100_000, 60)]
    public async Task Retry_After_is_honoured_up_to_an_hour(int askedMinutes, int minutes)
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(1);
        await fixture.RunAsync();

        (await fixture.Http.NextAsync()).Say(SendOutcome.Retry, TimeSpan.FromMinutes(askedMinutes));
        await Until.True(() => fixture.Forwarder.Status.Failures == 1);
        await fixture.PassAsync(TimeSpan.FromMinutes(minutes) - TimeSpan.FromSeconds(1));
        Assert.False(fixture.Http.HasAttempt);
        await fixture.PassAsync(TimeSpan.FromSeconds(1));
        Assert.True(fixture.Http.HasAttempt);
    }

    public static TheoryData<string> Changes => [.. Settings.Keys];

    static readonly Uri Here = new("https://example.com/here");

    static readonly ForwardingSettings InTens = new() { HttpEndpoint = Here, BatchSize = 10, UploadInterval = TimeSpan.Zero };

    // The changed settings, whether they end a back-off, and whether they end a Retry-After.
    static readonly Dictionary<string, (ForwardingSettings After, bool CutsBackoff, bool CutsRetryAfter)> Settings = new()
    {
        ["endpoint"] = (InTens with { HttpEndpoint = new("https://example.com/there") }, true, true),
        ["key in the endpoint"] = (InTens with { HttpEndpoint = new("https://example.com/here?key=2") }, true, true),
        ["sink"] = (InTens with { Sink = SinkKind.IotHub }, true, true),
        ["batchSize"] = (InTens with { BatchSize = 20 }, true, false),
        ["batchMaxBytes"] = (InTens with { BatchMaxBytes = 2_000 }, true, false),
        ["compression"] = (InTens with { Compression = BatchCompression.Gzip }, true, false),
        ["httpTimeout"] = (InTens with { HttpTimeout = TimeSpan.FromMinutes(2) }, true, false),
        ["acceptHtml"] = (InTens with { AcceptHtml = true }, true, false),
        ["uploadInterval"] = (InTens with { UploadInterval = TimeSpan.FromSeconds(1) }, false, false),
        ["drainOrder"] = (InTens with { DrainOrder = DrainOrder.LiveFirst }, false, false),
        ["maxInFlightBatches"] = (InTens with { MaxInFlightBatches = 9 }, false, false),
        ["backfillBatchesPerMinute"] = (InTens with { BackfillBatchesPerMinute = 9 }, false, false),
        ["dailyMessageLimit"] = (InTens with { DailyMessageLimit = 1_000_000 }, false, false),
    };

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task Changed_settings_end_a_back_off_only_if_they_can_remove_the_cause_of_the_failure(string change)
    {
        var (after, cutsBackoff, cutsRetryAfter) = Settings[change];
        foreach (var retryAfter in (TimeSpan?[])[null, TimeSpan.FromMinutes(10)])
        {
            using var files = new BufferFixture(inMemory: true);
            await using var buffer = await files.OpenAsync();
            await buffer.EnqueueAsync(BufferFixture.Reading(1), ForwarderFixture.Token);
            var sink = new FakeSink { Rule = _ => new(SendOutcome.Retry, "busy", retryAfter) };
            using var forwarder = new Forwarder(
                buffer, new Dictionary<SinkKind, ISink> { [SinkKind.Http] = sink, [SinkKind.IotHub] = sink },
                new BatchEncoder("pi", "module"), new Microsoft.Extensions.Time.Testing.FakeTimeProvider(BufferFixture.Noon), new Random(1),
                Microsoft.Extensions.Logging.Abstractions.NullLogger<Forwarder>.Instance);
            TimeSpan? Step(ForwardingSettings settings)
            {
                forwarder.Apply(settings);
                return forwarder.Step(CancellationToken.None);
            }

            Step(InTens);
            Assert.True(Step(InTens) > TimeSpan.Zero);
            Assert.Single(sink.Seen);
            Step(after);
            Assert.Equal((retryAfter is null ? cutsBackoff : cutsRetryAfter) ? 2 : 1, sink.Seen.Count);
        }
    }

    [Fact]
    public async Task A_turn_is_counted_after_the_wake_up_that_it_consumes()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        using var forwarder = new Forwarder(
            buffer, new Dictionary<SinkKind, ISink>(), new BatchEncoder("pi", "module"), TimeProvider.System, new Random(1),
            Microsoft.Extensions.Logging.Abstractions.NullLogger<Forwarder>.Instance);
        var turns = forwarder.Turns;
        forwarder.Nudge();
        forwarder.Step(CancellationToken.None);
        Assert.False(forwarder.IsAwake);
        Assert.Equal(turns + 1, forwarder.Turns);
    }

    [Fact]
    public async Task Retry_After_stays_in_force_when_unrelated_settings_change()
    {
        var sink = new FakeSink { Rule = _ => new(SendOutcome.Retry, "busy", TimeSpan.FromMinutes(10)) };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: InTens);
        await fixture.StoreAsync(1);
        await fixture.RunAsync();
        await Until.True(() => fixture.Forwarder.Status.LastError is not null);

        fixture.Forwarder.Apply(InTens with { UploadInterval = TimeSpan.FromSeconds(1) });
        var turns = fixture.Forwarder.Turns + 3;
        await Until.True(() =>
        {
            fixture.Forwarder.Nudge();
            return fixture.Forwarder.Turns >= turns;
        });
        Assert.Single(sink.Seen);

        fixture.Forwarder.Apply(InTens with { HttpEndpoint = new("https://example.com/there") });
        await Until.True(() => sink.Seen.Count == 2);
    }

    [Fact]
    public async Task Several_batches_are_in_flight_and_failed_ones_are_retried_before_new_readings_are_sent()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink { Window = 3 });
        await fixture.StoreAsync(60);
        await fixture.RunAsync();

        (await fixture.Http.NextAsync()).Accept();
        FakeSink.Attempt[] window =
            [await fixture.Http.NextAsync(), await fixture.Http.NextAsync(), await fixture.Http.NextAsync()];
        Assert.False(fixture.Http.HasAttempt);
        window[2].Say(SendOutcome.Retry); // no new send starts after this
        window[0].Say(SendOutcome.Retry);
        await Until.True(() => fixture.Forwarder.Status.Failures == 2); // the loop handles completed sends in any order
        window[1].Accept();
        await fixture.UntilDepthAsync(40);

        var probe = await fixture.NextAfterBackoffAsync(fixture.Http);
        Assert.Equal(11, probe.Batch.FirstId);
        Assert.False(fixture.Http.HasAttempt); // the others wait for the probe
        probe.Accept();
        Assert.Equal(31, (await fixture.Http.NextAsync()).Batch.FirstId);
        Assert.Equal(41, (await fixture.Http.NextAsync()).Batch.FirstId);
    }

    [Fact]
    public async Task A_batch_that_is_too_large_is_halved_until_it_fits()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink
        {
            Rule = batch => batch.Readings.Count > 3 ? new(SendOutcome.TooLarge, "413") : SendResult.Accepted,
        });
        await fixture.StoreAsync(10);
        await fixture.RunAsync();

        await fixture.UntilDepthAsync(0);
        Assert.Equal(0, fixture.Buffer.GetStatus().DeadLetters);
        Assert.Equal(
            Range(1, 10), fixture.Http.Seen.Where(batch => batch.Readings.Count <= 3).SelectMany(Ids));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(64)]
    public async Task One_rejected_reading_is_isolated_and_dead_lettered_alone(int bad)
    {
        await using var fixture = await ForwarderFixture.StartAsync(
            http: new FakeSink
            {
                Rule = batch => Ids(batch).Contains(bad) ? new(SendOutcome.Rejected, "answered 422") : SendResult.Accepted,
            },
            settings: new() { BatchSize = 64, UploadInterval = TimeSpan.Zero });
        await fixture.StoreAsync(64);
        await fixture.RunAsync();

        await fixture.UntilDepthAsync(0);
        var letter = Assert.Single(fixture.Buffer.ListDeadLetters(0, 100));
        Assert.Equal(bad, letter.Id);
        Assert.Equal("answered 422", letter.Answer);

        // The halves that contain the bad reading: at most log2(64) + 1 requests.
        Assert.InRange(fixture.Http.Seen.Count(batch => Ids(batch).Contains(bad)), 1, 7);
        Assert.Equal(
            Range(1, 64).Where(id => id != bad),
            fixture.Http.Seen.Where(batch => !Ids(batch).Contains(bad)).SelectMany(Ids).Order());
    }

    [Fact]
    public async Task A_receiver_that_rejects_everything_does_not_cause_the_whole_queue_to_be_dead_lettered()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink
        {
            Rule = _ => new(SendOutcome.Rejected, "answered 400"),
        });
        await fixture.StoreAsync(200);
        await fixture.RunAsync();

        await Until.True(() => fixture.Forwarder.Status.Failures > 10);
        await Until.True(() => fixture.Buffer.GetStatus().DeadLetters == 5);
        Assert.Equal(195, fixture.Buffer.GetStatus().Depth);

        fixture.Http.Rule = _ => SendResult.Accepted;
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Equal(5, await fixture.Buffer.RetryDeadLettersAsync(ForwarderFixture.Token));
        await fixture.UntilDepthAsync(0);
        Assert.Equal(0, fixture.Buffer.GetStatus().DeadLetters);
    }

    [Fact]
    public async Task Retried_dead_letters_are_sent_before_the_acknowledgement_of_a_later_batch_is_committed()
    {
        var sink = new FakeSink();
        await using var fixture = await ForwarderFixture.StartAsync(
            http: sink, settings: new() { BatchSize = 1, UploadInterval = TimeSpan.Zero });
        await fixture.StoreAsync(1);
        await fixture.RunAsync();
        (await sink.NextAsync()).Say(SendOutcome.Rejected);
        await Until.True(() => fixture.Buffer.GetStatus().DeadLetters == 1);
        await fixture.StoreAsync(1, from: 2);
        var underWay = await sink.NextAsync();

        fixture.Buffer.ApplyLimits(new() { CommitInterval = TimeSpan.FromHours(1) });
        Assert.Equal(1, await fixture.Buffer.RetryDeadLettersAsync(ForwarderFixture.Token));
        underWay.Accept();
        Assert.Equal([1L], Ids((await sink.NextAsync()).Batch));
    }

    [Fact]
    public async Task A_reading_larger_than_the_limit_of_the_sink_is_dead_lettered_and_the_others_are_delivered()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink
        {
            LargestBody = 1024,
            Rule = batch => batch.Body.Length > 1024 ? new(SendOutcome.TooLarge, "too large") : SendResult.Accepted,
        });
        await fixture.StoreAsync(3);
        await fixture.Buffer.EnqueueAsync(
            BufferFixture.Reading(4) with { Values = [.. Enumerable.Range(0, 100).Select(n => KeyValuePair.Create($"value{n}", 1.5))] },
            ForwarderFixture.Token);
        await fixture.StoreAsync(3, from: 5);
        await fixture.RunAsync();

        await fixture.UntilDepthAsync(0);
        Assert.Equal(4, Assert.Single(fixture.Buffer.ListDeadLetters(0, 10)).Id);
    }

    [Fact]
    public async Task Nothing_is_sent_while_the_sink_is_not_ready()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink(ready: false));
        await fixture.StoreAsync(10);
        await fixture.RunAsync();

        Assert.False(await fixture.Forwarder.FlushAsync(TimeSpan.Zero, ForwarderFixture.Token));
        Assert.Empty(fixture.Http.Seen);
        fixture.Http.BecomeReady();
        (await fixture.Http.NextAsync()).Accept();
        await fixture.UntilDepthAsync(0);
    }

    [Fact]
    public async Task Flush_sends_waiting_readings_immediately_and_completes_when_all_are_delivered()
    {
        await using var fixture = await ForwarderFixture.StartAsync(settings: TenEveryMinute);
        fixture.Clock.SetUtcNow(BufferFixture.Noon.AddSeconds(3));
        await fixture.StoreAsync(3);
        await fixture.RunAsync();

        var flush = fixture.Forwarder.FlushAsync(TimeSpan.FromHours(1), ForwarderFixture.Token);
        var attempt = await fixture.Http.NextAsync();
        Assert.Equal(Range(1, 3), Ids(attempt.Batch));
        Assert.False(flush.IsCompleted);
        attempt.Accept();
        Assert.True(await flush);
    }

    [Fact]
    public async Task Flush_reports_failure_when_its_timeout_expires()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(3);
        await fixture.RunAsync();

        var flush = fixture.Forwarder.FlushAsync(TimeSpan.FromSeconds(20), ForwarderFixture.Token);
        await fixture.Http.NextAsync(); // and no answer
        await Until.True(() => flush.IsCompleted, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.False(await flush);
    }

    [Fact]
    public async Task Nothing_is_sent_while_paused_and_everything_is_sent_after_resume()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        fixture.Forwarder.Pause();
        await fixture.RunAsync();
        await fixture.StoreAsync(10);
        Assert.False(await fixture.Forwarder.FlushAsync(TimeSpan.Zero, ForwarderFixture.Token));
        Assert.Empty(fixture.Http.Seen);

        fixture.Forwarder.Resume();
        (await fixture.Http.NextAsync()).Accept();
        await fixture.UntilDepthAsync(0);
    }

    [Fact]
    public async Task A_new_sink_takes_over_when_the_batches_in_flight_are_complete_and_nothing_is_sent_twice()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(20);
        await fixture.RunAsync();

        var underWay = await fixture.Http.NextAsync();
        fixture.Forwarder.Apply(new() { Sink = SinkKind.IotHub, BatchSize = 4, UploadInterval = TimeSpan.Zero });
        Assert.Empty(fixture.Hub.Seen);
        underWay.Accept();
        for (var first = 11; first <= 19; first += 4)
        {
            var attempt = await fixture.Hub.NextAsync();
            Assert.Equal(first, attempt.Batch.FirstId);
            attempt.Accept();
        }

        await fixture.UntilDepthAsync(0);
        Assert.Single(fixture.Http.Seen);
    }

    [Fact]
    public async Task A_batch_in_flight_at_a_stop_is_still_acknowledged()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(10);
        await fixture.RunAsync();

        var attempt = await fixture.Http.NextAsync();
        var stopping = fixture.Forwarder.StopAsync(ForwarderFixture.Token);
        Assert.False(stopping.IsCompleted);
        attempt.Accept();
        await stopping;
        await fixture.UntilDepthAsync(0);
    }

    [Fact]
    public async Task A_rejected_reading_that_is_dead_lettered_does_not_set_the_last_error()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink
        {
            Rule = batch => Ids(batch).Contains(10) ? new(SendOutcome.Rejected, "answered 422") : SendResult.Accepted,
        });
        await fixture.StoreAsync(10);
        await fixture.RunAsync();

        await Until.True(() => fixture.Buffer.GetStatus().DeadLetters == 1 && fixture.Forwarder.Status.LastFailure is not null);
        await Until.True(() => fixture.Forwarder.Status.Failures == 5); // of 10, 5, 3, 2 and 1
        Assert.Null(fixture.Forwarder.Status.LastError);
        Assert.Equal("answered 422", fixture.Forwarder.Status.LastFailure!.Reason);
    }

    [Fact]
    public async Task A_success_answer_that_accepts_none_of_the_readings_counts_as_a_failure()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(10);
        await fixture.RunAsync();

        var first = await fixture.Http.NextAsync();
        first.Answer.SetResult(SendResult.Accepted with { Partial = new(new HashSet<long>(), new Dictionary<long, string>()) });
        var second = await fixture.NextAfterBackoffAsync(fixture.Http);
        Assert.Equal(first.Batch.Id, second.Batch.Id);
        await Until.True(() => fixture.Forwarder.Status.Failures == 1);
        Assert.Equal("the answer is a success that accepts none of the readings", fixture.Forwarder.Status.LastError);
        Assert.Equal("the answer is a success that accepts none of the readings", fixture.Forwarder.Status.LastFailure?.Reason);
        second.Accept();
        await Until.True(() => fixture.Forwarder.Status.LastError is null);
    }

    [Fact]
    public async Task A_send_that_is_cancelled_by_a_stop_is_not_logged_as_a_failure()
    {
        var log = new LogLines();
        await using (var fixture = await ForwarderFixture.StartAsync(log: log))
        {
            await fixture.StoreAsync(10);
            await fixture.RunAsync();
            await fixture.Http.NextAsync(); // and no answer
        }

        Assert.False(log.Has("did not accept"), string.Join('\n', log.All));
    }
}
