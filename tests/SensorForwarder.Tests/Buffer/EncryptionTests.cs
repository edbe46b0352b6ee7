using System.Security.Cryptography;
using System.Text;
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
    public async Task A_stolen_card_tells_nothing_and_the_key_tells_all()
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
    public async Task A_wrong_or_missing_key_is_said_clearly_and_costs_nothing()
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
    public async Task A_plain_file_takes_a_key_and_keeps_its_readings()
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
            for (var i = 0; i < 20; i++)
                await FillAsync(buffer, 500);
            Assert.Equal("attic", Assert.Single(Assert.Single(buffer.GetStatus().Evicted).BySensor.Keys));
        }
        var bytes = await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token);
        bytes.AsSpan(0, 4096).Clear();
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

    public void Dispose() => _fixture.Dispose();

    Task<TelemetryBuffer> OpenAsync(string? keyFile) => _fixture.OpenAsync(
        BufferFixture.AtOnce with { MaxBytes = 1 << 20 }, with: o => o with { Key = keyFile is null ? null : BufferKey.Read(keyFile) });

    static async Task FillAsync(TelemetryBuffer buffer, int readings) => await Task.WhenAll(Enumerable.Range(1, readings)
        .Select(i => buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token).AsTask()).ToList());
}
