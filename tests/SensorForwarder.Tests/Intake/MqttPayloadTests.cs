using System.Text;
using SensorForwarder.Configuration;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Sensors;

namespace SensorForwarder.Tests.Intake;

/// <summary>How kind mqtt converts messages to readings, and its settings.</summary>
public sealed class MqttPayloadTests
{
    const string Broker = "\"broker\":\"mqtt://mosquitto:1883\"";

    // The examples of docs/intake.md.
    const string Zigbee2Mqtt = "\"topics\":[\"zigbee2mqtt/+\"],\"name\":\"{2}\"";
    const string Tasmota = "\"topics\":[\"tele/+/SENSOR\"],\"name\":\"{2}\"";
    const string ShellyGen1 = "\"topics\":[\"shellies/+/sensor/+\",\"shellies/+/relay/+\",\"shellies/+/relay/+/power\"],\"name\":\"{2}\",\"value\":\"{3+}\"";
    const string ShellyGen2 = "\"topics\":[\"+/status/+\"],\"name\":\"{1}/{3}\"";
    const string EspHome = "\"topics\":[\"+/sensor/+/state\",\"+/binary_sensor/+/state\"],\"name\":\"{1}\",\"value\":\"{3}\"";

    static MqttSubscription Subscription(string options) => MqttSubscription.Of(Read(options));

    static SensorSettings Read(string options, string broker = Broker)
    {
        var settings = SensorFixture.Settings("mqtt", $"{broker},{options}");
        using var json = System.Text.Json.JsonDocument.Parse(settings.OptionsJson);
        return SensorSettings.Read(Module.SensorKinds, "attic", json.RootElement, TimeSpan.FromSeconds(1));
    }

    static string? Write(string options, string topic, byte[] payload, string? contentType = null)
    {
        using var into = new PayloadList(0);
        var message = new MqttMessage(topic, payload, false, contentType, IntakeFixture.Noon, null);
        Assert.Null(MqttPayloads.Write(Subscription(options), message, into));
        return into.Count == 0 ? null : Encoding.UTF8.GetString(Assert.Single(into).Span);
    }

    /// <summary>Without the properties that all readings share.</summary>
    static string? Short(string? reading) => reading?.Replace(",\"kind\":\"mqtt\",\"time\":\"2026-11-24T12:00:00.000Z\"", "", StringComparison.Ordinal)
        .Replace(",\"quality\":\"good\"", "", StringComparison.Ordinal);

    static string? Write(string options, string topic, string payload) => Short(Write(options, topic, Encoding.UTF8.GetBytes(payload)));

