using System.IO.Compression;
using System.Text;
using MQTTnet;

namespace SensorForwarder.Tests.Simulator;

/// <summary>Messages whose contentEncoding is gzip.</summary>
public sealed class GzipMessageTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static MqttApplicationMessage Message(byte[] body, string bag)
    {
        var message = SimulatedHub.Telemetry("", bag);
        message.Payload = new(body);
        return message;
    }

    static byte[] Gzip(string text)
    {
        using var bytes = new MemoryStream();
        using (var gzip = new GZipStream(bytes, CompressionLevel.Optimal)) gzip.Write(Encoding.UTF8.GetBytes(text));
        return bytes.ToArray();
    }

    [Theory]
    [InlineData("%24.ct=application%2Fjson&%24.ce=gzip&%24.mid=m0/", 20)]
    [InlineData("%24.ct=application%2Fjson&%24.ce=utf-8&%24.mid=m0/", 0)]
    public async Task A_gzip_body_is_counted_only_if_its_content_encoding_is_gzip(string bag, int unique)
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        await client.PublishAsync(Message(Gzip(SimulatedHub.Batch(1, 20)), bag), Token);
        Assert.Equal(unique, hub.Ledger.Summary().Unique);
        if (unique > 0) Assert.Equal(SimulatedHub.Batch(1, 20), Encoding.UTF8.GetString(Assert.Single(hub.Recent.After(0)).Body));
    }

    [Fact]
    public async Task A_message_with_an_invalid_gzip_body_is_acknowledged_and_does_not_count_as_a_batch()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        foreach (var body in (byte[][])[[], [31, 139, 8], Gzip(SimulatedHub.Batch(1, 20))[..50], Encoding.UTF8.GetBytes("{}")])
            Assert.True((await client.PublishAsync(Message(body, "%24.ce=gzip/"), Token)).IsSuccess);
        Assert.Equal(0, hub.Ledger.Summary().Unique);
        Assert.Equal(4, hub.Events.Count(text => text.StartsWith("message is not a batch", StringComparison.Ordinal)));
    }
}
