using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using CsCheck;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

public sealed partial class PnpTests
{
    static readonly ForwardingSettings Pnp = new() { Sink = SinkKind.IotHub, MessageFormat = MessageFormat.Pnp, UploadInterval = TimeSpan.Zero };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [GeneratedRegex("^[A-Za-z](?:[A-Za-z0-9_]{0,62}[A-Za-z0-9])?$")]
    private static partial Regex DtdlName { get; }

    static (string Body, string? Component) Encode(string payload)
    {
        var message = PnpEncoder.Encode(new(1, default, Encoding.UTF8.GetBytes(payload)))!;
        return (Encoding.UTF8.GetString(message.Body.Span), message.Component);
    }

    [Fact]
    public void A_reading_is_encoded_as_one_object_of_telemetry_names() => Assert.Equal(
        ("""{"sensor":"Küche","time":"2026-11-24T14:20:31.123Z","quality":"good","temperature":21.43,"humidity":41}""", null),
        Encode("""{"sensor":"Küche","kind":"simulated","time":"2026-11-24T14:20:31.123Z","quality":"good","values":{"temperature":21.43,"humidity":41,"pressure":null}}"""));

    [Fact]
    public void Time_quality_reason_and_unit_are_included() => Assert.Equal(
        ("""{"sensor":"tank","time":"2026-11-24T14:20:31.123Z","timeQuality":"unsynchronized","quality":"uncertain","reason":"range","unit":"m","level":2}""", null),
        Encode("""{"sensor":"tank","kind":"file","unit":"m","time":"2026-11-24T14:20:31.123Z","timeQuality":"unsynchronized","quality":"uncertain","reason":"range","values":{"level":2}}"""));

    [Fact]
    public void Readings_of_the_host_belong_to_the_host_component() => Assert.Equal(
        ("""{"sensor":"box","quality":"bad","reason":"io"}""", "host"), Encode("""{"sensor":"box","kind":"host","quality":"bad","reason":"io","values":{}}"""));

    [Fact]
    public void A_gap_entry_contains_the_range_of_ids_it_covers() => Assert.Equal(
        ("""{"sensor":"buffer","reason":"thinned","count":3,"firstId":7,"lastId":12}""", "buffer"),
        Encode("""{"sensor":"buffer","kind":"gap","reason":"thinned","values":{"count":3},"gap":{"epoch":"e","firstId":7,"lastId":12,"count":3,"sensors":{"a":3}}}"""));

    [Fact]
    public void An_alarm_contains_its_state_and_name() => Assert.Equal(
        ("""{"sensor":"freezer","alarm":"raised: temperature above -15","temperature":-9}""", null),
        Encode("""{"sensor":"freezer","kind":"alarm","alarm":{"name":"temperature above -15","state":"raised"},"values":{"temperature":-9}}"""));

    [Fact]
    public void A_reading_with_a_property_alarm_that_is_not_an_alarm_is_sent_without_it() => Assert.Equal(
        ("""{"sensor":"door","open":1}""", null), Encode("""{"sensor":"door","alarm":"on","values":{"open":1}}"""));

    [Theory, InlineData("{\"sensor\":"), InlineData("[1]")]
    public void A_damaged_payload_is_not_encoded(string payload) =>
        Assert.Null(PnpEncoder.Encode(new BufferedReading(1, default, Encoding.UTF8.GetBytes(payload))));

    [Fact]
    public void Any_value_name_is_converted_to_a_valid_DTDL_name() =>
        Gen.String[0, 100].Sample(name => Assert.Matches(DtdlName, PnpEncoder.TelemetryName(name)));

    [Theory]
    [InlineData("temperature", "temperature")]
    [InlineData("2nd tank, level (m)", "v2nd_tank__level__m")]
    [InlineData("time", "timeValue")]
    public void A_value_name_is_changed_only_where_DTDL_requires_it(string name, string telemetry) =>
        Assert.Equal(telemetry, PnpEncoder.TelemetryName(name));

