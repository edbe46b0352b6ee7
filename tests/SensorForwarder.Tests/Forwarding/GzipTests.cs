using System.IO.Compression;
using System.Text;
using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary><c>compression: gzip</c>, and batches sized by their compressed bodies.</summary>
public sealed class GzipTests
{
    static readonly ForwardingSettings Gzip = new()
    {
        Sink = SinkKind.IotHub,
        Compression = BatchCompression.Gzip,
        BatchSize = 10_000,
        UploadInterval = TimeSpan.Zero,
    };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static BufferedReading[] Rooms(int count, int from = 1) => [.. Enumerable.Range(from, count).Select(n => new BufferedReading(
        n, BufferFixture.Noon, ReadingEncoder.Encode(RoomSensors.Read(n, BufferFixture.Noon.AddSeconds(n / RoomSensors.Count))).ToArray())
    { Epoch = "019ac8f0-4c1e-7a10-8000-000000000000" })];

    static async Task StoreAsync(TelemetryBuffer buffer, int count, DateTimeOffset? time = null) => await Task.WhenAll(Enumerable.Range(0, count).Select(
        n => buffer.EnqueueAsync(RoomSensors.Read(n, time ?? BufferFixture.Noon.AddSeconds(n / RoomSensors.Count)), Token).AsTask()));

    static byte[] Decompressed(ReadOnlyMemory<byte> body)
    {
        using var plain = new MemoryStream();
        using var gzip = new GZipStream(new MemoryStream(body.ToArray()), CompressionMode.Decompress);
        gzip.CopyTo(plain);
        return plain.ToArray();
    }

    [Fact]
    public void A_compressed_batch_does_not_exceed_its_maximum_size_and_holds_the_readings_in_order() =>
        Gen.Select(Gen.String[0, 2_000].Array[1, 200], Gen.Int[20, 20_000], Gen.Int[1, 3]).Sample((texts, maxBytes, times) =>
        {
            var encoder = new BatchEncoder("pi", "module");
            var readings = texts.Select((text, i) => new BufferedReading(
                i + 1, BufferFixture.Noon, System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(text))
            { Epoch = "e" }).ToArray();

            // Also when the last batch had a very different ratio.
            for (var time = 0; time < times; time++) encoder.Encode(Rooms(1 + (time * 500)), maxBytes, isGzip: true);
            var batch = encoder.Encode(readings, maxBytes, Lane.Backfill, isGzip: true);

            Assert.True(batch.Gzip!.Value.Length <= maxBytes || batch.Readings.Count == 1);
            var plain = encoder.Encode([.. readings.Take(batch.Readings.Count)], int.MaxValue);
            Assert.Equal(plain.Body.ToArray(), Decompressed(batch.Gzip!.Value));
            Assert.Equal(plain.Body.ToArray(), batch.Body.ToArray());
            Assert.Equal((plain.Id, Lane.Backfill), (batch.Id, batch.Lane));
        }, iter: 40);

    [Theory]
    [InlineData(3_840)]
    [InlineData(8_192)]
    [InlineData(40_000)]
    public void Compressed_batches_are_filled_to_within_one_64th_of_the_limit_from_the_first_one_on(int maxBytes)
    {
        var encoder = new BatchEncoder("pi", "module");
        for (var first = 1; first < 20_000; first += 4_000)
        {
            var batch = encoder.Encode(Rooms(6_000, first), maxBytes, isGzip: true);
            Assert.InRange(batch.Gzip!.Value.Length, maxBytes - (maxBytes / 64), maxBytes);
            Assert.True(batch.Body.Length > 10 * maxBytes, $"{batch.Readings.Count} readings");
        }
    }

    [Fact]
    public async Task Message_properties_contain_the_content_encoding_and_the_lane()
    {
        var hub = new FakeHub();
        var batch = new BatchEncoder("pi", "module").Encode(Rooms(50), int.MaxValue);
        Assert.Equal(SendResult.Accepted, await new IotHubSink(hub).SendAsync(batch, Gzip, Token));
        Assert.Equal(SendResult.Accepted, await new IotHubSink(hub).SendAsync(
            batch with { Lane = Lane.Backfill }, Gzip with { Compression = BatchCompression.None }, Token));

        string Property(int message, string name) => hub.Sent[message].Properties.Single(property => property.Key == name).Value;
        Assert.Equal(("gzip", "application/json", "live", "live"), (Property(0, "$.ce"), Property(0, "$.ct"), Property(0, "$.on"), Property(0, "lane")));
        Assert.Equal(batch.Body.ToArray(), Decompressed(hub.Sent[0].Body));
        Assert.Equal(
            ("utf-8", "application/json", "backfill", "backfill"), (Property(1, "$.ce"), Property(1, "$.ct"), Property(1, "$.on"), Property(1, "lane")));
        Assert.Equal(batch.Body.ToArray(), hub.Sent[1].Body.ToArray());
    }

    [Fact]
    public async Task Plug_and_Play_messages_are_never_compressed()
    {
        var hub = new FakeHub();
        var settings = Gzip with { MessageFormat = MessageFormat.Pnp };
        await using var fixture = await (await ForwarderFixture.StartAsync(
            hub: new FakeSink { Send = new IotHubSink(hub).SendAsync, IsMetered = true }, settings: settings with { DailyMessageLimit = 1_000_000 })).RunAsync();
        await fixture.StoreAsync(3);
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromMilliseconds(100));

