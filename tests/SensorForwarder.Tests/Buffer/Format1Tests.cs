using System.Text;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>
/// Files of format 1 (one row per reading), written by the last build that used it: 60 readings, of which the 7th is a
/// dead letter, and a document. In <c>holes</c> and <c>encrypted</c> the readings 1 to 5, 20 to 30 and 45 were delivered; in
/// <c>holes</c> they are retained.
/// </summary>
public sealed class Format1Tests : IDisposable
{
    static readonly int[] Delivered = [1, 2, 3, 4, 5, .. Enumerable.Range(20, 11), 45];

    readonly BufferFixture _fixture = new(inMemory: true);
    readonly LogLines _log = new();

    [Theory]
    [InlineData("plain", false)]
    [InlineData("holes", false)]
    [InlineData("encrypted", false)]
    [InlineData("plain", true)] // and a key is configured at the same time
    public async Task Every_reading_keeps_its_id_its_epoch_and_its_state(string name, bool getsKey)
    {
        File.Copy(Path.Combine(Configuration.WrittenFile.Root, "tests/SensorForwarder.Tests/Buffer/Format1", $"{name}.db"), _fixture.DatabasePath);
        var key = Enumerable.Range(1, 32).Select(i => (byte)i).ToArray();
        var limits = BufferFixture.AtOnce with { RetainForwarded = TimeSpan.FromDays(100_000) };
        Task<TelemetryBuffer> OpenAsync() => _fixture.OpenAsync(
            limits, with: o => o with { Key = name == "encrypted" || getsKey ? new BufferKey(key, "the test") : null },
            logger: _log.For<TelemetryBuffer>());
        var waiting = Enumerable.Range(1, 60).Except([7]).Except(name == "plain" ? [] : Delivered).Select(i => (long)i).ToList();
        await using (var buffer = await OpenAsync())
        {
            Check(buffer);
            Assert.Equal(61, await buffer.EnqueueAsync(BufferFixture.Reading(61), BufferFixture.Token));
            await buffer.AcknowledgeAsync(61, 61, BufferFixture.Token);
            Assert.Null(buffer.GetStatus().Salvage);
            Assert.Empty(buffer.GetStatus().Evicted);
            await Until.True(() => Directory.GetFiles(_fixture.Directory, "telemetry.previous*").Length == 0);
        }

        Assert.Single(_log.All, line => line.Contains("it is of format 1; its readings are copied", StringComparison.Ordinal));
        await using var again = await OpenAsync();
        Check(again);

        void Check(TelemetryBuffer buffer)
        {
            var rows = BufferFixture.ReadAll(buffer);
            Assert.Equal(waiting, rows.Select(row => row.Id));
            Assert.Single(rows.Select(row => row.Epoch).Distinct());
            Assert.NotEqual(buffer.Epoch, rows[0].Epoch);
            Assert.All(rows, row => Assert.Equal(
                Encoding.UTF8.GetString(ReadingEncoder.Encode(BufferFixture.Reading((int)row.Id, row.Id % 2 == 0 ? "attic" : "cellar"))),
                BufferFixture.Text(row)));
            Assert.Equal(waiting.Count, buffer.GetStatus().Depth);
            Assert.Equal((7L, "no"), (Assert.Single(buffer.ListDeadLetters(0, 10)).Id, buffer.ListDeadLetters(0, 10)[0].Answer));
            Assert.Equal("{\"batchSize\":5}", Encoding.UTF8.GetString(buffer.LoadDocument("settings")!.Value.Span));
            if (name == "holes") Assert.Subset(BufferFixture.ReadAny(buffer).Select(row => row.Id).ToHashSet(), Delivered.Select(i => (long)i).ToHashSet());
        }
    }

    public void Dispose() => _fixture.Dispose();
}