    [Fact]
    public async Task Every_reading_is_sent_as_a_message_with_a_unique_message_id()
    {
        var hub = new FakeHub();
        await using var fixture = await (await ForwarderFixture.StartAsync(
            hub: new FakeSink { Send = new IotHubSink(hub).SendAsync, Window = 4 }, settings: Pnp)).RunAsync();
        await fixture.StoreAsync(25);
        await fixture.UntilDepthAsync(0);

        Assert.Equal(
            Enumerable.Range(1, 25).Select(id => $"{fixture.Buffer.Epoch}:{id}-{id}"),
            hub.Sent.Select(message => message.Properties.Single(property => property.Key == "$.mid").Value));
        foreach (var message in hub.Sent)
        {
            using var json = JsonDocument.Parse(message.Body);
            Assert.Equal("attic", json.RootElement.GetProperty("sensor").GetString());
            Assert.DoesNotContain(message.Properties, property => property.Key == "$.sub");
        }
    }

    [Fact]
    public async Task A_batch_created_before_the_change_to_Plug_and_Play_is_sent_unchanged()
    {
        var hub = new FakeHub();
        var readings = new BufferedReading[] { new(1, default, "{}"u8.ToArray()) { Epoch = "e" }, new(2, default, "{}"u8.ToArray()) { Epoch = "e" } };
        var batch = new BatchEncoder("d", "m").Encode(readings, 1000);
        Assert.Equal(SendResult.Accepted, await new IotHubSink(hub).SendAsync(batch, Pnp, Token));
        Assert.Equal(Encoding.UTF8.GetString(batch.Body.Span), Encoding.UTF8.GetString(Assert.Single(hub.Sent).Body.Span));
    }

    [Fact]
    public async Task The_tags_of_a_reading_become_message_properties_unless_the_name_is_reserved_or_a_module_tag()
    {
        var hub = new FakeHub();
        const string Reading = """
            {"sensor":"inlet","kind":"influx","tags":{"rack":"7","Site":"south","asset_id":"x","lane":"alarm","$.on":"y","a b":"z","floor":3,"long":"LONG"},"values":{"t":1}}
            """;
        var payload = Reading.Replace("LONG", new('x', 65), StringComparison.Ordinal);
        using var tags = JsonDocument.Parse("""{"site":"north","asset-id":"T-1204"}""");
        var encoder = new BatchEncoder("d", "m") { Tags = Tags.Usable(tags.RootElement) };
        var batch = encoder.Encode([new(1, default, Encoding.UTF8.GetBytes(payload)) { Epoch = "e" }], 1000);
        Assert.Equal(SendResult.Accepted, await new IotHubSink(hub).SendAsync(batch, Pnp, Token));
        Assert.Equal(
            [new("lane", "live"), new("asset-id", "T-1204"), new("site", "north"), new("rack", "7")],
            Assert.Single(hub.Sent).Properties.Where(property => property.Key[0] != '$'));

        // In the batch format, the tags of a reading are only in the body.
        Assert.Equal(SendResult.Accepted, await new IotHubSink(hub).SendAsync(batch, Pnp with { MessageFormat = MessageFormat.Batch }, Token));
        Assert.DoesNotContain(hub.Sent[^1].Properties, property => property.Key == "rack");
    }

    [Fact]
    public async Task A_reading_encoded_by_the_buffer_is_understood()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.Buffer.EnqueueAsync(
            new Reading { Sensor = "h", Kind = "host", Time = DateTimeOffset.UnixEpoch, Values = [new("load1", 0.5)] }, Token);
        var message = PnpEncoder.Encode(fixture.Buffer.PeekBatch(0, 1, 1000)[0])!;
        Assert.Equal("host", message.Component);
        Assert.Equal(
            """{"sensor":"h","time":"1970-01-01T00:00:00.000Z","quality":"good","load1":0.5}""", Encoding.UTF8.GetString(message.Body.Span));
    }
}
