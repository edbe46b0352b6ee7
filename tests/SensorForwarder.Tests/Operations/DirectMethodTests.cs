using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Forwarding;
using SensorForwarder.Tests.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

public sealed class DirectMethodTests
{
    const string Settings =
        """
        {"sink":"http","httpEndpoint":"http://a/","batchSize":10,"uploadIntervalSeconds":0,"commitIntervalMs":0,"pollIntervalSeconds":86400,
         "sensors":{"attic":{"kind":"simulated"}},"maxInFlight":3}
        """;

    static async Task<(int Status, JsonElement Body)> CallAsync(
        ForwarderFixture fixture, string name, string payload = "", string settings = Settings, MqttIntake? mqtt = null)
    {
        var roots = new SensorRoots("/proc", "/sys", Path.GetTempPath()) { Dev = "/nowhere" };
        using var scheduler = new SensorScheduler(
            new(roots, TimeProvider.System), fixture.Buffer, TimeProvider.System, new Random(1), NullLogger<SensorScheduler>.Instance);
        using var store = SettingsFixture.NewStore(fixture.Buffer, fixture.Forwarder, scheduler);
        await store.OfferTwinAsync(SettingsFixture.Parse(settings), 7, ForwarderFixture.Token);
        using var parts = new OperationParts(fixture.Buffer, fixture.Forwarder, scheduler, store, TimeProvider.System);
        var methods = new DirectMethods(fixture.Buffer, fixture.Forwarder, scheduler, store, parts.Source, Module.SensorKinds, TimeProvider.System, mqtt);
        var answer = await methods.InvokeAsync(name, Encoding.UTF8.GetBytes(payload), ForwarderFixture.Token);
        await scheduler.StopAsync(ForwarderFixture.Token);
        Assert.InRange(answer.Body.Length, 2, 128 << 10);
        return (answer.Status, JsonDocument.Parse(answer.Body).RootElement);
    }

