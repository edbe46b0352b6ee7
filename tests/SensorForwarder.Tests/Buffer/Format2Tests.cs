using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Buffer;

/// <summary>
/// Files of format 2 as version 0.1 wrote them. Every later version has to open or import them. They hold 60 readings in two epochs, a
/// document, and the settings of a twin. The 7th reading is a dead letter; 1 to 5, 20 to 30 and 45 were delivered and are retained.
/// With <c>WRITE_FILES=1</c> a missing file is written; an existing one is never replaced.
/// </summary>
public sealed class Format2Tests
{
    const int Readings = 60;
    const int FirstOfSecondEpoch = 41;
    const int Refused = 7;
    static readonly long[] Delivered = [1, 2, 3, 4, 5, .. Enumerable.Range(20, 11), 45];
    static readonly byte[] Key = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];
    static readonly BufferLimits Limits = BufferFixture.AtOnce with { RetainForwarded = TimeSpan.FromDays(100_000) };

    [Theory]
    [InlineData("plain")]
    [InlineData("encrypted")]
    public async Task Every_reading_keeps_its_id_its_epoch_and_its_state(string name)
    {
        var path = PathOf(name);
        if (!File.Exists(path) && Environment.GetEnvironmentVariable("WRITE_FILES") == "1") await WriteAsync(path, KeyOf(name));
        using var fixture = new BufferFixture(inMemory: true);
        File.Copy(path, fixture.DatabasePath);
        await using (var buffer = await OpenAsync(fixture, KeyOf(name)))
        {
            Check(buffer);
            Assert.Equal(Readings + 1, await buffer.EnqueueAsync(BufferFixture.Reading(Readings + 1), BufferFixture.Token));
            await buffer.AcknowledgeAsync(Readings + 1, Readings + 1, BufferFixture.Token);
        }

        await using var again = await OpenAsync(fixture, KeyOf(name));
        Check(again);
    }

    [Fact]
    public async Task The_stored_settings_are_in_force_after_the_start()
    {
        using var fixture = new BufferFixture(inMemory: true);
        File.Copy(PathOf("plain"), fixture.DatabasePath);
        await using var buffer = await OpenAsync(fixture, key: null);
        await using var settings = await new SettingsFixture(inMemory: true).StartAsync("{}");
        using var store = SettingsFixture.NewStore(buffer, settings.Forwarder, settings.Scheduler);
        await store.StartAsync([], BufferFixture.Token);

        Assert.Equal(17, store.Current!.Settings.Forwarding.BatchSize);
        Assert.Equal(7, store.Current.Version);
    }

    static void Check(TelemetryBuffer buffer)
    {
        var waiting = Enumerable.Range(1, Readings).Select(i => (long)i).Except(Delivered).Except([Refused]).ToList();
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(waiting, rows.Select(row => row.Id));
        var epochs = rows.GroupBy(row => row.Epoch).ToList();
        Assert.Equal([waiting[0], FirstOfSecondEpoch], epochs.Select(epoch => epoch.Min(row => row.Id)));
        Assert.DoesNotContain(buffer.Epoch, epochs.Select(epoch => epoch.Key));
        Assert.All(rows, row => Assert.Equal(Payload((int)row.Id), BufferFixture.Text(row)));
        Assert.Equal(waiting.Count, buffer.GetStatus().Depth);
        Assert.Null(buffer.GetStatus().Salvage);
        Assert.Empty(buffer.GetStatus().Evicted);
        var letter = Assert.Single(buffer.ListDeadLetters(0, 10));
        Assert.Equal((Refused, "no", Payload(Refused)), (letter.Id, letter.Answer, Encoding.UTF8.GetString(letter.Payload.Span)));
        Assert.Equal("""{"batchSize":5}""", Encoding.UTF8.GetString(buffer.LoadDocument("settings")!.Value.Span));
        Assert.Superset(Delivered.ToHashSet(), BufferFixture.ReadAny(buffer).Select(row => row.Id).ToHashSet());
    }

    static async Task WriteAsync(string path, byte[]? key)
    {
        using var fixture = new BufferFixture(inMemory: true);
        await using (var buffer = await OpenAsync(fixture, key))
        {
            for (var number = 1; number < FirstOfSecondEpoch; number++) await EnqueueAsync(buffer, number);
            await buffer.DeadLetterAsync(Refused, "Rejected", "no", BufferFixture.Token);
            await buffer.SaveDocumentAsync("settings", """{"batchSize":5}"""u8.ToArray(), BufferFixture.Token);
            await using var settings = await new SettingsFixture(inMemory: true).StartAsync("{}");
            using var store = SettingsFixture.NewStore(buffer, settings.Forwarder, settings.Scheduler);
            await store.StartAsync([], BufferFixture.Token);
            await store.OfferTwinAsync(new JsonObject { ["batchSize"] = 17 }, 7, BufferFixture.Token);
            await buffer.CommitAsync(BufferFixture.Token);
        }

        await using (var buffer = await OpenAsync(fixture, key))
        {
            for (var number = FirstOfSecondEpoch; number <= Readings; number++) await EnqueueAsync(buffer, number);
            foreach (var id in Delivered) await buffer.AcknowledgeAsync(id, id, BufferFixture.Token);
        }

        await using (var database = new SqliteConnection($"Data Source={fixture.DatabasePath};Pooling=False"))
        {
            await database.OpenAsync(BufferFixture.Token);
            await using var checkpoint = database.CreateCommand();
            checkpoint.CommandText = "PRAGMA wal_checkpoint(TRUNCATE)";
            await checkpoint.ExecuteNonQueryAsync(BufferFixture.Token);
        }

        File.Copy(fixture.DatabasePath, path);
    }

    static Task<TelemetryBuffer> OpenAsync(BufferFixture fixture, byte[]? key) =>
        fixture.OpenAsync(Limits, with: options => options with { Key = key is null ? null : new BufferKey(key, "the test") });

    static ValueTask<long> EnqueueAsync(TelemetryBuffer buffer, int number) =>
        buffer.EnqueueAsync(Reading(number), BufferFixture.Token);

    static Reading Reading(int number) => BufferFixture.Reading(number, number % 2 == 0 ? "attic" : "cellar");

    static string Payload(int number) => Encoding.UTF8.GetString(ReadingEncoder.Encode(Reading(number)));

    static byte[]? KeyOf(string name) => name == "encrypted" ? Key : null;

    static string PathOf(string name) => Path.Combine(WrittenFile.Root, "tests/SensorForwarder.Tests/Buffer/Format2", $"{name}.db");
}