    [Theory]
    [InlineData(
        Zigbee2Mqtt, "zigbee2mqtt/Living room",
        """{"battery":87,"humidity":40.12,"linkquality":90,"pressure":1009,"temperature":21.4,"voltage":3005,"last_seen":"2026-11-24T11:59:58.123Z","update":{"state":"idle","installed_version":16777241}}""",
        """{"sensor":"Living room","values":{"battery":87,"humidity":40.12,"linkquality":90,"pressure":1009,"temperature":21.4,"voltage":3005,"update_installed_version":16777241},"tags":{"last_seen":"2026-11-24T11:59:58.123Z","update_state":"idle"}}""")]
    [InlineData(
        Zigbee2Mqtt, "zigbee2mqtt/plug", """{"state":"ON","power":12.5,"child_lock":"UNLOCK","occupancy":false,"temperature":null}""",
        """{"sensor":"plug","values":{"state":1,"power":12.5,"occupancy":0},"tags":{"child_lock":"UNLOCK"}}""")]
    [InlineData(Zigbee2Mqtt, "zigbee2mqtt/button", """{"action":"single"}""", """{"sensor":"button","data":{"action":"single"}}""")]
    [InlineData(
        Tasmota, "tele/cellar/SENSOR",
        """{"Time":"2026-02-16T10:13:52","DS18B20":{"Id":"011452A4B6AA","Temperature":20.6},"AM2301":{"Temperature":19.5,"Humidity":55.1,"DewPoint":10.2},"TempUnit":"C"}""",
        """{"sensor":"cellar","values":{"DS18B20_Temperature":20.6,"AM2301_Temperature":19.5,"AM2301_Humidity":55.1,"AM2301_DewPoint":10.2},"tags":{"Time":"2026-02-16T10:13:52","DS18B20_Id":"011452A4B6AA","TempUnit":"C"}}""")]
    [InlineData(ShellyGen1, "shellies/shellyht-3F4A21/sensor/temperature", "21.38", """{"sensor":"shellyht-3F4A21","values":{"sensor_temperature":21.38}}""")]
    [InlineData(ShellyGen1, "shellies/shelly1pm-1/relay/0", "on", """{"sensor":"shelly1pm-1","values":{"relay_0":1}}""")]
    [InlineData(ShellyGen1, "shellies/shelly1pm-1/relay/0/power", "12.50", """{"sensor":"shelly1pm-1","values":{"relay_0_power":12.5}}""")]
    [InlineData(ShellyGen2, "shellyplusht-08b61fcb/status/temperature:0", """{"id":0,"tC":19.8,"tF":67.6}""", """{"sensor":"shellyplusht-08b61fcb/temperature:0","values":{"id":0,"tC":19.8,"tF":67.6}}""")]
    [InlineData(
        ShellyGen2, "shellyplus1pm-a8032ab1/status/switch:0",
        """{"id":0, "source":"init", "output":false, "apower":0.0, "voltage":233.1, "aenergy":{"total":11.679,"by_minute":[0.000,4.1],"minute_ts":1656356400}}""",
        """{"sensor":"shellyplus1pm-a8032ab1/switch:0","values":{"id":0,"output":0,"apower":0.0,"voltage":233.1,"aenergy_total":11.679,"aenergy_by_minute_0":0.000,"aenergy_by_minute_1":4.1,"aenergy_minute_ts":1656356400},"tags":{"source":"init"}}""")]
    [InlineData(EspHome, "greenhouse/sensor/air_temperature/state", "23.4", """{"sensor":"greenhouse","values":{"air_temperature":23.4}}""")]
    [InlineData(EspHome, "greenhouse/binary_sensor/door/state", "OFF", """{"sensor":"greenhouse","values":{"door":0}}""")]
    [InlineData(EspHome, "greenhouse/sensor/air_temperature/state", "nan", """{"sensor":"greenhouse","kind":"mqtt","time":"2026-11-24T12:00:00.000Z","quality":"bad","reason":"invalid","values":{}}""")]
    public void Messages_of_known_devices_are_converted_to_readings(string options, string topic, string payload, string reading) =>
        Assert.Equal(Short(reading), Write(options, topic, payload));

