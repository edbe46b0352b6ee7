using System.IO.Compression;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

public sealed class LimitTests : IDisposable
{
    static readonly BufferLimits Small = new() { CommitInterval = TimeSpan.Zero, MaxBytes = 2 << 20 };

    readonly BufferFixture _fixture = new();

    [Fact]
    public async Task Large_readings_are_not_merged_into_large_segments()
    {
        const int PayloadBytes = 16_000, Count = 300;
        var clock = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(timeProvider: clock);
        var label = new string('x', PayloadBytes);
        for (var i = 1; i <= 3 * Count; i++)
        {
            var reading = BufferFixture.Reading(i);
            await buffer.EnqueueAsync(i <= Count ? reading with { Label = label } : reading, BufferFixture.Token);
            clock.Advance(TimeSpan.FromSeconds(2));
        }

        // Once the small readings are merged, the large ones before them have been considered.
        var segments = Segments();
        Assert.InRange(segments.Count, 1, 2 * Count);
        Assert.All(segments, bytes => Assert.InRange(bytes, 1, (128 << 10) + PayloadBytes + 1_000));
        Assert.Equal(3 * Count, BufferFixture.ReadAll(buffer).Count);

        // The bytes of each segment's text.
        List<long> Segments()
        {
            using var connection = new SqliteConnection($"Data Source={_fixture.DatabasePath};Mode=ReadOnly;Pooling=False");
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = "SELECT body FROM segment";
            using var rows = command.ExecuteReader();
            var sizes = new List<long>();
            while (rows.Read())
            {
                using var body = new GZipStream(rows.GetStream(0), CompressionMode.Decompress);
                using var text = new MemoryStream();
                body.CopyTo(text);
                sizes.Add(text.Length);
            }

            return sizes;
        }
    }

    [Fact]
    public async Task A_backlog_is_merged_but_not_while_it_drains()
    {
        const int Groups = 20, GroupSize = 100, Delivered = 1_000;
        await using (var filled = await _fixture.OpenAsync(BufferFixture.AtOnce))
        {
            for (var group = 0; group < Groups; group++)
            {
                await Task.WhenAll(Enumerable.Range(1, GroupSize).Select(
                    i => filled.EnqueueAsync(BufferFixture.Reading((group * GroupSize) + i), BufferFixture.Token).AsTask()));
            }
        }

        // Everything in a file may be merged once it is opened again.
        await using var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce);
        var segments = CountSegments();
        await buffer.AcknowledgeAsync(1, Delivered, BufferFixture.Token);
        Assert.Equal(segments, CountSegments());
        await buffer.AcknowledgeAsync(Delivered + 1, Delivered + 1, BufferFixture.Token);
        Assert.InRange(CountSegments(), 1, segments - 1);
        Assert.Equal((Groups * GroupSize) - Delivered - 1, BufferFixture.ReadAll(buffer).Count);