    [Theory]
    [InlineData("ping", "", 200)]
    [InlineData("ping", "null", 200)]
    [InlineData("ping", "{\"a\":1}", 200)]
    [InlineData("ping", "[1]", 400)]
    [InlineData("ping", "\"x\"", 400)]
    [InlineData("ping", "{", 400)]
    [InlineData("Ping", "", 501)]
    [InlineData("flush", "{\"timeoutSeconds\":\"x\"}", 400)]
    [InlineData("flush", "{\"timeoutSeconds\":-1}", 400)]
    [InlineData("flush", "{\"timeoutSeconds\":301}", 400)]
    [InlineData("readNow", "{\"sensor\":7}", 400)]
    [InlineData("replay", "", 200)]
    [InlineData("replay", "{\"from\":\"yesterday\"}", 400)]
    [InlineData("replay", "{\"from\":\"2026-11-24T14:00:00Z\",\"to\":\"2026-11-24T13:00:00Z\"}", 400)]
    [InlineData("replay", "{\"sensors\":{}}", 400)]
    [InlineData("replay", "{\"sensors\":[7]}", 400)]
    [InlineData("readNow", "{\"sensor\":\"cellar\"}", 404)]
    [InlineData("getDeadLetters", "{\"afterId\":{}}", 400)]
    [InlineData("validateSettings", "[]", 400)]
    [InlineData("validateSettings", "{\"batchSize\":1,\"batchSize\":2}", 400)]
    [InlineData("validateSettings", "{\"sink\":\"\\ud800\"}", 400)]
    [InlineData("validateSettings", "{\"batchSize\":NaN}", 400)]
    [InlineData("checkBuffer", "{\"timeoutSeconds\":\"soon\"}", 400)]
    public async Task Method_calls_are_answered_with_the_right_status(string name, string payload, int status)
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var (code, body) = await CallAsync(fixture, name, payload);
        Assert.Equal(status, code);
        Assert.Equal(status != 200, body.TryGetProperty("error", out _));
    }

    [Fact]
    public async Task ReadNow_refuses_a_sensor_with_pushed_readings_and_reports_when_its_last_message_arrived()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var intake = new IntakeStore(fixture.Buffer, new(), TimeProvider.System);
        using var mqtt = new MqttIntake(new(
            new(), "device-module", intake, new(TimeProvider.System), TimeProvider.System, new Random(1), NullLogger.Instance));
        var entry = SensorFixture.Settings("mqtt", $"\"broker\":\"mqtt://127.0.0.1:{FreePort.Find()}\",\"topics\":[\"a/+\"]", "zigbee");
        await mqtt.ApplyAsync(new Dictionary<string, SensorSettings> { ["zigbee"] = entry }, ForwarderFixture.Token);
        var (code, body) = await CallAsync(fixture, "readNow", "{\"sensor\":\"zigbee\"}", mqtt: mqtt);
        Assert.Equal(409, code);
        Assert.Matches("^'zigbee' is of kind mqtt: its readings are pushed by mqtt://127[.]0[.]0[.]1:[0-9]+ and can't be read now; no message has arrived since the start$", body.GetProperty("error").GetString());
        intake.Sources.Find("mqtt zigbee").Count(IntakeAnswer.Stored, 1);
        (code, body) = await CallAsync(fixture, "readNow", "{\"sensor\":\"zigbee\"}", mqtt: mqtt);
        Assert.Equal(409, code);
        Assert.Matches("; the last message arrived at [0-9-]{10}T[0-9:]{8}Z$", body.GetProperty("error").GetString());
        await mqtt.StopAsync(ForwarderFixture.Token);
    }

    [Fact]
    public void Every_method_has_a_unique_name_and_a_description_that_ends_with_a_full_stop()
    {
        Assert.Equal(MethodTable.All.Count, MethodTable.All.Select(method => method.Name).Distinct().Count());
        Assert.All(MethodTable.All, method => Assert.Equal('.', method.Text[^1]));
    }

    [Fact]
    public async Task Every_method_in_the_table_works_without_a_payload_and_returns_the_documented_properties()
    {
        await using var fixture = await (await ForwarderFixture.StartAsync(http: new FakeSink { Rule = _ => SendResult.Accepted })).RunAsync();
        foreach (var method in MethodTable.All)
        {
            var (status, body) = await CallAsync(fixture, method.Name);
            Assert.True(status == 200, $"{method.Name}: {status} {body}");
            var names = System.Text.RegularExpressions.Regex.Replace(method.Answer, @",?\.\.", "");
            if (method.Name is "validateSettings") continue; // its answer needs a patch
            using var shown = JsonDocument.Parse(names);
            Assert.All(shown.RootElement.EnumerateObject(), property => Assert.True(body.TryGetProperty(property.Name, out _), $"{method.Name}: {property.Name} in {body}"));
        }
    }

    [Fact]
    public async Task A_misspelled_method_name_is_answered_with_the_closest_one()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var (status, body) = await CallAsync(fixture, "getstatus");
        Assert.Equal(501, status);
        Assert.Equal("there is no method 'getstatus' (did you mean getStatus?)", body.GetProperty("error").GetString());
    }

    [Fact]
    public async Task GetSettings_returns_the_settings_in_force_with_their_status()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var (_, body) = await CallAsync(fixture, "getSettings");
        Assert.Equal(7, body.GetProperty("version").GetInt64());
        Assert.Equal(
            "maxInFlight: there is no such setting (did you mean maxInFlightBatches?)",
            body.GetProperty("unknownSettings").GetString());
        var settings = body.GetProperty("settings");
        Assert.Equal(SettingsTable.All.Count + 1, settings.EnumerateObject().Count());
        Assert.Equal("""{"value":10,"ac":200,"av":7}""", settings.GetProperty("batchSize").GetRawText());
        Assert.Equal("""{"value":4,"ac":203,"av":0}""", settings.GetProperty("maxInFlightBatches").GetRawText());
        Assert.Equal("""{"attic":{"kind":"simulated"}}""", settings.GetProperty("sensors").GetProperty("value").GetRawText());
    }

    [Fact]
    public async Task ValidateSettings_reports_the_effect_of_a_patch_and_changes_nothing()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var (status, body) = await CallAsync(
            fixture, "validateSettings", """{"batchSize":0,"compression":"gzip","uploadIntervalSeconds":null,"batchsize":3,"sensors":{"attic":null,"b":{"kind":"x"},"c":{"kind":"host"}}}""");
        Assert.Equal((200, false), (status, body.GetProperty("valid").GetBoolean()));
        Assert.Equal(
            "batchsize: there is no such setting (did you mean batchSize?)",
            body.GetProperty("unknownSettings").GetString());
        var settings = body.GetProperty("settings");
        Assert.Equal(["batchSize", "uploadIntervalSeconds", "compression", "sensors"], settings.EnumerateObject().Select(setting => setting.Name));
        Assert.Equal(
            """{"value":10,"ac":400,"av":7,"ad":"0 is not allowed; allowed is an integer from 1 to 10000"}""", settings.GetProperty("batchSize").GetRawText());
        Assert.Equal("""{"value":"gzip","ac":200,"av":7}""", settings.GetProperty("compression").GetRawText());
        Assert.Equal("""{"value":10,"ac":203,"av":0}""", settings.GetProperty("uploadIntervalSeconds").GetRawText());
        Assert.Equal("""{"c":{"kind":"host"}}""", settings.GetProperty("sensors").GetProperty("value").GetRawText());

        Assert.True((await CallAsync(fixture, "validateSettings", """{"batchSize":7}""")).Body.GetProperty("valid").GetBoolean());
        var (_, after) = await CallAsync(fixture, "getSettings");
        Assert.Equal("""{"value":10,"ac":200,"av":7}""", after.GetProperty("settings").GetProperty("batchSize").GetRawText());
    }

    [Fact]
    public async Task CheckBuffer_reports_an_intact_buffer_as_whole()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(100);
        var (status, body) = await CallAsync(fixture, "checkBuffer", """{"timeoutSeconds":60}""");
        Assert.Equal(200, status);
        Assert.True(body.GetProperty("done").GetBoolean() && body.GetProperty("whole").GetBoolean());
        Assert.False(body.TryGetProperty("fault", out _));
    }

    [Fact]
    public async Task GetStatus_returns_the_epoch_the_last_committed_id_the_queue_depth_and_the_sensors()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(3);
        var (_, body) = await CallAsync(fixture, "getStatus");
        Assert.Equal(fixture.Buffer.Epoch, body.GetProperty("epoch").GetString());
        Assert.InRange(body.GetProperty("lastCommittedId").GetInt64(), 3, 4);
        Assert.InRange(body.GetProperty("queueDepth").GetInt64(), 3, 4);
        Assert.Equal("simulated", body.GetProperty("sensors").GetProperty("attic").GetProperty("kind").GetString());
    }

    [Fact]
    public async Task Flush_returns_when_all_readings_are_sent_and_is_refused_while_paused()
    {
        await using var fixture = await (await ForwarderFixture.StartAsync(http: new FakeSink { Rule = _ => SendResult.Accepted })).RunAsync();
        await fixture.StoreAsync(25);
        var (status, body) = await CallAsync(fixture, "flush");
        Assert.Equal((200, true), (status, body.GetProperty("drained").GetBoolean()));

        Assert.Equal(200, (await CallAsync(fixture, "pause")).Status);
        Assert.Equal(409, (await CallAsync(fixture, "flush")).Status);
        Assert.Equal(200, (await CallAsync(fixture, "resume")).Status);
        Assert.Equal(200, (await CallAsync(fixture, "flush")).Status);
    }

    [Fact]
    public async Task ReadNow_returns_the_values()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var (_, body) = await CallAsync(fixture, "readNow", "{\"sensor\":\"attic\"}");
        var reading = body.GetProperty("readings").GetProperty("attic");
        Assert.Equal("good", reading.GetProperty("quality").GetString());
        Assert.InRange(reading.GetProperty("values").GetProperty("temperature").GetDouble(), 5, 40);
    }

    [Fact]
    public async Task Dead_letters_can_be_listed_and_retried()
    {
        var refuse = true;
        await using var fixture = await (await ForwarderFixture.StartAsync(http: new FakeSink
        {
            Rule = batch => refuse && batch.FirstId <= 2 && batch.LastId >= 2 ? new(SendOutcome.Rejected, "answered 400: no") : SendResult.Accepted,
        })).RunAsync();
        await fixture.StoreAsync(4);
        await Until.True(() => fixture.Buffer.GetStatus().DeadLetters == 1);

        var (_, list) = await CallAsync(fixture, "getDeadLetters");
        var letter = Assert.Single(list.GetProperty("deadLetters").EnumerateArray());
        Assert.Equal(2, letter.GetProperty("id").GetInt64());
        Assert.Equal("answered 400: no", letter.GetProperty("answer").GetString());
        Assert.Equal("attic", letter.GetProperty("data").GetProperty("sensor").GetString());
        Assert.Null(new EdgeSimulator.Accounting.MessageSchemas().Objection("dead-letters.schema.json", list));

        refuse = false;
        Assert.Equal(1, (await CallAsync(fixture, "retryDeadLetters")).Body.GetProperty("retried").GetInt32());
        await Until.True(() => fixture.Http.Seen.ToArray().Any(batch => batch.FirstId == 2 && batch.LastId == 2 && fixture.Buffer.GetStatus().Depth <= 1));
        Assert.Equal(0, (await CallAsync(fixture, "purgeDeadLetters")).Body.GetProperty("purged").GetInt32());
    }

    [Fact]
    public async Task Dead_letters_that_are_too_large_for_one_answer_are_returned_in_several()
    {
        const int Letters = 130;
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(Letters);
        for (var id = 1; id <= Letters; id++)
            await fixture.Buffer.DeadLetterAsync(id, "Rejected", new string('"', 1000), ForwarderFixture.Token);

        var ids = new List<long>();
        while (true)
        {
            var after = $$"""{"afterId":{{ids.LastOrDefault()}}}""";
            var (status, list) = await CallAsync(fixture, "getDeadLetters", after);
            Assert.Equal((200, Letters), (status, list.GetProperty("count").GetInt32()));
            var shown = list.GetProperty("deadLetters").EnumerateArray()
                .Select(letter => letter.GetProperty("id").GetInt64()).ToList();
            if (shown.Count == 0) break;
            var before = ids.Count;
            ids.AddRange(shown);
            if (!list.TryGetProperty("leftOut", out var leftOut)) continue;
            Assert.Equal(Math.Min(100, Letters - before), shown.Count + leftOut.GetProperty("deadLetters").GetInt32());
            Assert.Equal($"call getDeadLetters with afterId {ids[^1]}", list.GetProperty("more").GetString());
        }

        Assert.Equal(Enumerable.Range(1, Letters).Select(id => (long)id), ids);
    }

    [Fact]
    public async Task ReadNow_counts_the_readings_that_do_not_fit_into_its_answer()
    {
        const int Sensors = 500;
        var sensors = string.Join(',', Enumerable.Range(1, Sensors).Select(i => $$"""
            "{{new string('s', 60)}}{{i}}":{"kind":"host"}
            """));
        await using var fixture = await ForwarderFixture.StartAsync();
        var settings = $$$"""
            {"sink":"http","httpEndpoint":"http://a/","pollIntervalSeconds":86400,"sensors":{{{{sensors}}}}}
            """;
        var (status, body) = await CallAsync(fixture, "readNow", settings: settings);
        Assert.Equal(200, status);
        var shown = body.GetProperty("readings").EnumerateObject().Count();
        Assert.InRange(shown, 1, Sensors - 1);
        Assert.Equal(Sensors, shown + body.GetProperty("leftOut").GetProperty("readings").GetInt32());
        Assert.Equal("call readNow with the name of a sensor", body.GetProperty("more").GetString());
    }
}
