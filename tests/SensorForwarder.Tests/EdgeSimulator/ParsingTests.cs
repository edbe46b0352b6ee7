using EdgeSimulator.Hub;

namespace SensorForwarder.Tests.Simulator;

/// <summary>User name, topic and property bag are parsed as by edgeHub.</summary>
public sealed class ParsingTests
{
    [Theory]
    [InlineData("", "")]
    [InlineData("/", "")]
    [InlineData("%24.mid=m0&%24.ct=application%2Fjson&a%20b=c%2Fd%26e/", "$.mid=m0|$.ct=application/json|a b=c/d&e")]
    [InlineData("%24.on=live&%24.mid=m1", "$.on=live|$.mid=m1")]
    [InlineData("bare", "bare")]
    [InlineData("empty=", "empty=")]
    [InlineData("a=1&a=2", "a=2")]
    [InlineData("a=%zz", "a=%zz")]
    [InlineData("$.on=raw", "$.on=raw")]
    public void Property_bag_is_parsed(string bag, string expected)
    {
        Assert.True(PropertyBag.TryParse(bag, out var properties, out _));
        Assert.Equal(expected, string.Join('|', properties.Select(p => p.Value is null ? p.Key : $"{p.Key}={p.Value}")));
    }

    [Theory]
    [InlineData("a=1&")]
    [InlineData("a=b=c")]
    [InlineData("a=b/c")]
    [InlineData("=b")]
    public void Malformed_property_bag_is_refused(string bag)
    {
        Assert.False(PropertyBag.TryParse(bag, out _, out var error));
        Assert.Contains(bag, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("localhost/pi1/telemetry/?api-version=2020-09-30&DeviceClientType=.NET%2F1.42.3%20%28x%29", "pi1", "telemetry")]
    [InlineData("hub.net/pi1/telemetry/api-version=2021-04-12&unknown=1", "pi1", "telemetry")]
    [InlineData("hub.net/pi1/?api-version=x", "pi1", null)]
    public void User_name_is_parsed(string text, string device, string? module)
    {
        Assert.True(MqttUserName.TryParse(text, out var userName, out _));
        Assert.Equal((device, module), (userName.DeviceId, userName.ModuleId));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("hub.net/pi1/telemetry/")]
    [InlineData("hub.net/pi1/telemetry/?DeviceClientType=x")]
    [InlineData("hub.net/pi1/telemetry/?api-version=%20")]
    [InlineData("hub.net/pi1/a/b/?api-version=x")]
    public void Malformed_user_name_is_refused(string? text) => Assert.False(MqttUserName.TryParse(text, out _, out _));

    public static TheoryData<string> OtherTopics =>
        ["", "/", "devices/pi1/messages/events/", "devices/pi1/modules/m/messages", "$iothub/other/", "$iothub/twin/GET", "x/y"];

    [Fact]
    public void Known_topics_are_parsed()
    {
        Assert.Equal(new HubTopic.Telemetry("pi1", "m", "a=b/"), HubTopic.Parse("devices/pi1/modules/m/messages/events/a=b/"));
        Assert.Equal(new HubTopic.Telemetry("pi1", "m", ""), HubTopic.Parse("devices/pi1/modules/m/messages/events/"));
        Assert.Equal(new HubTopic.Telemetry("pi1", "m", ""), HubTopic.Parse("devices/pi1/modules/m/messages/events"));
        Assert.Equal(new HubTopic.TwinGet("b401-6"), HubTopic.Parse("$iothub/twin/GET/?$rid=b401-6"));
        Assert.Equal(new HubTopic.TwinGet(null), HubTopic.Parse("$iothub/twin/GET/?$rid="));
        Assert.Equal(new HubTopic.TwinPatch("7"), HubTopic.Parse("$iothub/twin/PATCH/properties/reported/?$version=1&$rid=7"));
        Assert.Equal(new HubTopic.MethodResponse(200, "a1"), HubTopic.Parse("$iothub/methods/res/200/?$RID=a1"));
        Assert.Equal(new HubTopic.MethodResponse(400000, "a1"), HubTopic.Parse("$iothub/methods/res/ok/?$rid=a1"));
    }

    [Theory]
    [MemberData(nameof(OtherTopics))]
    public void Other_topics_are_unknown(string topic) => Assert.IsType<HubTopic.Unknown>(HubTopic.Parse(topic));
}