        Assert.Equal(3, hub.Sent.Count);
        foreach (var message in hub.Sent)
        {
            Assert.Equal("utf-8", message.Properties.Single(property => property.Key == "$.ce").Value);
            Assert.StartsWith("{\"sensor\":\"attic\"", Encoding.UTF8.GetString(message.Body.Span), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_properties_of_a_message_do_not_exceed_the_bytes_reserved_for_them_in_its_chunks()
    {
        var hub = new FakeHub();
        var readings = Rooms(1).Concat(Rooms(1)).Select((reading, i) => reading with { Id = long.MaxValue - 1 + i }).ToArray();
        var batch = new BatchEncoder("pi", "module").Encode(readings, int.MaxValue, Lane.Backfill);
        await new IotHubSink(hub).SendAsync(batch, Gzip, Token);
        Assert.InRange(Assert.Single(hub.Sent).Properties.Sum(property => property.Key.Length + property.Value.Length), 100, Quota.PropertyBytes);
    }

    [Fact]
    public async Task A_batch_that_fits_only_when_compressed_is_delivered_as_one_message()
    {
        await using var world = await HubWorld.ConnectAsync();
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        await StoreAsync(buffer, 3_000, TimeProvider.System.GetUtcNow()); // old readings would make the start wait for the spread after an outage
        using var forwarder = new Forwarder(
            buffer, new Dictionary<SinkKind, ISink> { [SinkKind.IotHub] = new IotHubSink(world.Connection) },
            new BatchEncoder(world.Identity.DeviceId, world.Identity.ModuleId), TimeProvider.System, new Random(1), NullLogger<Forwarder>.Instance);
        forwarder.Apply(Gzip);
        await forwarder.StartAsync(Token);
        await Until.True(() => buffer.GetStatus().Depth == 0);
        await forwarder.StopAsync(Token);

        var summary = world.Ledger.Summary();
        Assert.Equal((3_000, 0), (summary.Unique, summary.Lost));

        // After the probe the rest is one batch, which IoT Hub would not accept without compression.
        var largest = world.Recent.After(0).MaxBy(message => message.Body.Length)!;
        Assert.Equal(("gzip", "live"), (largest.Properties["$.ce"], largest.Properties["lane"]));
        Assert.True(largest.Body.Length > 2 * IotHubSink.LargestBodyBytes, $"{largest.Body.Length} bytes");
    }

    [Fact]
    public async Task With_compression_whole_chunks_are_filled_and_counted_by_their_compressed_size()
    {
        var settings = Gzip with { BatchSize = 1_000, DailyMessageLimit = 1_000 };
        var hub = new FakeSink { Rule = _ => SendResult.Accepted, IsMetered = true };
        await using var fixture = await ForwarderFixture.StartAsync(hub: hub, settings: settings);
        await StoreAsync(fixture.Buffer, 20_000);
        await fixture.RunAsync();
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromMilliseconds(100));

        // Not the first batch, which is the probe, and not the last, which is the remainder.
        var chunks = hub.Seen.Select(batch => (long)Quota.Chunks(batch.BodyFor(settings).Length)).ToList();
        Assert.Equal(chunks.Sum(), fixture.Forwarder.Status.MessagesToday);
        foreach (var batch in hub.Seen.Skip(1).SkipLast(1))
        {
            var bytes = batch.BodyFor(settings).Length + Quota.PropertyBytes;
            Assert.InRange((double)bytes / (Quota.Chunks(batch.BodyFor(settings).Length) * Quota.ChunkBytes), 62 / 64.0, 1);
            Assert.InRange(batch.Readings.Count / Quota.Chunks(batch.BodyFor(settings).Length), 250, 1_000);
        }
    }

    [Fact]
    public async Task BatchMaxBytes_limits_the_compressed_size()
    {
        var settings = Gzip with { Sink = SinkKind.Http, BatchMaxBytes = 8_192 };
        var http = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var fixture = await ForwarderFixture.StartAsync(http: http, settings: settings);
        await StoreAsync(fixture.Buffer, 5_000);
        await fixture.RunAsync();
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromMilliseconds(100));
        Assert.All(http.Seen, batch => Assert.InRange(batch.BodyFor(settings).Length, 1, 8_192));
        Assert.All(http.Seen.Skip(1).SkipLast(1), batch => Assert.InRange(batch.BodyFor(settings).Length, 8_192 - 128, 8_192));
    }

    [Fact]
    public async Task A_failed_batch_is_retried_with_the_same_id_and_the_new_compression_setting()
    {
        var hub = new FakeHub();
        var isAway = true;
        var sink = new IotHubSink(hub);
        var fake = new FakeSink
        {
            Send = (batch, settings, token) => isAway
                ? Task.FromResult(new SendResult(SendOutcome.Retry, "no answer"))
                : sink.SendAsync(batch, settings, token),
        };
        await using var fixture = await ForwarderFixture.StartAsync(hub: fake, settings: Gzip);
        await fixture.StoreAsync(10);
        await fixture.RunAsync();
        await Until.True(() => fake.Sends == 1);
        var first = fake.Seen[0];
        fixture.Forwarder.Apply(Gzip with { Compression = BatchCompression.None });
        await fixture.PassAsync(TimeSpan.Zero);
        isAway = false;
        await Until.True(() => hub.Sent.Count == 1, fixture.Clock, TimeSpan.FromMilliseconds(100));
        Assert.Contains(new("$.mid", first.Id), hub.Sent[0].Properties);
        Assert.Equal(first.Body.ToArray(), hub.Sent[0].Body.ToArray());
    }
}
