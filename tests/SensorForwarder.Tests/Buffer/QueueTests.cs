using System.Runtime.Versioning;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

public sealed class QueueTests : IDisposable
{
    readonly BufferFixture _fixture = new();

    [Fact]
    public async Task Acknowledged_readings_are_not_counted_as_waiting_while_the_acknowledgement_is_committed()
    {
        await using var buffer = await _fixture.OpenAsync();
        for (var id = 1; id <= 200; id++)
        {
            await buffer.EnqueueAsync(BufferFixture.Reading(id), BufferFixture.Token);
            var acknowledged = buffer.AcknowledgeAsync(1, id, BufferFixture.Token);
            do Assert.Equal((0, null), (buffer.GetStatus().Depth, buffer.GetStatus().OldestAge));
            while (!acknowledged.IsCompleted);
        }
    }

    [Fact]
    public async Task A_batch_does_not_come_from_a_segment_that_was_read_ahead_for_another_batch()
    {
        await using (var filled = await _fixture.OpenAsync())
            await Task.WhenAll(Enumerable.Range(1, 2_000).Select(id => filled.EnqueueAsync(BufferFixture.Reading(id), BufferFixture.Token).AsTask()));

        // After a restart no segment is in memory, so that the first batch reads the next segment ahead.
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(512, buffer.PeekBatch(0, 512, int.MaxValue).Count);
        Assert.Equal(Enumerable.Range(1_501, 200).Select(id => (long)id), buffer.PeekBatch(1_500, 200, int.MaxValue).Select(reading => reading.Id));
    }

    [Fact]
    public async Task A_reading_is_stored_as_the_JSON_that_is_sent()
    {
        await using var buffer = await _fixture.OpenAsync();
        var id = await buffer.EnqueueAsync(
            new Reading
            {
                Sensor = "attic \"north\" \u00b0",
                Kind = "bme280",
                Time = new DateTimeOffset(2026, 11, 24, 16, 20, 31, 123, TimeSpan.FromHours(2)),
                Quality = ReadingQuality.Uncertain,
                Reason = "range",
                Values = [new("temperature", 21.43), new("broken", double.NaN)],
            },
            BufferFixture.Token);
        var row = Assert.Single(buffer.PeekBatch(0, 10, 1_000));
        Assert.Equal(1, id);
        Assert.Equal(1, row.Id);
        Assert.Equal(
            """{"sensor":"attic \"north\" DEGREE","kind":"bme280","time":"2026-11-24T14:20:31.123Z","""
            .Replace("DEGREE", "\u00b0", StringComparison.Ordinal)
            + "\"quality\":\"uncertain\",\"reason\":\"range\",\"values\":{\"temperature\":21.43,\"broken\":null}}",
            BufferFixture.Text(row));
    }

    [Fact]
    public async Task A_document_is_saved_with_its_reading_or_not_at_all()
    {
        var full = new BufferLimits { CommitInterval = TimeSpan.Zero, MaxBytes = 4 << 20, WhenFull = WhenFull.RejectNew };
        await using var buffer = await _fixture.OpenAsync(full);
        var saved = 0;
        await StoreAsync(++saved);
        Assert.Equal([(byte)saved], buffer.LoadDocument("window")!.Value.ToArray());
        var number = 0;
        await Assert.ThrowsAsync<BufferRejectedException>(async () =>
        {
            while (true)
                await Task.WhenAll(Enumerable.Range(0, 1_000).Select(_ => buffer.EnqueueAsync(BufferFixture.Incompressible(number++), BufferFixture.Token).AsTask()));
        });

        // There may still be room for a few smaller readings.
        await Assert.ThrowsAsync<BufferRejectedException>(async () =>
        {
            for (; ; saved++) await StoreAsync(saved + 1);
        });
        await buffer.CommitAsync(BufferFixture.Token);
        Assert.Equal([(byte)saved], buffer.LoadDocument("window")!.Value.ToArray());

        async Task StoreAsync(int document) => await buffer.EnqueueAsync(
            BufferFixture.Incompressible(document), ("window", new[] { (byte)document }), BufferFixture.Token);
    }