        // Counts the segments with readings that are not delivered.
        long CountSegments()
        {
            using var connection = new SqliteConnection($"Data Source={_fixture.DatabasePath};Mode=ReadOnly;Pooling=False");
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = $"SELECT count(*) FROM segment WHERE last_id > {Delivered}";
            return (long)command.ExecuteScalar()!;
        }
    }

    [Fact]
    public async Task Thinning_keeps_the_whole_time_span_and_every_peak_within_the_size_limit()
    {
        // A year at regular intervals; 64 MB is the size that the documentation states.
        var megabytes = Tier.Size("TEST_BUFFER_YEAR_MEGABYTES", quick: 1, full: 4, deep: 64);
        var readings = megabytes * 60_000;
        var step = TimeSpan.FromDays(365) / readings;
        await using var buffer = await _fixture.OpenAsync(Small with { MaxBytes = (long)megabytes << 20 });
        long most = 0;
        for (var i = 0; i < readings; i++)
        {
            var task = buffer.EnqueueAsync(Wave(i, step), BufferFixture.Token).AsTask();
            if (i % 500 == 0)
            {
                await task;
                most = Math.Max(most, buffer.GetStatus().FileBytes);
            }
        }
        await buffer.CommitAsync(BufferFixture.Token);
        var status = buffer.GetStatus();
        Assert.True(Math.Max(most, status.FileBytes) <= (long)megabytes << 20, $"{most} bytes on the volume");
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(status.Depth, rows.Count);
        Assert.Equal(readings, rows.Count + status.Evicted.Single(e => e.Reason == "thinned").Count);

        foreach (var sensor in new[] { "a", "b" })
        {
            var history = rows.Select(Parse).Where(r => r.Sensor == sensor).ToList();
            Assert.Equal(sensor == "a" ? 0 : 1, history[0].Number);
            // No month is empty.
            var months = history.GroupBy(r => r.Number * 12L / readings).ToDictionary(g => g.Key, g => g.Count());
            Assert.Equal(12, months.Count);
            Assert.All(months.Values, count => Assert.True(count > 100, $"{count} readings in a month"));
            // Each peak, one in 10,000 readings, is still there.
            var peaks = history.Where(r => r.Value > 90).Select(r => r.Number).ToHashSet();
            for (var number = sensor == "a" ? 5_000 : 5_001; number < readings; number += 10_000)
                Assert.Contains(number, peaks);
        }
        // The newest readings are not thinned.
        Assert.Equal(
            Enumerable.Range(readings - 2_000, 2_000), rows.TakeLast(2_000).Select(r => (int)Parse(r).Number));
    }

    [Fact]
    public void A_peak_is_kept_wherever_it_is_even_next_to_the_first_or_last_reading()
    {
        for (var count = 5; count <= 24; count++)
        {
            for (var peak = 0; peak < count; peak++)
            {
                var random = new Random((count * 100) + peak);
                var payloads = Enumerable.Range(0, count).Select(i => ReadingEncoder.Encode(new Reading
                {
                    Sensor = "a",
                    Kind = "simulated",
                    Time = BufferFixture.Noon.AddSeconds(i),
                    Values = [new("temperature", i == peak ? 99 : 20 + random.NextDouble()), new("number", i)],
                }).ToArray()).Select(payload => new ReadOnlyMemory<byte>(payload)).ToList();
                var stays = Thinning.Choose(payloads);
                Assert.True(stays[peak] && stays[0] && stays[^1], $"reading {peak} of {count}");
                Assert.InRange(stays.Count(s => s), 1, (count / 2) + 2);
            }
        }
    }

    [Fact]
    public async Task Thinned_readings_are_announced_in_a_gap_entry_that_covers_every_missing_id()
    {
        await using var buffer = await _fixture.OpenAsync(Small);
        await FillAsync(buffer, 20_000);
        var kept = BufferFixture.ReadAll(buffer).Select(r => r.Id).ToHashSet();
        var missing = Enumerable.Range(1, 20_000).Count(i => !kept.Contains(i));
        Assert.True(missing > 0);
        // The first delivery shows that the receiver is back.
        await buffer.AcknowledgeAsync(1, 1, BufferFixture.Token);
        var entry = BufferFixture.ReadAll(buffer).Select(BufferFixture.Text).Single(t => t.Contains("\"gap\"", StringComparison.Ordinal));
        Assert.Null(Configuration.MessageSchemaTests.Objection(entry));
        Assert.Null(Configuration.MessageSchemaTests.PnpObjection(entry));
        var gap = JsonDocument.Parse(entry).RootElement;
        Assert.Equal("gap", gap.GetProperty("kind").GetString());
        Assert.Equal("thinned", gap.GetProperty("reason").GetString());
        gap = gap.GetProperty("gap");
        Assert.Equal(buffer.Epoch, gap.GetProperty("epoch").GetString());
        Assert.Equal(missing, gap.GetProperty("count").GetInt64());
        Assert.Equal(missing, gap.GetProperty("sensors").GetProperty("attic").GetInt64());
        var (first, last) = (gap.GetProperty("firstId").GetInt64(), gap.GetProperty("lastId").GetInt64());
        Assert.All(Enumerable.Range(1, 20_000).Where(i => !kept.Contains(i)), id => Assert.InRange(id, first, last));
        // Announced only once.
        await buffer.AcknowledgeAsync(2, 2, BufferFixture.Token);
        Assert.Single(BufferFixture.ReadAll(buffer), r => BufferFixture.Text(r).Contains("\"gap\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Dropping_the_oldest_keeps_the_newest_and_counts_the_rest()
    {
        await using var buffer = await _fixture.OpenAsync(Small with { WhenFull = WhenFull.DropOldest });
        await FillAsync(buffer, 20_000);
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(20_000, rows[^1].Id);
        Assert.Equal(rows.Count, rows[^1].Id - rows[0].Id + 1);
        var evicted = Assert.Single(buffer.GetStatus().Evicted);
        Assert.Equal(("dropped", rows[0].Id - 1), (evicted.Reason, evicted.Count));
        Assert.Equal(rows[0].Id - 1, evicted.BySensor["attic"]);
    }

    [Fact]
    public async Task With_rejectNew_new_readings_are_refused_until_old_ones_are_delivered()
    {
        await using var buffer = await _fixture.OpenAsync(Small with { WhenFull = WhenFull.RejectNew });
        var stored = 0;
        await Assert.ThrowsAsync<BufferRejectedException>(async () =>
        {
            for (; ; stored += 100)
                await FillAsync(buffer, 100);
        });
        // Some of the last hundred may not be committed yet.
        await buffer.CommitAsync(BufferFixture.Token);
        stored = (int)buffer.GetStatus().Depth;
        Assert.InRange(stored, 5_000, 20_000);
        await buffer.AcknowledgeAsync(1, stored / 2, BufferFixture.Token);
        // The refusal ends right after the commit of the acknowledgement, before the next commit.
        await buffer.CommitAsync(BufferFixture.Token);
        // The id in between is that of the gap entry for the refused readings.
        Assert.Equal(stored + 2, await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token));
        Assert.True(buffer.GetStatus().Evicted.Single(e => e.Reason == "rejected").Count > 0);
        var entry = BufferFixture.Text(BufferFixture.ReadAll(buffer).Single(row => row.Id == stored + 1));
        Assert.Contains("\"gap\"", entry, StringComparison.Ordinal);
        Assert.Null(Configuration.MessageSchemaTests.Objection(entry));
    }

    [Fact]
    public async Task A_lower_size_limit_takes_effect_and_shrinks_the_file()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(Small with { MaxBytes = 8 << 20 }, time);
        await FillAsync(buffer, 25_000);
        Assert.True(buffer.GetStatus().FileBytes > 3 << 20);
        buffer.ApplyLimits(Small);
        await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
        // After an idle period the file is shrunk.
        while (buffer.GetStatus().FileBytes > Small.MaxBytes)
        {
            time.Advance(TimeSpan.FromSeconds(31));
            await Task.Yield();
        }
        Assert.Equal(25_001, BufferFixture.ReadAll(buffer)[^1].Id);
    }

    [Fact]
    public async Task The_file_shrinks_after_a_backlog_has_drained()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(timeProvider: time);
        await FillAsync(buffer, 50_000);
        await buffer.AcknowledgeAsync(1, 50_000, BufferFixture.Token);
        // The reserve, which is included, stays.
        while (buffer.GetStatus().FileBytes > 4 << 20)
        {
            time.Advance(TimeSpan.FromSeconds(31));
            await Task.Yield();
        }
        Assert.Equal(50_001, await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token));
    }

    public void Dispose() => _fixture.Dispose();

    static async Task FillAsync(TelemetryBuffer buffer, int readings)
    {
        var last = Task.FromResult(0L);
        for (var i = 0; i < readings; i++)
        {
            last = buffer.EnqueueAsync(BufferFixture.Incompressible(i), BufferFixture.Token).AsTask();
            if (i % 1_000 == 0)
                await last;
        }
        await last;
    }

    static Reading Wave(int number, TimeSpan step) => new()
    {
        Sensor = number % 2 == 0 ? "a" : "b",
        Kind = "simulated",
        Time = BufferFixture.Noon + (step * number),
        Values =
        [
            new("temperature", number % 10_000 is 5_000 or 5_001 ? 99 : Math.Round(20 + (5 * Math.Sin(number / 300.0)), 3)),
            new("number", number),
        ],
    };

    static (string Sensor, double Value, long Number) Parse(BufferedReading row)
    {
        using var json = JsonDocument.Parse(row.Payload);
        var values = json.RootElement.GetProperty("values");
        return (json.RootElement.GetProperty("sensor").GetString()!, values.GetProperty("temperature").GetDouble(),
            values.GetProperty("number").GetInt64());
    }
}
