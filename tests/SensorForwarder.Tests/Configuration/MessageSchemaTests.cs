using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Accounting;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Intake;
using SensorForwarder.Tests.Readings;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The schemas in <c>docs/schemas</c> allow exactly the messages that the module sends.</summary>
public sealed class MessageSchemaTests
{
    const string ReadingFile = "docs/schemas/reading.schema.json";
    const string Epoch = "01936a7e-8f00-7abc-8def-0123456789ab";

    static readonly MessageSchemas Schemas = new();

    static readonly AlarmReport Report = new("a above 30 for 60 s", AlarmReport.Raised, "warning", "above", BufferFixture.Noon)
    {
        Value = "a",
        Threshold = 30,
        Reason = "io",
    };

    // Every property has a value that is written. A new property of Reading must be added here.
    static readonly Reading Full = new()
    {
        Sensor = "attic",
        Kind = "simulated",
        Label = "Attic <north>",
        Unit = "m3/h",
        Units = [new("a", "m3/h")],
        Time = BufferFixture.Noon,
        Quality = ReadingQuality.Uncertain,
        Reason = "range",
        Values = [new("a", 21.43), new("b", double.NaN)],
        Tags = TagsTests.Of("""{"rack":"7"}"""),
        Aggregate = new(60, 12, [new("a", new(12, 21, 22, 21.5))]) { Uncertain = 1, Bad = 2, IsPartial = true },
        Alarm = Report,
    };

    static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    [Fact]
    public void The_kinds_in_the_schema_match_the_code()
    {
        var schema = JsonNode.Parse(WrittenFile.Read(ReadingFile))!;
        schema["$defs"]!["kind"]!["enum"] = new JsonArray([.. Module.SensorKinds.Names.Select(name => (JsonNode)name)]);
        WrittenFile.Check(ReadingFile, schema.ToJsonString(Indented) + "\n");
    }

    [Fact]
    public void Every_property_that_the_encoder_can_write_is_in_the_schema()
    {
        foreach (var property in typeof(Reading).GetProperties())
        {
            var value = property.GetValue(Full);
            Assert.True(
                value is not null && !Equals(value, Tags.None) && !(value is Enum && Convert.ToInt32(value, null) == 0) && value is not System.Collections.ICollection { Count: 0 },
                $"the test sets no {property.Name}");
        }

        var reading = Full with { Alarm = null };
        var json = Encode(reading);
        var allowed = JsonNode.Parse(WrittenFile.Read(ReadingFile))!["properties"]!.AsObject().Select(property => property.Key);
        Assert.Equal(allowed.Except(["timeQuality"]).Order(), JsonNode.Parse(json)!.AsObject().Select(property => property.Key).Order());
        Assert.Null(Objection(json));
        foreach (var kind in Module.SensorKinds.Names) Assert.Null(Objection(Encode(reading with { Kind = kind })));
        Assert.Null(Objection(Encode(reading with { Label = null, Unit = null, Units = [], Tags = Tags.None, Aggregate = null, Quality = ReadingQuality.Good, Reason = null })));
        Assert.Null(Objection(Encode(reading with { Quality = ReadingQuality.Bad, Reason = "io", Values = [], Units = [] })));
        Assert.Null(Objection(json.Replace(",\"quality\"", ",\"timeQuality\":\"unsynchronized\",\"quality\"", StringComparison.Ordinal)));
    }

    [Fact]
    public void An_alarm_report_matches_the_schema_and_survives_a_round_trip()
    {
        var reading = Full with { Kind = AlarmReport.Kind, Unit = null, Units = [], Aggregate = null, Quality = ReadingQuality.Good, Reason = null };
        AlarmReport[] reports =
        [
            Report,
            Report with { State = AlarmReport.Cleared, Reason = null },
            Report with { State = AlarmReport.Removed, Condition = "bad", Value = null, Threshold = null, Severity = "critical" },
        ];
        foreach (var report in reports)
        {
            var json = Encode(reading with { Alarm = report });
            Assert.Null(Objection(json));
            Assert.Null(PnpObjection(json));
            Assert.True(AlarmReport.IsIn(Encoding.UTF8.GetBytes(json)));
            Assert.Equal(report, AlarmReport.Read(JsonDocument.Parse(json).RootElement.GetProperty("alarm")));
        }

        Assert.False(AlarmReport.IsIn(Encoding.UTF8.GetBytes(Encode(reading with { Kind = "alarms" }))));
        Assert.NotNull(Objection(Encode(reading with { Alarm = Report with { State = "open" } })));
        Assert.NotNull(Objection(Encode(reading with { Alarm = Report, Quality = ReadingQuality.Bad })));

        // Another program may send this kind in readings that are not alarm reports.
        const string Pushed = "{\"sensor\":\"door\",\"kind\":\"alarm\",\"time\":\"2026-11-24T12:00:00.000Z\",\"quality\":\"good\",\"values\":{\"on\":true},\"of\":{\"alarm\":{}}}";
        Assert.Null(Objection(Pushed));
        Assert.False(AlarmReport.IsIn(Encoding.UTF8.GetBytes(Pushed))); // so it is thinned like other readings
    }

