using System.Security.Cryptography;
using System.Text;
using Microsoft.Data.Sqlite;
using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Buffer;

public sealed class EncryptionTests : IDisposable
{
    readonly BufferFixture _fixture = new();
    readonly string _keyFile;

    public EncryptionTests()
    {
        _keyFile = Path.Combine(_fixture.Directory, "key");
        File.WriteAllBytes(_keyFile, RandomNumberGenerator.GetBytes(32));
    }

    [Fact]
    public async Task The_files_contain_no_plain_text_and_with_the_key_everything_can_be_read()
    {
        await using (var buffer = await OpenAsync(_keyFile))
        {
            await FillAsync(buffer, 200);
            await buffer.DeadLetterAsync(7, "400", "no room for attic here", BufferFixture.Token);
            await buffer.SaveDocumentAsync("settings", "{\"attic\":1}"u8.ToArray(), BufferFixture.Token);
            foreach (var file in new[] { "telemetry.db", "telemetry.db-wal" })
            {
                var bytes = await File.ReadAllBytesAsync(Path.Combine(_fixture.Directory, file), BufferFixture.Token);
                Assert.Equal(-1, bytes.AsSpan().IndexOf("attic"u8));
                Assert.Equal(-1, bytes.AsSpan().IndexOf("temperature"u8));
            }
        }
        await using var again = await OpenAsync(_keyFile);
        Assert.Equal(199, BufferFixture.ReadAll(again).Count);
        Assert.Contains("\"number\":1}", BufferFixture.Text(BufferFixture.ReadAll(again)[0]), StringComparison.Ordinal);
        var letter = again.ListDeadLetters(0, 1)[0];
        Assert.Contains("attic", Encoding.UTF8.GetString(letter.Payload.Span), StringComparison.Ordinal);
        Assert.Equal("no room for attic here", letter.Answer);
        Assert.Equal("{\"attic\":1}", Encoding.UTF8.GetString(again.LoadDocument("settings")!.Value.Span));
    }

