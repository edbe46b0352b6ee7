using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A batch that was sent keeps its boundaries and id in the next run.</summary>
public sealed class SentRecordTests
{
    static readonly ForwardingSettings InTens = new() { BatchSize = 10, UploadInterval = TimeSpan.Zero };
    static readonly ForwardingSettings InSevens = InTens with { BatchSize = 7 };
    static readonly ForwardingSettings InTwenties = InTens with { BatchSize = 20 };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task StoreAsync(TelemetryBuffer buffer, int from, int count) => await Task.WhenAll(
        Enumerable.Range(from, count).Select(n => buffer.EnqueueAsync(BufferFixture.Reading(n), Token).AsTask()));

    /// <summary>The files as a kill leaves them.</summary>
    static BufferFixture Killed(BufferFixture files)
    {
        var left = new BufferFixture();
        foreach (var file in Directory.GetFiles(files.Directory, "telemetry.db*"))
            File.Copy(file, Path.Combine(left.Directory, Path.GetFileName(file)));
        return left;
    }

    [Fact]
    public async Task A_failed_batch_is_retried_with_its_id_after_a_kill()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        await StoreAsync(buffer, 1, 10);
        string id;
        await using (var run = await Run.StartAsync(buffer, new FakeSink(), InTens))
        {
            var attempt = await run.Sink.NextAsync();
            id = attempt.Batch.Id;
            attempt.Say(SendOutcome.Retry);
            await Until.True(() => buffer.LoadNote()?.Contains(" 1 10 10 ", StringComparison.Ordinal) == true);
            using var left = Killed(files);
            await using var reopened = await left.OpenAsync();
            await StoreAsync(reopened, 11, 20);
            await using var next = await Run.StartAsync(reopened, new FakeSink { Rule = _ => SendResult.Accepted }, InSevens);
            await Until.True(() => reopened.GetStatus().Depth == 0, next.Clock, TimeSpan.FromSeconds(1));
            Assert.Equal(id, next.Sink.Seen[0].Id);
            Assert.Equal([1, 11, 18, 25], next.Sink.Seen.Select(batch => batch.FirstId));
        }
    }

    [Fact]
    public async Task The_record_of_the_last_run_is_not_replaced_before_it_was_read()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        await StoreAsync(buffer, 1, 10);
        var readings = buffer.PeekBatch(0, 10, int.MaxValue);
        var last = new SentRecord(buffer);
        last.Load();
        last.Keep([new Batch(buffer.Epoch, readings, default)], [], "");
        await last.CommitAsync();

        // A module without a connection already has custody books, but has not read the record yet.
        var next = new SentRecord(buffer);
        next.Keep([], [], "custody\tbooks");
        await buffer.CommitAsync(Token);
        Assert.Equal(readings.Select(reading => reading.Id), Assert.Single(next.Load()).Readings.Select(reading => reading.Id));
    }

    [Fact]
    public async Task A_batch_in_flight_is_recorded_when_another_is_acknowledged_and_keeps_its_id_after_a_kill()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        await StoreAsync(buffer, 1, 50);
        await using var run = await Run.StartAsync(buffer, new FakeSink { Window = 3 }, InTens);
        var probe = await run.Sink.NextAsync();
        probe.Accept();
        FakeSink.Attempt[] window = [await run.Sink.NextAsync(), await run.Sink.NextAsync(), await run.Sink.NextAsync()];
        window[1].Accept(); // 21..30; the send of 41..50 starts
        await run.Sink.NextAsync();
        await Until.True(() => buffer.GetStatus().Depth == 30);
        await buffer.CommitAsync(Token); // the note may not be written yet

        using var left = Killed(files);
        await using var reopened = await left.OpenAsync();
        await using var next = await Run.StartAsync(reopened, new FakeSink { Rule = _ => SendResult.Accepted }, InSevens);
        await Until.True(() => reopened.GetStatus().Depth == 0, next.Clock, TimeSpan.FromSeconds(1));
        Assert.Equal(
            [.. window.Where((_, i) => i != 1).Select(attempt => attempt.Batch.Id)], next.Sink.Seen.Take(2).Select(batch => batch.Id));
        Assert.Equal(30, next.Sink.Seen.Sum(batch => batch.Readings.Count));
    }

    [Fact]
    public async Task A_batch_in_flight_at_a_stop_keeps_its_id_unless_a_reading_is_gone_and_no_other_is_lost()
    {
        using var files = new BufferFixture();
        string[] ids;
        await using (var buffer = await files.OpenAsync())
        {
            await StoreAsync(buffer, 1, 40);
            await using var run = await Run.StartAsync(buffer, new FakeSink { Window = 3 }, InTens);
            (await run.Sink.NextAsync()).Accept();
            FakeSink.Attempt[] window = [await run.Sink.NextAsync(), await run.Sink.NextAsync(), await run.Sink.NextAsync()];
            ids = [.. window.Select(attempt => attempt.Batch.Id)];
        }

        // One of the readings is gone, so the range is no longer the same batch and must not have its id.
        await using (var buffer = await files.OpenAsync())
        {
            await buffer.AcknowledgeAsync(25, 25, Token);
            await StoreAsync(buffer, 41, 3);
            await using var run = await Run.StartAsync(buffer, new FakeSink { Rule = _ => SendResult.Accepted }, InSevens);
            await Until.True(() => buffer.GetStatus().Depth == 0, run.Clock, TimeSpan.FromSeconds(1));
            Assert.Equal(ids[0], run.Sink.Seen[0].Id);
            Assert.DoesNotContain(ids[1], run.Sink.Seen.Select(batch => batch.Id));
            Assert.Contains(ids[2], run.Sink.Seen.Select(batch => batch.Id));
            var sent = run.Sink.Seen.SelectMany(batch => batch.Readings).Select(reading => reading.Id).ToList();
            Assert.Equal(Enumerable.Range(11, 33).Where(n => n != 25).Select(n => (long)n), sent);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_batch_that_may_have_arrived_keeps_its_id_after_an_attempt_that_reached_nobody(bool isKilled)
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        await StoreAsync(buffer, 1, 30);
        await using var run = await Run.StartAsync(buffer, new FakeSink(), InTwenties);
        (await run.NextAsync()).Accept(); // the probe
        var first = await run.NextAsync();
        Assert.Equal(20, first.Batch.Readings.Count);
        first.Say(SendOutcome.Retry);
        if (!isKilled)
        {
            (await run.NextAsync()).SayNotSent();
            Assert.Equal(first.Batch.Id, (await run.NextAsync()).Batch.Id);
            return;
        }

        await Until.True(() => buffer.LoadNote()?.Contains(" 11 30 20 ", StringComparison.Ordinal) == true);
        using var left = Killed(files);
        await using var reopened = await left.OpenAsync();
        await using var next = await Run.StartAsync(reopened, new FakeSink(), InTwenties);
        (await next.NextAsync()).SayNotSent();
        Assert.Equal(first.Batch.Id, (await next.NextAsync()).Batch.Id);
    }

    [Fact]
    public async Task A_send_alone_causes_no_commit()
    {
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        await StoreAsync(buffer, 1, 10);
        var before = buffer.GetStatus().Commits;
        await using var run = await Run.StartAsync(buffer, new FakeSink(), InTens);
        var attempt = await run.Sink.NextAsync();
        Assert.Equal(before, buffer.GetStatus().Commits);
        attempt.Accept();
        await Until.True(() => buffer.GetStatus() is { Depth: 0 } status && status.Commits > before);
        Assert.Equal(before + 1, buffer.GetStatus().Commits);
    }

    [Fact]
    public async Task An_unreadable_record_costs_only_the_old_batch_boundaries()
    {
        foreach (var note in (string[])["", "x", "\n\n", "e 1 2 3", "e -1 2 2 0", "e 1 99999999999999999999 2 0", "e 1 2 2000000000 1", "EPOCH 1 2 2 9"])
        {
            using var files = new BufferFixture(inMemory: true);
            await using var buffer = await files.OpenAsync();
            buffer.KeepNote(() => note.Replace("EPOCH", buffer.Epoch, StringComparison.Ordinal));
            await StoreAsync(buffer, 1, 10);
            await using var run = await Run.StartAsync(buffer, new FakeSink { Rule = _ => SendResult.Accepted }, InSevens);
            await Until.True(() => buffer.GetStatus().Depth == 0, run.Clock, TimeSpan.FromSeconds(1));
            Assert.Equal([1, 8], run.Sink.Seen.Select(batch => batch.FirstId));
        }
    }

    /// <summary>One run of a forwarder over a buffer that outlives it.</summary>
    sealed class Run : IAsyncDisposable
    {
        Forwarder _forwarder = null!;

        public FakeTimeProvider Clock { get; } = new(BufferFixture.Noon.AddHours(1));

        public required FakeSink Sink { get; init; }

        public static async Task<Run> StartAsync(TelemetryBuffer buffer, FakeSink sink, ForwardingSettings settings)
        {
            var run = new Run { Sink = sink };
            run._forwarder = new Forwarder(
                buffer, new Dictionary<SinkKind, ISink> { [SinkKind.Http] = sink },
                new BatchEncoder("pi", "module"), run.Clock, new Random(1), NullLogger<Forwarder>.Instance);
            run._forwarder.Apply(settings);
            await run._forwarder.StartAsync(Token);

            // The jittered start.
            await Until.True(() => sink.Seen.Count > 0, run.Clock, TimeSpan.FromSeconds(1));
            return run;
        }

        /// <summary>Advances the clock until the next attempt.</summary>
        public async Task<FakeSink.Attempt> NextAsync()
        {
            await Until.True(() => Sink.HasAttempt, Clock, TimeSpan.FromSeconds(1));
            return await Sink.NextAsync();
        }

        public async ValueTask DisposeAsync()
        {
            using (_forwarder)
            {
                var stopping = _forwarder.StopAsync(CancellationToken.None);
                await Until.True(() => stopping.IsCompleted, Clock, TimeSpan.FromSeconds(1));
            }
        }
    }
}