    // LimitTests and DirectMethodTests validate entries and dead letters that the module wrote.
    [Fact]
    public void The_reasons_of_gap_entries_match_those_of_the_buffer()
    {
        var schema = JsonNode.Parse(WrittenFile.Read("docs/schemas/gap.schema.json"))!;
        var reasons = typeof(EvictionLedger).GetFields(BindingFlags.Public | BindingFlags.Static)
            .Where(field => field.IsLiteral).Select(field => (string)field.GetRawConstantValue()!);
        Assert.Equal(reasons, schema["$defs"]!["reason"]!["enum"]!.AsArray().Select(reason => (string)reason!));
    }

    [Fact]
    public async Task Readings_from_other_programs_match_the_schema()
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        await intake.SendAsync("""{"sensor":"meter","kind":"power","label":"a","unit":"kWh","quality":"uncertain","reason":"r","values":{"total":1204.7,"tariff":"night","on":true,"n":null},"tags":{"rack":"7"},"own":[1]}""");
        await intake.SendAsync("""{"event":"pressed"}""");
        await intake.SendAsync("[1,2]");
        await intake.SendAsync([0xFF, 0x00], "image/jpeg");
        await intake.SendLinesAsync("weather,place=attic temperature=21.4,door=\"open\",n=3i,ok=true");
        var stored = intake.Stored();
        Assert.Equal(6, stored.Count);
        Assert.All(stored, json => Assert.Null(Objection(json)));
        Assert.All(stored, json => Assert.Null(PnpObjection(json)));
        Assert.Contains("\"tags\":{\"rack\":\"7\"}", stored[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"sensor":"a","kind":"simulated","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{},"new":1}""", "/batch/0/data/new")]
    [InlineData("""{"sensor":"a","kind":"simulated","time":"2026-11-24T12:00:00Z","quality":"good","values":{}}""", "/batch/0/data/time")]
    [InlineData("""{"sensor":"a","kind":"simulated","time":"2026-11-24T12:00:00.000Z","quality":"fine","reason":"x","values":{}}""", "/batch/0/data/quality")]
    [InlineData("""{"sensor":"a","kind":"simulated","time":"2026-11-24T12:00:00.000Z","quality":"bad","values":{}}""", "/batch/0/data")]
    [InlineData("""{"sensor":"a","kind":"simulated","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{"x/y":"text"}}""", "/batch/0/data/values/x~1y")]
    [InlineData("""{"sensor":"a","kind":"mine","time":"2026-11-24T12:00:00.000Z","quality":"good"}""", "/batch/0/data")]
    [InlineData("""{"sensor":"buffer","kind":"gap","time":"2026-11-24T12:00:00.000Z","quality":"good","reason":"lost","values":{"count":1}}""", "/batch/0/data/reason")]
    public void A_schema_violation_is_reported_with_its_location(string data, string place)
    {
        var objection = Objection(data);
        Assert.StartsWith(place + ":", objection, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"device":"d","module":"m","epoch":"e","batch":[]}""")]
    [InlineData("""{"device":"d","module":"m","batch":[]}""")]
    [InlineData("""{"sensor":"a","time":"2026-11-24T12:00:00.000Z","quality":"good","level":"high"}""")]
    [InlineData("[]")]
    [InlineData("{")]
    public void A_body_that_is_not_a_message_of_the_module_violates_the_schema(string body) => Assert.NotNull(Schemas.Objection(Encoding.UTF8.GetBytes(body)));

    static string Encode(Reading reading) => Encoding.UTF8.GetString(ReadingEncoder.Encode(reading));

    /// <summary>The objection to a batch with this reading, as the module's encoder writes it.</summary>
    internal static string? Objection(string data) => Schemas.Objection(
        new BatchEncoder("pi-7", "SensorForwarder").Encode([Buffered(data)], int.MaxValue).Body);

    internal static string? PnpObjection(string data) => Schemas.Objection(PnpEncoder.Encode(Buffered(data))!.Body);

    static BufferedReading Buffered(string data) => new(1, BufferFixture.Noon, Encoding.UTF8.GetBytes(data)) { Epoch = Epoch };
}