    [Fact]
    public void The_tested_options_are_those_of_the_documentation()
    {
        var page = File.ReadAllText(Path.Combine(Configuration.WrittenFile.Root, "docs/intake.md")).Replace(": ", ":", StringComparison.Ordinal).Replace(", ", ",", StringComparison.Ordinal);
        Assert.All([Zigbee2Mqtt, Tasmota, ShellyGen1, ShellyGen2, EspHome], options => Assert.Contains(options, page, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("true", """{"sensor":"t","values":{"value":1}}""")]
    [InlineData(" -1.5e3\n", """{"sensor":"t","values":{"value":-1500}}""")]
    [InlineData("\"open\"", """{"sensor":"t","data":"open"}""")]
    [InlineData("[1,2]", """{"sensor":"t","data":1}|{"sensor":"t","data":2}""")]
    [InlineData("""{"a_b":1,"a":{"b":2}}""", """{"sensor":"t","values":{"a_b":2}}""")]
    [InlineData("""{"a":1e999,"b":1}""", """{"sensor":"t","values":{"b":1},"tags":{"a":"1e999"}}""")]
    [InlineData("""{"a":"\ud800","b":1}""", """{"sensor":"t","data":{"a":"\ud800","b":1}}""")]
    [InlineData("""{"sensor":"x","values":{"a":1},"time":"2026-01-01T00:00:00Z"}""", """{"sensor":"x","kind":"mqtt","time":"2026-01-01T00:00:00.000Z","values":{"a":1}}""")]
    [InlineData("""{"sensor":"x","values":{"a":1},"time":"noon"}""", """{"sensor":"t","data":{"sensor":"x","values":{"a":1},"time":"noon"}}""")]
    [InlineData("Online", """{"sensor":"t","data":{"base64":"T25saW5l","contentType":"text/plain; charset=utf-8"}}""")]
    [InlineData("{\"a\":", """{"sensor":"t","data":{"base64":"eyJhIjo=","contentType":"text/plain; charset=utf-8"}}""")]
    public void Any_other_payload_is_kept(string payload, string stored)
    {
        using var into = new PayloadList(0);
        Assert.Null(MqttPayloads.Write(Subscription("\"topics\":[\"t\",\"u\"]"), new("t", Encoding.UTF8.GetBytes(payload), false, null, IntakeFixture.Noon, null), into));
        Assert.Equal(stored, string.Join('|', into.Select(item => Short(Encoding.UTF8.GetString(item.Span)))));
    }

    [Fact]
    public void A_binary_payload_is_kept_with_its_content_type()
    {
        Assert.Contains("\"data\":{\"base64\":\"/9gA\",\"contentType\":\"application/octet-stream\"}", Write("\"topics\":[\"t\"]", "t", [0xFF, 0xD8, 0]), StringComparison.Ordinal);
        Assert.Contains("\"data\":{\"base64\":\"/9gA\",\"contentType\":\"image/jpeg\"}", Write("\"topics\":[\"t\"]", "t", [0xFF, 0xD8, 0], "image/jpeg"), StringComparison.Ordinal);
    }

    [Fact]
    public void An_object_that_would_become_too_large_as_values_is_kept_unchanged()
    {
        // As values, the first would take 5 GB: the long name is a part of each name.
        foreach (var payload in new[] { $$"""{"{{new string('x', 100_000)}}":[{{string.Join(',', Enumerable.Repeat('1', 50_000))}}]}""", $$"""{"x":[{{string.Join(',', Enumerable.Repeat('1', 100_000))}}]}""" })
            Assert.Equal($$"""{"sensor":"attic","data":{{payload}}}""", Write("\"topics\":[\"home/attic\"]", "home/attic", payload));
    }

    [Theory]
    [InlineData("\"values\":{\"temperature\":\"DS18B20.Temperature\",\"zone\":\"Zone\"}", """{"DS18B20":{"Temperature":20.6},"x":1,"Zone":"north"}""", """{"sensor":"attic","values":{"temperature":20.6,"zone":"north"}}""")]
    [InlineData("\"values\":{\"second\":\"a.1.b\",\"whole\":\"c.d\"}", """{"a":[0,{"b":true}],"c.d":7}""", """{"sensor":"attic","values":{"second":1,"whole":7}}""")]
    [InlineData("\"values\":{\"temperature\":\"t\"}", """{"humidity":40}""", null)]
    [InlineData("\"values\":{\"temperature\":\"t.x\"}", """{"t":null}""", null)]
    [InlineData("\"unit\":\"°C\",\"label\":\"The \\\"attic\\\"\"", "21", """{"sensor":"attic","kind":"mqtt","label":"The \"attic\"","unit":"°C","time":"2026-11-24T12:00:00.000Z","values":{"value":21}}""")]
    public void Values_are_selected_and_renamed_and_a_unit_is_added(string options, string payload, string? reading) =>
        Assert.Equal(Short(reading), Write($"\"topics\":[\"home/attic\"],{options}", "home/attic", payload));

    [Theory]
    [InlineData("\"topics\":[\"a/#\"]", "a/b/c", "a/b/c")]
    [InlineData("\"topics\":[\"a/b\"]", "a/b", "attic")]
    [InlineData("\"topics\":[\"a/#\"],\"name\":\"{2+}\"", "a/b/c", "b/c")]
    [InlineData("\"topics\":[\"a/#\"],\"name\":\"{3}\"", "a/b", "a/b")]
    [InlineData("\"topics\":[\"a/#\"],\"name\":\"x-{1}-{2}-{3}\"", "a/b", "x-a-b-")]
    public void The_name_of_a_sensor_is_derived_from_the_topic(string options, string topic, string name) =>
        Assert.StartsWith($"{{\"sensor\":\"{name}\",", Write(options, topic, "1"), StringComparison.Ordinal);

    [Theory]
    [InlineData("\"topics\":[\"a\"]", "\"broker\":\"http://x\"", "broker: ")]
    [InlineData("\"topics\":[\"a\"]", "\"broker\":\"mqtt://me:secret@x\"", "broker: ")]
    [InlineData("\"topics\":[\"a\"]", "\"label\":\"x\"", "broker is missing; it is mqtt://HOST:PORT or mqtts://HOST:PORT, without user, password and path")]
    [InlineData("\"label\":\"x\"", Broker, "topics is missing; it is a list of 1 to 50 texts")]
    [InlineData("\"topics\":[]", Broker, "topics: ")]
    [InlineData("\"topics\":[\"a\",\"a/#/b\"]", Broker, "topics: entry 2 is not a topic: + and # stand alone between slashes, and # only at the end")]
    [InlineData("\"topics\":[\"a+/b\"]", Broker, "topics: entry 1 is not a topic: ")]
    [InlineData("\"topics\":[\"$share/g/a\"]", Broker, "topics: entry 1 is a shared subscription")]
    [InlineData("\"topics\":[\"a/+\",\"b\"],\"name\":\"{2}\"", Broker, "name: {2} is more than entry 2 of topics has, which is 1 levels")]
    [InlineData("\"topics\":[\"a\"],\"name\":\"{0}\"", Broker, "name: ")]
    [InlineData("\"topics\":[\"a\"],\"value\":\"{1\"", Broker, "value: ")]
    [InlineData("\"topics\":[\"a\"],\"values\":{\"a\":7}", Broker, "values: ")]
    [InlineData("\"topics\":[\"a\"],\"intervalSeconds\":5", Broker, "intervalSeconds: there is no such option; mqtt has enabled, label, alarms, broker, ")]
    [InlineData("\"topics\":[\"a\"],\"aggregateSeconds\":60", Broker, "aggregateSeconds: there is no such option; mqtt has ")]
    [InlineData("\"topics\":[\"a\"],\"alarms\":[{\"above\":5}]", Broker, "alarms: alarm 1: value is missing")]
    [InlineData("\"topics\":[\"a\"],\"topic\":\"x\"", Broker, "topic: there is no such option (did you mean topics?)")]
    public void Invalid_options_are_refused(string options, string broker, string problem)
    {
        var exception = Assert.Throws<SensorSettingsException>(() =>
        {
            var settings = Read(options, broker);
            settings.Kind.Make(settings, new(new("/proc", "/sys", "/tmp"), TimeProvider.System)).Dispose();
        });
        Assert.StartsWith(problem, exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Two_sensors_cannot_have_the_same_client_id()
    {
        var parser = new SensorsParser(Module.SensorKinds, new(new("/proc", "/sys", "/tmp"), TimeProvider.System));
        using var map = System.Text.Json.JsonDocument.Parse(
            $$$"""{"a":{"kind":"mqtt",{{{Broker}}},"topics":["a"],"clientId":"x"},"b":{"kind":"mqtt","broker":"mqtt://mosquitto","topics":["b"],"clientId":"x"},"c":{"kind":"mqtt",{{{Broker}}},"topics":["b"]} }""");
        var sensors = parser.Read(map.RootElement, null, TimeSpan.FromSeconds(1), out _, out var errors);
        Assert.Equal(["a", "c"], sensors.Keys.Order());
        Assert.Equal(["b: client id 'x' at mqtt://mosquitto:1883 is already used by sensor a"], errors);
    }
}