    [Fact]
    public async Task Ids_continue_after_all_readings_were_delivered_and_the_buffer_was_reopened()
    {
        string epoch;
        await using (var buffer = await _fixture.OpenAsync())
        {
            epoch = buffer.Epoch;
            for (var i = 1; i <= 10; i++)
                Assert.Equal(i, await buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token));
            await buffer.AcknowledgeAsync(1, 10, BufferFixture.Token);
            Assert.Empty(buffer.PeekBatch(0, 10, 1_000));
        }
        await using var again = await _fixture.OpenAsync();
        Assert.NotEqual(epoch, again.Epoch);
        Assert.Equal(10, again.LastCommittedId);
        Assert.Equal(11, await again.EnqueueAsync(BufferFixture.Reading(11), BufferFixture.Token));
        Assert.Equal(1, again.GetStatus().Depth);
    }

    [Fact]
    public async Task Many_producers_get_consecutive_ids_and_every_reading_is_stored_once()
    {
        await using var buffer = await _fixture.OpenAsync();
        var producers = Enumerable.Range(0, 8).Select(p => Task.Run(async () =>
        {
            var ids = new List<long>();
            var tasks = new ValueTask<long>[250];
            for (var round = 0; round < 4; round++)
            {
#pragma warning disable CA2012 // Each is awaited once, below; the test needs many outstanding ones.
                for (var i = 0; i < tasks.Length; i++)
                    tasks[i] = buffer.EnqueueAsync(BufferFixture.Reading(i, $"s{p}"), BufferFixture.Token);
#pragma warning restore CA2012
                foreach (var task in tasks)
                    ids.Add(await task);
            }
            return ids;
        }));
        var all = (await Task.WhenAll(producers)).SelectMany(i => i).Order().ToList();
        Assert.Equal(Enumerable.Range(1, 8_000).Select(i => (long)i), all);
        Assert.Equal(all, BufferFixture.ReadAll(buffer).Select(r => r.Id));
    }

    [Fact]
    public async Task A_batch_is_limited_by_count_and_bytes_but_never_empty_while_readings_wait()
    {
        await using var buffer = await _fixture.OpenAsync();
        for (var i = 1; i <= 20; i++)
            await buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token);
        Assert.Equal([1, 2, 3], buffer.PeekBatch(0, 3, 10_000).Select(r => r.Id));
        Assert.Equal([6], buffer.PeekBatch(5, 100, 1).Select(r => r.Id));
        var some = buffer.PeekBatch(0, 100, 600);
        Assert.InRange(some.Count, 2, 19);
        Assert.True(some.Sum(r => r.Payload.Length) <= 600);
        Assert.Empty(buffer.PeekBatch(20, 100, 600));
    }

    [Fact]
    public async Task Readings_are_committed_together_when_the_commit_interval_has_passed()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(
            new BufferLimits { CommitInterval = TimeSpan.FromSeconds(5) }, time);
        var first = buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token).AsTask();
        var second = buffer.EnqueueAsync(BufferFixture.Reading(2), BufferFixture.Token).AsTask();
        // The writer may not have set its timer yet: advance the clock until it has.
        var spent = TimeSpan.Zero;
        while (!first.IsCompleted)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            spent += TimeSpan.FromSeconds(1);
            await Task.Yield();
        }
        Assert.True(spent >= TimeSpan.FromSeconds(5));
        Assert.Equal(1, await first);
        Assert.Equal(2, await second);
        Assert.Equal(1, buffer.GetStatus().Commits);
    }

    [Fact]
    public async Task An_explicit_commit_does_not_wait_for_the_commit_interval()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(
            new BufferLimits { CommitInterval = TimeSpan.FromSeconds(60) }, time);
        var task = buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
        await buffer.CommitAsync(BufferFixture.Token);
        Assert.Equal(1, await task);
        Assert.Equal(1, buffer.LastCommittedId);
    }

    [Fact]
    public async Task Readings_that_nobody_waits_for_are_stored_in_order_with_those_of_callers_that_wait()
    {
        var buffer = await _fixture.OpenAsync(
            new BufferLimits { CommitInterval = TimeSpan.FromSeconds(60) }, new FakeTimeProvider(BufferFixture.Noon));
        buffer.Enqueue(BufferFixture.Reading(1));
        var second = buffer.EnqueueAsync(BufferFixture.Reading(2), BufferFixture.Token);
        buffer.Enqueue(BufferFixture.Reading(3));
        var fourth = buffer.EnqueueAsync(BufferFixture.Reading(4), BufferFixture.Token);
        await buffer.CommitAsync(BufferFixture.Token);
        Assert.Equal((2, 4), (await second, await fourth));
        Assert.Equal(
            Enumerable.Range(1, 4).Select(n => ((long)n, BufferFixture.Reading(n).Time)),
            buffer.PeekBatch(0, 10, 10_000).Select(reading => (reading.Id, reading.RecordedAt)));
        await buffer.DisposeAsync();
        buffer.Enqueue(BufferFixture.Reading(5)); // must not throw
    }

    [Fact]
    public async Task Closing_commits_uncommitted_readings()
    {
        var buffer = await _fixture.OpenAsync(
            new BufferLimits { CommitInterval = TimeSpan.FromSeconds(60) },
            new FakeTimeProvider(BufferFixture.Noon));
        var task = buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
        await buffer.DisposeAsync();
        Assert.Equal(1, await task);
        await Assert.ThrowsAsync<BufferUnavailableException>(
            async () => await buffer.EnqueueAsync(BufferFixture.Reading(2), BufferFixture.Token));
        await using var again = await _fixture.OpenAsync();
        Assert.Single(again.PeekBatch(0, 10, 1_000));
    }

    [Fact]
    public async Task Dead_letters_leave_the_queue_and_keep_their_ids_when_they_are_retried()
    {
        await using var buffer = await _fixture.OpenAsync();
        var returned = 0;
        buffer.ReadingsReturned += () => returned++;
        for (var i = 1; i <= 3; i++)
            await buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token);
        await buffer.DeadLetterAsync(2, "400", "bad unit", BufferFixture.Token);
        await buffer.DeadLetterAsync(3, "422", null, BufferFixture.Token);
        await buffer.DeadLetterAsync(99, "400", "is not there", BufferFixture.Token);
        Assert.Equal([1], BufferFixture.ReadAll(buffer).Select(r => r.Id));
        var letters = buffer.ListDeadLetters(0, 10);
        Assert.Equal([2, 3], letters.Select(l => l.Id));
        Assert.Equal(("400", "bad unit"), (letters[0].Reason, letters[0].Answer));
        Assert.Equal(2, buffer.GetStatus().DeadLetters);

        Assert.Equal(2, await buffer.RetryDeadLettersAsync(BufferFixture.Token));
        Assert.Equal(1, returned);
        Assert.Equal([1, 2, 3], BufferFixture.ReadAll(buffer).Select(r => r.Id));
        await buffer.DeadLetterAsync(3, "400", null, BufferFixture.Token);
        Assert.Equal(1, await buffer.PurgeDeadLettersAsync(BufferFixture.Token));
        Assert.Equal(4, await buffer.EnqueueAsync(BufferFixture.Reading(4), BufferFixture.Token));
        Assert.Equal((3, 0), (buffer.GetStatus().Depth, buffer.GetStatus().DeadLetters));
    }

    [Fact]
    public async Task A_retry_of_dead_letters_completes_and_notifies_the_reader_after_its_caller_was_cancelled()
    {
        await using var buffer = await _fixture.OpenAsync();
        var returned = 0;
        buffer.ReadingsReturned += () => Interlocked.Increment(ref returned);
        await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
        await buffer.DeadLetterAsync(1, "400", null, BufferFixture.Token);
        using var goesOn = new ManualResetEventSlim();
        using var waiting = CancellationTokenSource.CreateLinkedTokenSource(BufferFixture.Token);
        buffer.Committed += () => goesOn.Wait(BufferFixture.Token);
        await buffer.EnqueueAsync(BufferFixture.Reading(2), BufferFixture.Token); // the writer is blocked in the handler, or will be
        var retry = buffer.RetryDeadLettersAsync(waiting.Token);
        await waiting.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => retry);
        goesOn.Set();
        await Until.True(() => Volatile.Read(ref returned) == 1);
        Assert.Equal([1, 2], BufferFixture.ReadAll(buffer).Select(r => r.Id));
        Assert.Equal(0, buffer.GetStatus().DeadLetters);
    }

    [Fact]
    public async Task Dead_letters_above_the_limit_evict_the_oldest_which_are_counted_and_logged_once()
    {
        var log = new LogLines();
        await using (var buffer = await _fixture.OpenAsync(with: o => o with { MaxDeadLetters = 2 }, logger: log.For<TelemetryBuffer>()))
        {
            for (var i = 1; i <= 4; i++)
            {
                await buffer.EnqueueAsync(BufferFixture.Reading(i, i == 1 ? "attic" : "cellar"), BufferFixture.Token);
                await buffer.DeadLetterAsync(i, "400", null, BufferFixture.Token);
            }
            Assert.Equal([3, 4], buffer.ListDeadLetters(0, 10).Select(l => l.Id));
            Assert.Single(log.All, line => line.Contains("The limit of 2 dead letters is reached", StringComparison.Ordinal));
        }

        // Counted in the file but not announced to the receiver, which refused them itself.
        await using var again = await _fixture.OpenAsync();
        await again.EnqueueAsync(BufferFixture.Reading(5), BufferFixture.Token);
        await again.AcknowledgeAsync(1, 5, BufferFixture.Token);
        var evicted = Assert.Single(again.GetStatus().Evicted);
        Assert.Equal(("undeliverable", 2), (evicted.Reason, evicted.Count));
        Assert.Equal([new("attic", 1), new("cellar", 1)], evicted.BySensor.OrderBy(sensor => sensor.Key, StringComparer.Ordinal));
        Assert.Equal(0, again.GetStatus().Depth);
    }

    [Fact]
    public async Task Documents_are_kept_by_name()
    {
        await using (var buffer = await _fixture.OpenAsync())
        {
            Assert.Null(buffer.LoadDocument("settings"));
            await buffer.SaveDocumentAsync("settings", "first"u8.ToArray(), BufferFixture.Token);
            await buffer.SaveDocumentAsync("settings", "second"u8.ToArray(), BufferFixture.Token);
            await buffer.SaveDocumentAsync("empty", ReadOnlyMemory<byte>.Empty, BufferFixture.Token);
        }
        await using var again = await _fixture.OpenAsync();
        Assert.Equal("second"u8.ToArray(), again.LoadDocument("settings")!.Value.ToArray());
        Assert.Equal(0, again.LoadDocument("empty")!.Value.Length);
    }

    [Fact]
    public async Task Only_the_oversized_reading_is_refused()
    {
        await using var buffer = await _fixture.OpenAsync();
        var huge = BufferFixture.Reading(1) with { Kind = new string('x', ReadingEncoder.MaxPayloadBytes) };
        await Assert.ThrowsAsync<BufferRejectedException>(
            async () => await buffer.EnqueueAsync(huge, BufferFixture.Token));
        Assert.Equal(1, await buffer.EnqueueAsync(BufferFixture.Reading(2), BufferFixture.Token));
    }

    [Fact]
    public async Task A_directory_path_that_is_a_file_is_reported_in_one_line()
    {
        var file = Path.Combine(_fixture.Directory, "file");
        await File.WriteAllTextAsync(file, "", BufferFixture.Token);
        var failure = await Assert.ThrowsAsync<BufferUnavailableException>(
            () => _fixture.OpenAsync(with: o => o with { Directory = file }));
        Assert.Contains(file, failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', failure.Message);
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public async Task Files_are_accessible_by_their_owner_only()
    {
        await using var buffer = await _fixture.OpenAsync();
        await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
        foreach (var file in Directory.GetFiles(_fixture.Directory))
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
    }

    [Fact]
    public void An_old_version_of_SQLite_is_refused()
    {
        var failure = Assert.Throws<NotSupportedException>(() => Sqlite.CheckVersion(3_051_002, "3.51.2"));
        Assert.Contains("3.51.3", failure.Message, StringComparison.Ordinal);
        Sqlite.CheckVersion(3_051_003, "3.51.3");
        Sqlite.CheckVersion();
    }

    public void Dispose() => _fixture.Dispose();
}