    [Fact]
    public async Task A_wrong_or_missing_key_is_reported_and_does_not_change_the_file()
    {
        await using (var buffer = await OpenAsync(_keyFile))
        {
            await FillAsync(buffer, 100);
        }
        var before = await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token);
        var wrong = _keyFile + "2";
        await File.WriteAllTextAsync(wrong, Convert.ToHexString(RandomNumberGenerator.GetBytes(32)), BufferFixture.Token);
        var failure = await Assert.ThrowsAsync<BufferUnavailableException>(() => OpenAsync(wrong));
        Assert.Contains("not the key", failure.Message, StringComparison.Ordinal);
        failure = await Assert.ThrowsAsync<BufferUnavailableException>(() => OpenAsync(null));
        Assert.Contains("is encrypted and no key is given", failure.Message, StringComparison.Ordinal);
        failure = await Assert.ThrowsAsync<BufferUnavailableException>(() => OpenAsync(_keyFile + "3"));
        Assert.Contains("can't be read", failure.Message, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token));
        await using var again = await OpenAsync(_keyFile);
        Assert.Equal(100, BufferFixture.ReadAll(again).Count);
    }

    [Fact]
    public async Task An_unencrypted_file_that_is_opened_with_a_key_keeps_its_readings()
    {
        await using (var buffer = await OpenAsync(null))
        {
            await FillAsync(buffer, 50);
        }
        await File.WriteAllTextAsync(_keyFile, Convert.ToBase64String(RandomNumberGenerator.GetBytes(32)), BufferFixture.Token);
        await using var again = await OpenAsync(_keyFile);
        await FillAsync(again, 50);
        Assert.Equal(100, BufferFixture.ReadAll(again).Count);
        Assert.All(BufferFixture.ReadAll(again), row => Assert.StartsWith("{\"sensor\":\"attic\"", BufferFixture.Text(row), StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_encrypted_file_is_thinned_by_sensor_and_salvaged_when_damaged()
    {
        await using (var buffer = await OpenAsync(_keyFile))
        {
            while (buffer.GetStatus().Evicted.Count == 0)
                await FillAsync(buffer, 5_000);
            Assert.Equal("attic", Assert.Single(Assert.Single(buffer.GetStatus().Evicted).BySensor.Keys));
        }
        var bytes = await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token);
        bytes.AsSpan(0, 1024).Clear();
        await File.WriteAllBytesAsync(_fixture.DatabasePath, bytes, BufferFixture.Token);
        var wrong = _keyFile + "2";
        await File.WriteAllBytesAsync(wrong, RandomNumberGenerator.GetBytes(32), BufferFixture.Token);
        foreach (var key in (string?[])[null, wrong])
        {
            await Assert.ThrowsAsync<BufferUnavailableException>(() => OpenAsync(key));
            Assert.Equal(bytes, await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token));
            Assert.Empty(Directory.GetFiles(_fixture.Directory, "telemetry.damaged*"));
        }
        await using var again = await OpenAsync(_keyFile);
        Assert.True(BufferFixture.ReadAll(again).Count > 2_000);
        Assert.NotNull(again.GetStatus().Salvage);
    }

    [Fact]
    public async Task Unencrypted_data_written_into_an_encrypted_file_is_ignored()
    {
        await using (var buffer = await OpenAsync(_keyFile))
        {
            await FillAsync(buffer, 30);
            await buffer.SaveDocumentAsync("settings", "{\"batchSize\":5}"u8.ToArray(), BufferFixture.Token);
        }

        // Unencrypted: a segment with a reading, and a document.
        using var other = new BufferFixture();
        await using (var plain = await other.OpenAsync())
        {
            await FillAsync(plain, 5);
            await plain.SaveDocumentAsync("settings", "{\"sink\":\"http\"}"u8.ToArray(), BufferFixture.Token);
        }

        using (var file = Sqlite.Open(_fixture.DatabasePath, SqliteOpenMode.ReadWrite, vfs: null))
        {
            file.Execute($"ATTACH '{other.DatabasePath}' AS other");
            file.Execute("""
                INSERT INTO segment SELECT first_id + 1000, last_id + 1000, readings, level, oldest_at, newest_at, state, body
                FROM other.segment;
                INSERT OR REPLACE INTO document SELECT name, content FROM other.document;
                """);
        }

        await using var again = await OpenAsync(_keyFile);
        Assert.Null(again.LoadDocument("settings"));
        var rows = await ReadAsync(again);
        Assert.Equal(Enumerable.Range(1, 30).Select(i => (long)i), rows.Select(row => row.Id));
    }

    [Fact]
    public async Task Without_the_stored_key_check_a_wrong_key_is_still_refused_and_the_right_one_accepted()
    {
        await using (var buffer = await OpenAsync(_keyFile))
            await FillAsync(buffer, 30);
        using (var file = Sqlite.Open(_fixture.DatabasePath, SqliteOpenMode.ReadWrite, vfs: null))
            file.Execute("DELETE FROM meta WHERE name = 'key_check'");
        var before = await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token);
        var wrong = _keyFile + "2";
        await File.WriteAllBytesAsync(wrong, RandomNumberGenerator.GetBytes(32), BufferFixture.Token);
        await Assert.ThrowsAsync<BufferUnavailableException>(() => OpenAsync(wrong));
        Assert.Equal(before, await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token));
        await using var again = await OpenAsync(_keyFile);
        Assert.Equal(30, BufferFixture.ReadAll(again).Count);
    }

    [Fact]
    public async Task An_unencrypted_file_with_a_key_check_is_refused_without_a_key()
    {
        await using (var buffer = await OpenAsync(null))
            await FillAsync(buffer, 30);
        using (var file = Sqlite.Open(_fixture.DatabasePath, SqliteOpenMode.ReadWrite, vfs: null))
            file.Execute("INSERT INTO meta(name, value) VALUES('key_check', 'abcd')");
        var failure = await Assert.ThrowsAsync<BufferUnavailableException>(() => OpenAsync(null));
        Assert.Contains("is encrypted and no key is given", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_unencrypted_file_that_is_opened_with_a_key_leaves_no_unencrypted_reading_behind()
    {
        await using (var buffer = await OpenAsync(null))
        {
            await FillAsync(buffer, 300);
            await buffer.AcknowledgeAsync(1, 100, BufferFixture.Token);
            await buffer.SaveDocumentAsync("settings", "{\"attic\":1}"u8.ToArray(), BufferFixture.Token);
        }

        await using (var sealing = await OpenAsync(_keyFile))
        {
            await BufferFixture.RecoveredAsync(sealing);
            Assert.Equal(Enumerable.Range(101, 200).Select(i => (long)i), BufferFixture.ReadAll(sealing).Select(row => row.Id));
            Assert.Equal("{\"attic\":1}", Encoding.UTF8.GetString(sealing.LoadDocument("settings")!.Value.Span));
            Assert.Null(sealing.GetStatus().Salvage);
            await Support.Until.True(() => Directory.GetFiles(_fixture.Directory, "telemetry.previous*").Length == 0);
        }

        // A plain body is gzip.
        foreach (var file in Directory.GetFiles(_fixture.Directory, "telemetry*"))
            Assert.Equal(-1, (await File.ReadAllBytesAsync(file, BufferFixture.Token)).AsSpan().IndexOf((ReadOnlySpan<byte>)[0x1f, 0x8b, 0x08]));
    }

    public void Dispose() => _fixture.Dispose();

    static async Task<List<BufferedReading>> ReadAsync(TelemetryBuffer buffer)
    {
        while (true)
        {
            try
            {
                return BufferFixture.ReadAll(buffer);
            }
            catch (BufferUnavailableException)
            {
                // The damaged segment is removed before the next transaction.
                await buffer.CommitAsync(BufferFixture.Token);
            }
        }
    }

    Task<TelemetryBuffer> OpenAsync(string? keyFile) => _fixture.OpenAsync(
        BufferFixture.AtOnce with { MaxBytes = 1 << 20 }, with: o => o with { Key = keyFile is null ? null : BufferKey.Read(keyFile) });

    static async Task FillAsync(TelemetryBuffer buffer, int readings) => await Task.WhenAll(Enumerable.Range(1, readings)
        .Select(i => buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token).AsTask()).ToList());
}
