using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The tags of the module, from the settings to the message.</summary>
public sealed class ModuleTagsTests
{
    static readonly ForwardingSettings North = new()
    {
        Sink = SinkKind.IotHub,
        UploadInterval = TimeSpan.Zero,
        Tags = TagsTests.Of("""{"site":"north","asset-id":"\u20ac 7"}"""),
    };

    [Theory]
    [InlineData(false, true)]
    [InlineData(false, false)]
    [InlineData(true, false)]
    public async Task The_tags_are_in_the_properties_of_every_message(bool isPnp, bool isGzip)
    {
        var hub = new FakeHub();
        await using var fixture = await (await ForwarderFixture.StartAsync(
            hub: new FakeSink { Send = new IotHubSink(hub).SendAsync },
            settings: North with
            {
                MessageFormat = isPnp ? MessageFormat.Pnp : MessageFormat.Batch,
                Compression = isGzip ? BatchCompression.Gzip : BatchCompression.None,
            })).RunAsync();
        await fixture.StoreAsync(3);
        await fixture.UntilDepthAsync(0);
        Assert.NotEmpty(hub.Sent);
        Assert.All(hub.Sent, message => Assert.Equal(
            [new("asset-id", "\u20ac 7"), new("site", "north")],
            message.Properties.SkipWhile(property => property.Key != "lane").Skip(1)));
    }

    [Fact]
    public async Task The_tags_in_the_body_are_those_in_force_when_the_batch_is_created()
    {
        var hub = new FakeHub();
        await using var fixture = await (await ForwarderFixture.StartAsync(
            hub: new FakeSink { Send = new IotHubSink(hub).SendAsync }, settings: North)).RunAsync();
        await fixture.StoreAsync(1);
        await fixture.UntilDepthAsync(0);
        fixture.Forwarder.Apply(North with { Tags = TagsTests.Of("""{"site":"south"}""") });
        await fixture.StoreAsync(1);
        await fixture.UntilDepthAsync(0);
        fixture.Forwarder.Apply(North with { Tags = Tags.None });
        await fixture.StoreAsync(1);
        await fixture.UntilDepthAsync(0);
        Assert.Equal(["north", "south", null], hub.Sent.Select(SiteOf));

        static string? SiteOf(SensorForwarder.EdgeHub.HubMessage message) =>
            JsonDocument.Parse(message.Body).RootElement.TryGetProperty("tags", out var tags) ? tags.GetProperty("site").GetString() : null;
    }

    [Fact]
    public void The_quota_counts_the_bytes_of_the_tags_as_IoT_Hub_bills_them()
    {
        var reading = new BufferedReading(1, BufferFixture.Noon, new byte[Quota.ChunkBytes - Quota.PropertyBytes - 70]) { Epoch = "e" };
        var encoder = new BatchEncoder("pi", "m");
        Assert.Equal(1, Quota.Chunks(encoder.Encode([reading], int.MaxValue), North));
        encoder.Tags = North.Tags;
        var batch = encoder.Encode([reading], int.MaxValue);
        Assert.Equal((batch.Body.Length + North.Tags.Bytes + Quota.PropertyBytes - 1) / Quota.ChunkBytes + 1, Quota.Chunks(batch, North));
        Assert.Equal(2, Quota.Chunks(batch, North));
    }
}
