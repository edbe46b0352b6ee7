using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Configuration;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Operations.Status;
using SensorForwarder.Operations.Web;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

/// <summary>Status, page and metrics show which sources send readings to the module, and how many were stored or refused.</summary>
public sealed class IntakeReportTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task SendAsync(IntakeStore store, string source, string body) =>
        await store.StoreAsync(store.Sources.Find(source), Encoding.UTF8.GetBytes(body), null, "http", "things", Token);

    [Fact]
    public async Task Each_source_is_shown_with_its_readings_its_refusals_and_whether_it_is_silent()
    {
        var clock = new FakeTimeProvider(Buffer.BufferFixture.Noon);
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync("""{"commitIntervalMs":0,"sensors":{}}""");
        var store = new IntakeStore(parts.Buffer, new() { ReadingsPerSecond = 0, MaxSilence = TimeSpan.FromHours(1) }, clock);
        using var operations = new OperationParts(parts, clock, hub: null, store);
        Assert.Null(operations.ReadStatus()["intake"]);
        await SendAsync(store, "http 10.0.0.7", """[{"sensor":"meter","values":{"kwh":3}},{"sensor":"meter","values":{"kwh":4}},{"event":1}]""");
        await SendAsync(store, "http 10.0.0.7", "[1,");
        await SendAsync(store, "http 10.0.0.7", $"\"{new string('x', 300_000)}\"");
        var before = operations.Source.Capture().StateHash();
        clock.Advance(TimeSpan.FromHours(1.5));
        await SendAsync(store, "enqueue", "{}");
        Assert.NotEqual(before, operations.Source.Capture().StateHash());

        var status = operations.ReadStatus();
        Assert.Contains("intake", PnpModel.StatusNames);
        Assert.Equal(["enqueue", "http 10.0.0.7"], status["intake"]!.AsObject().Select(source => source.Key));
        var http = status["intake"]!["http 10.0.0.7"]!;
        Assert.Equal((3, 1, 1, true), ((long)http["accepted"]!, (long)http["refused"]!["malformed"]!, (long)http["refused"]!["tooLarge"]!, (bool)http["silent"]!));
        Assert.Equal("it has 300002 bytes; the limit is 262144", (string?)http["lastReason"]);
        Assert.Equal(Buffer.BufferFixture.Noon, (DateTimeOffset)http["lastSeen"]!);
        Assert.Null(status["intake"]!["enqueue"]!["silent"]);
        Assert.Null(status["intake"]!["enqueue"]!["refused"]);

        var page = operations.ReadPage();
        Assert.Equal(3, (long)page["intake"]!["http 10.0.0.7"]!["accepted"]!);
        Assert.Equal(["meter", "things"], page["pushedSensors"]!.AsArray().Select(name => (string?)name));
        var text = StatusPage.Write(status.AsObject());
        Assert.Contains(
            "intake          http 10.0.0.7: 3 readings stored, last seen 2026-11-24T12:00:00Z, silent for too long; refused: 1 malformed, "
            + "1 tooLarge, the last time: it has 300002 bytes; the limit is 262144\n", text, StringComparison.Ordinal);

        using var metrics = operations.NewMetrics(BootOptions.Read(new ConfigurationBuilder().Build()));
        using var scrape = new MetricsText(metrics);
        var samples = PrometheusText.Read(Encoding.UTF8.GetString(scrape.Write())).SelectMany(family => family.Samples)
            .Where(sample => sample.Labels.GetValueOrDefault("source") == "http 10.0.0.7")
            .ToDictionary(sample => sample.Name + sample.Labels.GetValueOrDefault("reason"), sample => sample.Value);
        Assert.Equal(3, samples["sensorforwarder_intake_readings_total"]);
        Assert.Equal(1, samples["sensorforwarder_intake_refused_requests_totalmalformed"]);
        Assert.Equal(1, samples["sensorforwarder_intake_silent"]);
        Assert.Equal(Buffer.BufferFixture.Noon.ToUnixTimeSeconds(), samples["sensorforwarder_intake_last_seen_timestamp_seconds"]);
    }

    [Fact]
    public async Task An_mqtt_sensor_is_shown_as_a_sensor_and_as_a_source_even_while_its_broker_is_unreachable()
    {
        var clock = new FakeTimeProvider(Buffer.BufferFixture.Noon);
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync("""{"sensors":{}}""");
        var store = new IntakeStore(parts.Buffer, new(), clock);
        var broker = $"mqtt://127.0.0.1:{FreePort.Find()}";
        using var mqtt = new MqttIntake(new(new(), "pi-SensorForwarder", store, new(TimeProvider.System), clock, new Random(1), NullLogger.Instance));
        var zigbee = SensorFixture.Settings("mqtt", $"\"broker\":\"{broker}\",\"topics\":[\"a\"],\"maxSilenceSeconds\":3600", "zigbee");
        await mqtt.ApplyAsync(new Dictionary<string, SensorSettings> { ["zigbee"] = zigbee }, Token);
        await Until.True(() => mqtt.Health.Single().State == SensorState.Failing);
        clock.Advance(TimeSpan.FromHours(1.5));
        using var operations = new OperationParts(parts, clock, hub: null, store, mqtt);

        var status = operations.ReadStatus();
        Assert.Equal(("Failing", "absent"), ((string?)status["sensors"]!["zigbee"]!["state"], (string?)status["sensors"]!["zigbee"]!["reason"]));
        var source = status["intake"]!["mqtt zigbee"]!;
        Assert.Equal((0, true, null), ((long)source["accepted"]!, (bool)source["silent"]!, source["lastSeen"]));
        Assert.Contains("intake          mqtt zigbee: 0 readings stored, nothing seen yet, silent for too long", StatusPage.Write(status.AsObject()), StringComparison.Ordinal);

        var shown = operations.ReadPage()["sensors"]!.AsArray().Single()!;
        Assert.Equal(("zigbee", "mqtt", "Failing"), ((string?)shown["name"], (string?)shown["kind"], (string?)shown["state"]));
        Assert.StartsWith($"{broker}: ", (string?)shown["detail"], StringComparison.Ordinal);

        using var metrics = operations.NewMetrics(BootOptions.Read(new ConfigurationBuilder().Build()));
        using var scrape = new MetricsText(metrics);
        var samples = PrometheusText.Read(Encoding.UTF8.GetString(scrape.Write())).SelectMany(family => family.Samples)
            .Where(sample => sample.Labels.GetValueOrDefault("source") == "mqtt zigbee").ToDictionary(sample => sample.Name, sample => sample.Value);
        Assert.Equal((1, 0), (samples["sensorforwarder_intake_silent"], samples["sensorforwarder_intake_last_seen_timestamp_seconds"]));
        await mqtt.StopAsync(Token);
    }

    [Fact]
    public async Task With_many_sources_the_status_reported_to_the_hub_stays_within_its_size_limit()
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync("""{"sensors":{}}""");
        var store = new IntakeStore(parts.Buffer, new(), TimeProvider.System);
        using var operations = new OperationParts(parts, TimeProvider.System, hub: null, store);
        for (var i = 0; i < 100; i++)
        {
            foreach (var outcome in Enum.GetValues<IntakeOutcome>())
                store.Sources.Find($"http fd00:1234:5678:9abc:def0:1234:5678:{i:x4}").Count(new(outcome, new string('x', 500)), 1);
        }

        var status = operations.Source.Capture();
        var json = StatusDocument.Write(status, SizeLimit.MaxReportedBytes);
        Assert.InRange(json.Length, 1_000, SizeLimit.MaxReportedBytes);
        var reported = JsonNode.Parse(json.Span)!;

        // The sources that were seen last are included.
        Assert.Contains("other sources", reported["intake"]!.AsObject());
        Assert.InRange(reported["intake"]!.AsObject().Count, 5, 50);
        Assert.Equal(IntakeSources.MaxSources + 1, operations.ReadStatus()["intake"]!.AsObject().Count);
    }
}
