using System.Text;
using CsCheck;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The literal exchange of Microsoft's SDK 1.42.3, as recorded (D=pi1 M=telemetry
/// H=stubhub.azure-devices.net).</summary>
public sealed class LiteralTests
{
    static readonly EdgeIdentity Module = new()
    {
        HubHostName = "stubhub.azure-devices.net",
        GatewayHostName = "localhost",
        DeviceId = "pi1",
        ModuleId = "telemetry",
        SharedAccessKey = Convert.FromBase64String(HubWorld.Key),
        Source = "test",
    };

    static KeyValuePair<string, string> Pair(string key, string value) => new(key, value);

    [Theory]
    [InlineData(1795533816, "9JGkOQzwJNbJ0JrQOTn16uXuRcs%2FV3lPnzVdB1863UY%3D")]
    [InlineData(1795532822, "IrqyfqL%2BrJnh1Yap713fkO03HeA3Cc8NNvus1gkjbsY%3D")]
    public async Task Tokens_equal_those_of_the_SDK(long expiry, string signature)
    {
        var token = await SasToken.CreateAsync(
            SasToken.Audience(Module), DateTimeOffset.FromUnixTimeSeconds(expiry), SasToken.SignWith(Module.SharedAccessKey!.Value), CancellationToken.None);
        Assert.Equal(
            $"SharedAccessSignature sr=stubhub.azure-devices.net%2Fdevices%2Fpi1%2Fmodules%2Ftelemetry&sig={signature}&se={expiry}", token.Text);
        Assert.DoesNotContain(signature, token.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Ids_in_an_audience_are_encoded_twice() => Assert.Equal(
        "stubhub.azure-devices.net%2Fdevices%2Fa%2540b%2Fmodules%2Ftelemetry", SasToken.Audience(Module with { DeviceId = "a@b" }));

    [Fact]
    public void The_telemetry_topic_equals_that_of_the_SDK() => Assert.Equal(
        "devices/pi1/modules/telemetry/messages/events/%24.mid=m0&%24.ct=application%2Fjson&%24.ce=utf-8&%24.on=out1&a%20b=c%2Fd%26e/",
        HubTopics.Telemetry(Module, [Pair("$.mid", "m0"), Pair("$.ct", "application/json"), Pair("$.ce", "utf-8"), Pair("$.on", "out1"), Pair("a b", "c/d&e")]));

    [Fact]
    public void The_other_topics_equal_those_of_the_SDK()
    {
        const string Id = "b4014061-2e12-466d-be9e-d3a191eadecd";
        Assert.Equal("devices/pi1/modules/telemetry/messages/events/", HubTopics.Telemetry(Module, []));
        Assert.Equal($"$iothub/twin/GET/?$rid={Id}", HubTopics.TwinGet(Id));
        Assert.Equal($"$iothub/twin/PATCH/properties/reported/?$rid={Id}", HubTopics.ReportedPatch(Id));
        Assert.Equal("$iothub/methods/res/200/?$rid=a1", HubTopics.MethodAnswer(200, "a1"));

        Assert.True(HubTopics.TryParseTwinAnswer($"$iothub/twin/res/200/?$rid={Id}", out var status, out var requestId));
        Assert.Equal((200, Id), (status, requestId));
        Assert.True(HubTopics.TryParseTwinAnswer($"$iothub/twin/res/204/?$rid={Id}&$version=2", out status, out requestId));
        Assert.Equal((204, Id), (status, requestId));
        Assert.True(HubTopics.TryParseDesiredPatch("$iothub/twin/PATCH/properties/desired/?$version=2", out var version));
        Assert.Equal(2, version);
        Assert.True(HubTopics.TryParseMethodCall("$iothub/methods/POST/ping/?$rid=a1", out var name, out requestId));
        Assert.Equal(("ping", "a1"), (name, requestId));
    }

    [Fact]
    public void The_request_id_of_a_method_is_the_whole_rest_of_the_topic_as_in_the_SDK()
    {
        Assert.True(HubTopics.TryParseMethodCall("$iothub/methods/POST/a%20b*c/?$rid=x=1&y", out var name, out var requestId));
        Assert.Equal(("a%20b*c", "x=1&y"), (name, requestId));
    }

    [Fact]
    public void Encoded_properties_decode_to_the_original_values()
    {
        var text = Gen.String[Gen.Char['\u0001', '\ud7ff'], 0, 20];
        Gen.Select(text, text).Array[1, 6].Sample(
            pairs =>
            {
                var topic = HubTopics.Telemetry(Module, [.. pairs.Select(pair => Pair(pair.Item1, pair.Item2))]);
                var bag = topic["devices/pi1/modules/telemetry/messages/events/".Length..];
                var unescaped = bag.Where(c => !char.IsAsciiLetterOrDigit(c) && "-_.~%".IndexOf(c) < 0).Count();
                return bag.EndsWith('/')
                    && unescaped == (2 * pairs.Length) // '=' and '&' between, and one '/'
                    && bag[..^1].Split('&').Select(pair => pair.Split('=')).Select(pair => (Decode(pair[0]), Decode(pair[1]))).SequenceEqual(pairs);
            },
            seed: "0000000000002", iter: 2000, threads: 1);
    }

    /// <summary>A hand-written decoder: a percent sign and two digits are one byte of UTF-8.</summary>
    static string Decode(string text)
    {
        var bytes = new List<byte>();
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] != '%')
            {
                bytes.Add((byte)text[i]);
                continue;
            }

            bytes.Add(Convert.ToByte(text.Substring(i + 1, 2), 16));
            i += 2;
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }

    [Theory]
    [InlineData(0, 10, 1 + 1 + 2 + 10 + 2)]
    [InlineData(113, 10, 1 + 1 + 2 + 10 + 2 + 113)]
    [InlineData(114, 10, 1 + 2 + 2 + 10 + 2 + 114)]
    [InlineData(16369, 10, 1 + 2 + 2 + 10 + 2 + 16369)]
    [InlineData(16370, 10, 1 + 3 + 2 + 10 + 2 + 16370)]
    public void The_size_of_a_packet_is_computed_exactly(int body, int topic, int packet) =>
        Assert.Equal(packet, PacketSize.OfPublish(new string('t', topic), body));

    [Fact]
    public void A_message_that_exceeds_the_size_limit_of_the_hub_or_edgeHub_is_refused()
    {
        var straight = Module with { GatewayHostName = null };
        var topic = HubTopics.Telemetry(straight, []);
        var largest = PacketSize.Max - PacketSize.OfPublish(topic, 20_000) + 20_000;
        Assert.Null(Objection(straight, largest));
        Assert.StartsWith("the message has 262145 bytes", Objection(straight, largest + 1), StringComparison.Ordinal);

        // Sizes that edgeHub was observed to accept, and to acknowledge and drop.
        Assert.Contains("as edgeHub counts", Objection(Module, 262_000), StringComparison.Ordinal);
        Assert.Null(Objection(Module, 261_000));

        static string? Objection(EdgeIdentity identity, int body)
        {
            var message = new HubMessage(new byte[body], []);
            var topic = HubTopics.Telemetry(identity, []);
            return PacketSize.Objection(identity, message, topic, PacketSize.OfPublish(topic, body));
        }
    }
}
