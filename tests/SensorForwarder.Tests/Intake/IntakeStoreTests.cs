using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Intake;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>How requests are stored or refused, whichever intake they use.</summary>
public sealed class IntakeStoreTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static string Reading(int number, string sensor = "attic") => $$$"""{"sensor":"{{{sensor}}}","values":{"number":{{{number}}}}}""";

    static string Sized(int bytes) => $$"""{"text":"{{new string('x', bytes - 11)}}"}""";

    [Theory]
    [InlineData(
        """{"sensor":"attic","values":{"temperature":21.40,"door":"open","on":true,"none":null}}""",
        """{"sensor":"attic","kind":"http","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{"temperature":21.40,"door":"open","on":true,"none":null}}""")]
    [InlineData(
        """ { "values" : { "t" : 1e3 } , "battery" : [ 3 ] , "time" : "2026-11-24T14:00:00.5+01:00", "sensor" : "attic", "unit":"\u00b0C", "label":"The \"attic\"" } """,
        """{"sensor":"attic","kind":"http","label":"The \"attic\"","unit":"\u00b0C","time":"2026-11-24T13:00:00.500Z","quality":"good","values":{ "t" : 1e3 },"battery" : [ 3 ]}""")]
    [InlineData(
        """{"sensor":"attic","kind":"bme280","values":{},"quality":"bad","reason":"timeout","time":null,"unit":null}""",
        """{"sensor":"attic","kind":"bme280","time":"2026-11-24T12:00:00.000Z","quality":"bad","reason":"timeout","values":{}}""")]
    public async Task A_reading_is_stored_with_its_values_unchanged_and_missing_properties_added(string sent, string stored)
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(sent));
        Assert.Equal(stored, Assert.Single(intake.Stored()));
    }

    [Theory]
    [InlineData("""{"a":[1,{"b":2.50}],"sensor":"x"}""")]
    [InlineData("""{"sensor":7,"values":{"a":1}}""")]
    [InlineData("""{"sensor":"x","values":3}""")]
    [InlineData("21.4")]
    [InlineData("\"open\"")]
    [InlineData("null")]
    public async Task JSON_that_is_not_a_reading_is_stored_unchanged_as_data_with_the_name_of_its_source(string sent)
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(sent, name: "zigbee/\u00dcber"));
        Assert.Equal(
            $$"""{"sensor":"zigbee/Über","kind":"http","time":"2026-11-24T12:00:00.000Z","quality":"good","data":{{sent}}}""",
            Assert.Single(intake.Stored()));
    }

    [Fact]
    public async Task A_body_that_is_not_JSON_and_has_another_content_type_is_stored_as_base64()
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        byte[] picture = [0xFF, 0xD8, 0, 10, 13];
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(picture, "image/jpeg; name=\"a\""));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync("21.4 C\n", "text/plain"));

        // JSON is stored as JSON, whatever its content type.
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(Reading(1), "text/plain; charset=utf-8"));
        var stored = intake.Stored().Select(text => JsonNode.Parse(text)!).ToList();
        Assert.Equal((Convert.ToBase64String(picture), "image/jpeg; name=\"a\""), ((string?)stored[0]["data"]!["base64"], (string?)stored[0]["data"]!["contentType"]));
        Assert.Equal("21.4 C\n", Encoding.UTF8.GetString(Convert.FromBase64String((string)stored[1]["data"]!["base64"]!)));
        Assert.Equal(1, (int)stored[2]["values"]!["number"]!);
    }

    [Theory]
    [InlineData("[READING,READING,READING]")]
    [InlineData("[\n  READING,\n  READING,\n  READING\n]\n")]
    [InlineData("READING\nREADING\nREADING")]
    [InlineData("\uFEFFREADING\r\n\r\nREADING\r\n  READING\r\n\n")]
    public async Task An_array_or_several_lines_are_stored_as_several_readings(string form)
    {
        await using var intake = await IntakeFixture.OpenAsync();
        var numbers = 0;
        var body = string.Concat(form.Split("READING").SelectMany((part, i) => i == 0 ? [part] : (string[])[Reading(++numbers), part]));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(body));
        Assert.Equal([1, 2, 3], intake.Stored().Select(text => (int)JsonNode.Parse(text)!["values"]!["number"]!));
        Assert.Equal(3, intake.Source().Accepted);

        // One object on several lines is one value.
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync("{\n \"a\":\n 1\n}\n"));
        Assert.Equal(4, intake.Stored().Count);
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync("[]"));
        Assert.Equal(4, intake.Stored().Count);
    }

    [Theory]
    [InlineData("", "it is empty")]
    [InlineData("  \n ", "it is empty")]
    [InlineData("{\"a\":1", "line 1: it is not JSON: ")]
    [InlineData("[{\"a\":1},\n{\"a\" 1}]", "line 2: it is not JSON: ")]
    [InlineData("{\"a\":1}\n{\"a\":\n{\"a\":3}", "line 2: it is not JSON: ")]
    [InlineData("{\"a\":1}\n\n{\"a\":2} {\"a\":3}", "line 3: it has more than one value")]
    [InlineData("[GOOD,GOOD,BAD]", "element 3 (counted from 1): time is not a time with a zone, such as \"2026-11-24T14:00:00Z\"")]
    [InlineData("GOOD\nBAD\nGOOD", "line 2: time is not a time with a zone")]
    [InlineData("""{"sensor":"a","values":{},"time":"2026-11-24T14:00:00"}""", "time is not a time with a zone")]
    [InlineData("""{"sensor":"a","values":{},"time":1795442400}""", "time is not a time with a zone")]
    [InlineData("""{"sensor":"a","values":{},"quality":"fine"}""", "quality is not one of \"good\", \"uncertain\", \"bad\"")]
    [InlineData("""{"sensor":"a","values":{},"unit":7}""", "unit is not a text of at most 512 bytes")]
    [InlineData("""{"sensor":"","values":{}}""", "sensor is not a name of 1 to 256 characters")]
    [InlineData("""{"sensor":"\ud800","values":{}}""", "sensor is not a name of 1 to 256 characters")]
    [InlineData("""{"sensor":"a\n","values":{}}""", "sensor is not a name of 1 to 256 characters")]
    [InlineData("""{"sensor":"a","values":{"b":1,"c":[2]}}""", "the value 'c' is a list or an object; it must be a number, a text, true, false or null")]
    [InlineData("""{"sensor":"a","values":{"b":1e999}}""", "the value 'b' is outside the range of a double")]
    [InlineData("""{"alarm":{},"sensor":"door","kind":"alarm","values":{}}""", "kind 'alarm' with a property alarm is reserved for the module; use another kind")]
    [InlineData("""{"sensor":"buffer","kind":"g\u0061p","values":{}}""", "kind 'gap' is reserved for the module; use another kind")]
    public async Task An_error_is_reported_with_its_line_or_element_and_nothing_of_the_request_is_stored(string body, string reason)
    {
        await using var intake = await IntakeFixture.OpenAsync();
        body = body.Replace("GOOD", Reading(1), StringComparison.Ordinal)
            .Replace("BAD", """{"sensor":"a","values":{"b":1},"time":"noon"}""", StringComparison.Ordinal);
        var answer = await intake.SendAsync(body);
        Assert.Equal(IntakeOutcome.Malformed, answer.Outcome);
        Assert.StartsWith(reason, answer.Reason, StringComparison.Ordinal);
        Assert.Empty(intake.Stored());
        Assert.Equal(answer.Reason, intake.Source().Reason);
        Assert.Equal(1, intake.Source().Refused[IntakeOutcome.Malformed]);
    }

    [Fact]
    public async Task A_body_that_is_not_UTF_8_is_not_accepted_as_JSON()
    {
        await using var intake = await IntakeFixture.OpenAsync();
        byte[] latin = [.. "{\"sensor\":\""u8, 0xE9, .. "\",\"values\":{}}"u8];
        Assert.Equal("it is not UTF-8", (await intake.SendAsync(latin)).Reason);
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(latin, "text/plain"));
    }

    [Fact]
    public async Task Sizes_and_counts_are_limited()
    {
        await using var intake = await IntakeFixture.OpenAsync();
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(Sized(IntakeLimits.MaxPayloadBytes)));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync($"[{Sized(IntakeLimits.MaxPayloadBytes)}]"));
        await RefusedAsync(Sized(IntakeLimits.MaxPayloadBytes + 1), "it has 262145 bytes; the limit is 262144");
        await RefusedAsync(new string('x', IntakeLimits.MaxPayloadBytes + 1), "it has 262145 bytes; the limit is 262144", "text/plain");
        var (most, larger) = (Sized(IntakeLimits.MaxItemBytes), Sized(IntakeLimits.MaxItemBytes + 1));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync($"[{most},{most},1]"));
        await RefusedAsync($"[{most},{larger}]", "element 2 (counted from 1) has 65537 bytes; the limit is 65536, or 262144 for the only item of a request");
        await RefusedAsync($"{most}\n\n{larger}\n1", "line 3 has 65537 bytes");
        await RefusedAsync($"[{string.Join(',', Enumerable.Repeat("1", IntakeLimits.MaxItems + 1))}]", "more than 10000 items");

        async Task RefusedAsync(string body, string reason, string? type = null)
        {
            var before = intake.Stored().Count;
            var answer = await intake.SendAsync(body, type);
            Assert.Equal(IntakeOutcome.TooLarge, answer.Outcome);
            Assert.StartsWith(reason, answer.Reason, StringComparison.Ordinal);
            Assert.Equal(before, intake.Stored().Count);
        }
    }

    [Fact]
    public async Task A_source_above_its_rate_is_told_when_to_retry_and_other_sources_are_not_affected()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var intake = await IntakeFixture.OpenAsync(new() { ReadingsPerSecond = 10 }, clock);
        var many = $"[{string.Join(',', Enumerable.Repeat("1", 75))}]";
        for (var i = 0; i < 2; i++) Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(many));
        var answer = await intake.SendAsync("1");
        Assert.Equal((IntakeOutcome.TooMuch, TimeSpan.FromSeconds(5)), (answer.Outcome, answer.RetryAfter));
        Assert.Equal("test sends more than 10 readings per second (Intake__ReadingsPerSecond)", answer.Reason);
        Assert.Equal(IntakeAnswer.Stored, await intake.Store.StoreAsync(intake.Store.Sources.Find("other"), "1"u8.ToArray(), null, "http", "b", Token));

        clock.Advance(answer.RetryAfter!.Value);

        // A large reading counts once per KiB.
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(Sized(100 << 10)));
        Assert.Equal(IntakeOutcome.TooMuch, (await intake.SendAsync("1")).Outcome);
        clock.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync("1"));
        Assert.Equal(2, intake.Source().Refused[IntakeOutcome.TooMuch]);
    }

    [Fact]
    public async Task While_the_buffer_is_full_requests_are_told_to_wait_and_no_reading_counts_as_evicted()
    {
        await using var intake = await IntakeFixture.OpenAsync(
            limits: BufferFixture.AtOnce with { MaxBytes = 1 << 20, WhenFull = WhenFull.RejectNew });
        var (stored, answer) = (0, IntakeAnswer.Stored);
        var random = new Random(1);
        var noise = new byte[3_000];
        while (stored < 10_000 && answer.Outcome == IntakeOutcome.Stored)
        {
            random.NextBytes(noise);
            answer = await intake.SendAsync($"\"{Convert.ToBase64String(noise)}\"");
            if (answer.Outcome == IntakeOutcome.Stored) stored++;
        }

        Assert.Equal(IntakeOutcome.Wait, answer.Outcome);
        Assert.Equal(TimeSpan.FromSeconds(5), answer.RetryAfter);
        Assert.Contains("the buffer is full", answer.Reason, StringComparison.Ordinal);
        Assert.Equal(IntakeOutcome.Wait, (await intake.SendAsync("1")).Outcome);
        Assert.Equal(stored, intake.Stored().Count);
        Assert.Empty(intake.Buffer.GetStatus().Evicted);

        await intake.Buffer.AcknowledgeAsync(1, intake.Buffer.LastCommittedId, Token);
        await Until.True(() => intake.Buffer.GetStatus().Storage == StorageState.Ok);
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync("1"));
    }

    [Fact]
    public async Task While_the_volume_is_not_writable_requests_wait_and_use_no_memory_reserved_for_sensors()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var intake = await IntakeFixture.OpenAsync(new() { ReadingsPerSecond = 0 }, clock);
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(Reading(1)));
        await using (var other = new SqliteConnection($"Data Source={intake.Directory}/telemetry.db;Pooling=False"))
        {
            other.Open();
            using var command = other.CreateCommand();
            command.CommandText = "BEGIN IMMEDIATE";
            command.ExecuteNonQuery();

            // The first request meets the fault; the wait for its commit has a timeout.
            var first = intake.SendAsync(Reading(2));
            await Until.True(() => intake.Buffer.GetStatus().Storage == StorageState.Busy);
            Assert.False(first.IsCompleted);
            clock.Advance(IntakeStore.Patience);
            Assert.Equal("it could not be written to the volume within 10 s", (await first).Reason);
            var next = await intake.SendAsync(Reading(3));
            Assert.Equal(IntakeOutcome.Wait, next.Outcome);
            Assert.StartsWith("the volume is not writable: ", next.Reason, StringComparison.Ordinal);
            Assert.Equal(1, intake.Buffer.GetStatus().InMemory);
            command.CommandText = "ROLLBACK";
            command.ExecuteNonQuery();
        }

        await Until.True(() => intake.Buffer.GetStatus().Storage == StorageState.Ok);
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(Reading(4)));

        // A request that was asked to retry may be stored nevertheless: at least once, never acknowledged and lost.
        Assert.Equal([1, 2, 4], intake.Stored().Select(text => (int)JsonNode.Parse(text)!["values"]!["number"]!));
    }

    [Fact]
    public async Task The_number_of_sources_and_sensor_names_is_limited_and_silent_sources_are_detected()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var intake = await IntakeFixture.OpenAsync(new() { ReadingsPerSecond = 0, MaxSilence = TimeSpan.FromMinutes(1) }, clock);
        for (var i = 0; i < 2 * IntakeSources.MaxSources; i++) intake.Store.Sources.Find($"http 10.0.0.{i}").Count(IntakeAnswer.Stored, 1);
        Assert.Equal(IntakeSources.MaxSources + 1, intake.Store.Sources.Status.Count);
        Assert.Equal(IntakeSources.MaxSources, intake.Source(IntakeSources.Others).Accepted);
        Assert.False(intake.Source(IntakeSources.Others).IsSilent);
        clock.Advance(TimeSpan.FromMinutes(1.1));
        intake.Store.Sources.Find("http 10.0.0.1").Count(IntakeAnswer.Stored, 1);
        Assert.True(intake.Source(IntakeSources.Others).IsSilent);
        Assert.False(intake.Source("http 10.0.0.1").IsSilent);

        var names = Enumerable.Range(0, 300).Select(i => $"s{i:000} \"\u00fc\"").ToList();
        foreach (var part in names.Chunk(100))
        {
            var readings = part.SelectMany(name => Enumerable.Repeat(new JsonObject { ["sensor"] = name, ["values"] = new JsonObject() }.ToJsonString(), 2));
            Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync($"[{string.Join(',', readings)}]"));
        }

        Assert.Equal(names.Take(IntakeSources.MaxSensors), intake.Store.Sources.Sensors);
    }
}
