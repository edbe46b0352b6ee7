using System.Text;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>Thousands of seeded random messages, and garbage instead of MQTT: none of them ends the connection's loop,
/// makes the client throw, or leaks.</summary>
public sealed class FuzzTests
{
    const int Seed = 20261124;
    static readonly int Cases = Tier.Size("TEST_HUB_MESSAGES", quick: 2_000, full: 10_000, deep: 10_000);

    static readonly string[] Prefixes =
    [
        "$iothub/twin/res/", "$iothub/twin/PATCH/properties/desired/", "$iothub/methods/POST/", "devices/pi1/modules/telemetry/", "$iothub/", "",
    ];

    static readonly string[] Pieces =
    [
        "200", "204", "429", "-1", "99999999999999999999", "/", "//", "?", "?$rid=", "$rid=", "$version=", "&", "=", "1", "9223372036854775807", "ping",
        "%00", "%zz", "\u00e9", "\ud83d\ude00", " ", "a b", "..", "$",
    ];

    static readonly string[] Json =
    [
        "{}", "[]", "null", "{\"desired\":{\"$version\":1}}", "{\"a\":", "{\"a\":{\"a\":{\"a\":1}}}", "\"\\ud800\"", "1e999", "{\"$version\":\"x\"}", "tru",
    ];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static EdgeIdentity Identity(RawHub hub) => new()
    {
        HubHostName = "h",
        GatewayHostName = hub.HostName,
        DeviceId = "pi1",
        ModuleId = "telemetry",
        SharedAccessKey = new byte[] { 1, 2, 3 },
        Tls = new() { Roots = new(EdgeIdentityReader.CaVariable, hub.CaFile) },
        Source = "test",
    };

    static string Topic(Random random)
    {
        var topic = new StringBuilder(Prefixes[random.Next(Prefixes.Length)]);
        if (random.Next(2) == 0) topic.Append(Pieces[random.Next(Pieces.Length)]).Append("/?$rid=");
        for (var i = random.Next(6); i > 0; i--) topic.Append(Pieces[random.Next(Pieces.Length)]);
        if (topic.Length == 0) topic.Append('x');
        return topic.ToString();
    }

    static byte[] Payload(Random random)
    {
        if (random.Next(3) == 0)
        {
            var noise = new byte[random.Next(64)];
            random.NextBytes(noise);
            return noise;
        }

        var bytes = Encoding.UTF8.GetBytes(Json[random.Next(Json.Length)]);
        if (bytes.Length > 0 && random.Next(4) == 0) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
        return bytes;
    }

    [Fact]
    public void The_topic_parsers_do_not_throw_on_random_topics()
    {
        var random = new Random(Seed);
        for (var i = 0; i < 10 * Cases; i++)
        {
            var topic = Topic(random);
            var understood = HubTopics.TryParseTwinAnswer(topic, out var status, out var requestId) && (status < 0 || requestId.Length == 0);
            Assert.False(understood, topic);
            if (HubTopics.TryParseDesiredPatch(topic, out var version)) Assert.False(version < 0, topic);
            if (HubTopics.TryParseMethodCall(topic, out var name, out requestId)) Assert.True(name.Length > 0 && requestId.Length > 0, topic);
        }
    }

    [Fact]
    public async Task Random_messages_from_the_hub_do_not_end_the_connection_and_methods_are_still_answered()
    {
        var done = new TaskCompletionSource();
        await using var hub = new RawHub(async connection =>
        {
            await connection.WelcomeAsync();
            var random = new Random(Seed);
            for (var i = 0; i < Cases; i++) await connection.PublishAsync(Topic(random), Payload(random));

            // Method calls among the messages are answered in any order; the answer to the last call shows that every message
            // was read.
            await connection.PublishAsync("$iothub/methods/POST/last/?$rid=the-last", "{}"u8.ToArray());
            while (!Encoding.UTF8.GetString(await connection.ReadPacketAsync()).Contains("$iothub/methods/res/200/?$rid=the-last", StringComparison.Ordinal))
            {
            }

            done.SetResult();
        });
        var log = new LogLines();
        var handler = new HubHandlerDouble
        {
            OnMethod = (name, payload, _) => name == "last" || payload.Length % 2 == 0
                ? Task.FromResult(new MethodAnswer(200, "{}"u8.ToArray()))
                : throw new InvalidOperationException("of the handler"),
        };
        using var client = new EdgeHubConnection(
            Identity(hub), new() { Transport = HubTransport.Mqtt }, TimeProvider.System, new Random(1), log.For<EdgeHubConnection>());
        client.Handler = handler;
        await client.StartAsync(Token);
        await done.Task.WaitAsync(Token);

        Assert.Equal(HubState.Connected, client.Status.State);
        Assert.Equal(1, handler.Connects);
        Assert.True(handler.Patches.Count > 100 && client.Counters.MethodCalls > 100);
        Assert.DoesNotContain(log.All, line => line.Contains("[5009]", StringComparison.Ordinal) || line.Contains("[5010]", StringComparison.Ordinal));
        await Until.True(() => client.OpenRequests == 0);
        await client.StopAsync(Token);
        LogLine.Check(log.All);
    }

    [Fact]
    public async Task Every_nonzero_CONNACK_return_code_is_a_failure_with_a_single_line_message()
    {
        var code = 0;
        await using var hub = new RawHub(async connection =>
        {
            await connection.ReadPacketAsync();
            await connection.WriteAsync(0x20, 2, (byte)(code & 1), (byte)code);
            await connection.ReadPacketAsync();
        });
        using var dialer = new HubDialer(Identity(hub), new() { Transport = HubTransport.Mqtt }, TimeProvider.System, new Random(1));
        for (code = 1; code <= 255; code += Tier.IsQuick && code > 5 ? 25 : 1)
        {
            var failure = await Assert.ThrowsAsync<DialException>(() => dialer.DialAsync(_ => { }, Token));
            Assert.DoesNotContain('\n', failure.Message);
            Assert.Contains(hub.HostName, failure.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Random_bytes_instead_of_MQTT_fail_the_connection_with_a_single_line_message()
    {
        var seed = 0;
        await using var hub = new RawHub(async connection =>
        {
            var random = new Random(Seed + Interlocked.Increment(ref seed));
            await connection.ReadPacketAsync();
            if (random.Next(2) == 0) await connection.WriteAsync(0x20, 2, 0, 0);
            var noise = new byte[random.Next(1, 200)];
            random.NextBytes(noise);
            if (noise[0] == 0x20) noise[0] = 0x21;
            await connection.WriteAsync(noise);
        });
        for (var i = 0; i < Cases / 100; i++)
        {
            using var dialer = new HubDialer(Identity(hub), new() { Transport = HubTransport.Mqtt }, TimeProvider.System, new Random(1));
            var failure = await Assert.ThrowsAsync<DialException>(() => dialer.DialAsync(_ => { }, Token));
            Assert.DoesNotContain('\n', failure.Message);
        }
    }
}
