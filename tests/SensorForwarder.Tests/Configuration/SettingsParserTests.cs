using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Options;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Readings;

namespace SensorForwarder.Tests.Configuration;

public sealed class SettingsParserTests
{
    static readonly SettingsParser WithHub = Parser(hasIdentity: true);

    static Gen<T> OneOf<T>(params T[] choices) => Gen.Int[0, choices.Length - 1].Select(i => choices[i]);

    static SettingsParser Parser(bool hasIdentity)
    {
        var roots = new SensorRoots("/proc", "/sys", "/tmp");
        var defaults = new Settings { Forwarding = new() { Sink = hasIdentity ? SinkKind.IotHub : SinkKind.Http } };
        return new(defaults, hasIdentity, new(Module.SensorKinds, new(roots, TimeProvider.System)), new(null, new Dictionary<string, string>()));
    }

    static ParsedSettings Parse(string document, JsonObject? lastGood = null) =>
        WithHub.Parse(JsonNode.Parse(document)!.AsObject(), lastGood ?? []);

    static SettingVerdict Verdict(ParsedSettings parsed, string key) => parsed.Verdicts.Single(v => v.Key == key);

    [Fact]
    public void An_empty_document_gives_the_defaults_and_marks_them_as_such()
    {
        var parsed = Parse("{}");
        Assert.All(parsed.Verdicts, verdict => Assert.True(verdict is { IsDefault: true, Error: null }));
        Assert.Empty(parsed.UnknownKeys);
        Assert.Equal(new ForwardingSettings { Sink = SinkKind.IotHub }, parsed.Settings.Forwarding);
        Assert.Equal(new BufferLimits(), parsed.Settings.Buffer);
        Assert.Equal("host", Assert.Single(parsed.Settings.Sensors).Value.Kind.Name);
    }

    [Fact]
    public void Every_setting_is_parsed()
    {
        var parsed = Parse(
            """
            {"sink":"http","httpEndpoint":"https://example.com/in","batchSize":7,"batchMaxBytes":2048,
             "uploadIntervalSeconds":0.5,"maxInFlightBatches":3,"compression":"gzip","drainOrder":"liveFirst",
             "httpTimeoutSeconds":90,"acceptHtml":true,
             "backfillBatchesPerMinute":30,"dailyMessageLimit":9000,"messageFormat":"pnp","tags":{"site":"north"},"aggregateSeconds":60,"commitIntervalMs":250,
             "bufferMaxMegabytes":64,"bufferKeepFreeMegabytes":100,"bufferMaxAgeHours":24,"retainForwardedHours":72,"whenFull":"dropOldest","pollIntervalSeconds":2,
             "logLevel":"Debug","statusIntervalSeconds":60,"settingsTrialMinutes":15,"sensors":{"a":{"kind":"simulated"},"b":{"kind":"host","intervalSeconds":60}},"$version":9}
            """);
        Assert.All(parsed.Verdicts, verdict => Assert.True(verdict is { IsDefault: false, Error: null }, verdict.ToString()));
        Assert.Equal(SettingsTable.All.Count + 1, parsed.Verdicts.Count);
        Assert.Empty(parsed.UnknownKeys);
        Assert.Equal(
            new ForwardingSettings
            {
                Sink = SinkKind.Http,
                HttpEndpoint = new("https://example.com/in"),
                Tags = TagsTests.Of("""{"site":"north"}"""),
                BatchSize = 7,
                BatchMaxBytes = 2048,
                UploadInterval = TimeSpan.FromSeconds(0.5),
                MaxInFlightBatches = 3,
                Compression = BatchCompression.Gzip,
                HttpTimeout = TimeSpan.FromSeconds(90),
                AcceptHtml = true,
                MessageFormat = MessageFormat.Pnp,
                DrainOrder = DrainOrder.LiveFirst,
                BackfillBatchesPerMinute = 30,
                DailyMessageLimit = 9_000,
            },
            parsed.Settings.Forwarding);
        Assert.Equal(
            new BufferLimits
            {
                CommitInterval = TimeSpan.FromMilliseconds(250),
                MaxBytes = 64L << 20,
                KeepFreeBytes = 100L << 20,
                MaxAge = TimeSpan.FromHours(24),
                RetainForwarded = TimeSpan.FromHours(72),
                WhenFull = WhenFull.DropOldest,
            },
            parsed.Settings.Buffer);
        Assert.Equal(LogLevel.Debug, parsed.Settings.LogLevel);
        Assert.Equal((TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(15)), (parsed.Settings.StatusInterval, parsed.Settings.Trial));
        Assert.Equal(TimeSpan.FromSeconds(2), parsed.Settings.Sensors["a"].Interval);
        Assert.Equal(TimeSpan.FromSeconds(60), parsed.Settings.Sensors["b"].Interval);
        Assert.Equal(TimeSpan.FromSeconds(60), parsed.Settings.Sensors["a"].Window);
    }

    [Theory]
    [InlineData("batchSize", "0", "0 is not allowed; allowed is an integer from 1 to 10000")]
    [InlineData("batchSize", "10001", "10001 is not allowed; allowed is an integer from 1 to 10000")]
    [InlineData("batchSize", "1e400", "1e400 is not allowed; allowed is an integer from 1 to 10000")]
    [InlineData("batchSize", "\"50\"", "\"50\" is text; allowed is an integer from 1 to 10000, without quotes")]
    [InlineData("batchSize", "5.5", "5.5 is not allowed; allowed is an integer from 1 to 10000")]
    [InlineData("batchSize", "[50]", "[50] is not allowed; allowed is an integer from 1 to 10000")]
    [InlineData("batchSize", "true", "true is not allowed; allowed is an integer from 1 to 10000")]
    [InlineData("sink", "\"HTTP\"", "\"HTTP\" is not allowed; allowed is one of \"iothub\", \"http\" (did you mean http?)")]
    [InlineData("httpEndpoint", "\"ftp://x/\"", "ftp://x is not allowed; allowed is an absolute http or https URL without user and password")]
    [InlineData("httpEndpoint", "\"http://u:p@x/\"", "http://x with a user or password is not allowed; allowed is an absolute http or https URL without user and password")]
    [InlineData("httpTimeoutSeconds", "0.5", "0.5 is not allowed; allowed is a number from 1 to 600")]
    [InlineData("httpTimeoutSeconds", "601", "601 is not allowed; allowed is a number from 1 to 600")]
    [InlineData("acceptHtml", "\"true\"", "\"true\" is text; allowed is true or false, without quotes")]
    [InlineData("acceptHtml", "1", "1 is not allowed; allowed is true or false")]
    [InlineData("acceptHtml", "[true]", "[true] is not allowed; allowed is true or false")]
    [InlineData("pollIntervalSeconds", "0", "0 is not allowed; allowed is a number from 0.01 to 86400")]
    public void An_invalid_value_is_refused_with_the_reason_and_the_last_good_one_is_kept(string key, string value, string error)
    {
        var good = Parse(
            """
            {"batchSize":7,"sink":"iothub","httpEndpoint":"http://a/","pollIntervalSeconds":3,
             "httpTimeoutSeconds":20,"acceptHtml":true}
            """);
        var bad = Parse($$"""{"batchSize":8,"sink":"iothub","httpEndpoint":"http://b/","pollIntervalSeconds":4,"{{key}}":{{value}}}"""
            .Replace($"\"{key}\":8,", "", StringComparison.Ordinal), good.Accepted);
        Assert.Equal(error, Verdict(bad, key).Error);
        Assert.Equal(Verdict(good, key).Value?.ToJsonString(), Verdict(bad, key).Value?.ToJsonString());
        Assert.Equal(good.Accepted[key]!.ToJsonString(), bad.Accepted[key]!.ToJsonString());
        Assert.Single(bad.Verdicts, verdict => verdict.Error is not null);
    }

    [Fact]
    public void A_null_or_absent_setting_returns_to_its_default()
    {
        var good = Parse("""{"batchSize":7,"sensors":{"a":{"kind":"simulated"}}}""");
        foreach (var document in (string[])["""{"batchSize":null,"sensors":null}""", "{}"])
        {
            var parsed = Parse(document, good.Accepted);
            Assert.Equal(50, parsed.Settings.Forwarding.BatchSize);
            Assert.Equal(["host"], parsed.Settings.Sensors.Keys);
            Assert.True(Verdict(parsed, "batchSize").IsDefault);
            Assert.Empty(parsed.Accepted);
        }
    }

    [Fact]
    public void A_number_with_a_zero_fraction_is_accepted_as_an_integer() =>
        Assert.Equal(5, Parse("""{"batchSize":5.0}""").Settings.Forwarding.BatchSize);

    [Theory]
    [InlineData("batchsize", "batchsize: there is no such setting (did you mean batchSize?)")]
    [InlineData("uploadInterval", "uploadInterval: there is no such setting (did you mean uploadIntervalSeconds?)")]
    [InlineData("colour", "colour: there is no such setting; the nearest is sink")]
    public void An_unknown_key_is_reported_with_the_closest_known_one(string key, string message) =>
        Assert.Equal(message, Assert.Single(Parse($$"""{"{{key}}":1}""").UnknownKeys));

    [Fact]
    public void Invalid_sensors_are_refused_without_affecting_the_others()
    {
        var good = Parse("""{"sensors":{"a":{"kind":"simulated","seed":1},"b":{"kind":"simulated"}}}""");
        var parsed = Parse(
            """{"sensors":{"a":{"kind":"simulated","seed":"x"},"c":{"kind":"nothing"},"d":5,"e f":{"kind":"host"},"g":{"kind":"host","intervalSeconds":0},"h":{"kind":"host"},"b":null}}""",
            good.Accepted);
        Assert.Equal(["a", "h"], parsed.Settings.Sensors.Keys.Order());
        Assert.Equal(good.Settings.Sensors["a"], parsed.Settings.Sensors["a"]);
        var error = Verdict(parsed, "sensors").Error!;
        foreach (var name in (string[])["a: seed:", "c: kind: 'nothing'", "d: 5 is not an object", "e f: a name", "g: intervalSeconds: 0 is not allowed"])
            Assert.Contains(name, error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_sink_without_its_endpoint_or_identity_is_refused()
    {
        Assert.Equal("'http' needs httpEndpoint", Verdict(Parse("""{"sink":"http"}"""), "sink").Error);
        Assert.Equal(SinkKind.IotHub, Parse("""{"sink":"http"}""").Settings.Forwarding.Sink);
        var alone = Parser(hasIdentity: false).Parse(new() { ["sink"] = "iothub" }, []);
        Assert.StartsWith("'iothub' needs an edge identity", Verdict(alone, "sink").Error, StringComparison.Ordinal);
        Assert.Equal(SinkKind.Http, alone.Settings.Forwarding.Sink);
    }

    [Fact]
    public void Any_document_gives_valid_settings_and_the_accepted_values_reproduce_them()
    {
        var keys = SettingsTable.All.Select(definition => definition.Key).Append("sensors").Append("batchsize").Append("$version").ToArray();
        var leaf = Gen.OneOf(
            Gen.Int.Select(n => (JsonNode?)n), Gen.Double.Where(double.IsFinite).Select(d => (JsonNode?)d),
            Gen.String[0, 40].Select(s => (JsonNode?)s), Gen.Bool.Select(b => (JsonNode?)b), Gen.Const((JsonNode?)null),
            Gen.Int[0, 100].Select(n => (JsonNode?)n), OneOf("http", "iothub", "gzip", "thin", "http://a/").Select(s => (JsonNode?)s));
        var sensor = Gen.Select(OneOf("host", "simulated", "x"), leaf, leaf).Select((kind, interval, seed) =>
            (JsonNode?)new JsonObject { ["kind"] = kind, ["intervalSeconds"] = interval, ["seed"] = seed });
        var map = Gen.Select(Gen.String[0, 10], Gen.OneOf(sensor, leaf)).Array[0, 5].Select(pairs =>
        {
            var entries = new JsonObject();
            foreach (var (name, entry) in pairs) entries[name] = entry?.DeepClone();
            return (JsonNode?)entries;
        });
        var document = Gen.Select(OneOf(keys), Gen.OneOf(leaf, map)).Array[0, 12].Select(pairs =>
        {
            var entries = new JsonObject();
            foreach (var (key, value) in pairs) entries[key] = value?.DeepClone();
            return entries;
        });

        Gen.Select(document, document).Sample((first, second) =>
        {
            var before = WithHub.Parse(first, []);
            var parsed = WithHub.Parse(second, before.Accepted);
            var settings = parsed.Settings;
            Assert.InRange(settings.Forwarding.BatchSize, 1, 10_000);
            Assert.InRange(settings.Forwarding.UploadInterval.TotalSeconds, 0, 86_400);
            Assert.InRange(settings.PollInterval.TotalSeconds, 0.01, 86_400);
            Assert.All(settings.Sensors.Values, sensor => Assert.InRange(sensor.Interval.TotalSeconds, 0.01, 86_400));
            foreach (var (key, value) in second)
            {
                if (value is not null && key is not "batchsize" and not "$version") Assert.False(Verdict(parsed, key).IsDefault);
            }

            var again = WithHub.Parse(parsed.Accepted, []);
            Assert.Equal(settings.Forwarding, again.Settings.Forwarding);
            Assert.Equal(settings.Buffer, again.Settings.Buffer);
            Assert.Equal(settings.Sensors.OrderBy(s => s.Key), again.Settings.Sensors.OrderBy(s => s.Key));
            Assert.All(again.Verdicts, verdict => Assert.Null(verdict.Error));
        }, iter: 5000);
    }

    [Theory]
    [InlineData("5", "5")]
    [InlineData("[{\"kind\":\"host\"}]", "[{\"kind\":\"host\"}]")]
    public void A_sensors_value_that_is_not_a_map_is_refused_and_running_sensors_are_kept(string sensors, string shown)
    {
        var good = Parse("""{"sensors":{"a":{"kind":"simulated","seed":1},"b":{"kind":"nothing"}}}""");
        var parsed = Parse($$"""{"sensors":{{sensors}}}""", good.Accepted);
        Assert.Equal(good.Settings.Sensors, parsed.Settings.Sensors);
        Assert.Equal(good.Accepted.ToJsonString(), parsed.Accepted.ToJsonString());
        var verdict = Verdict(parsed, "sensors");
        Assert.Equal($"{shown} is not a map of name to {{\"kind\":..}}", verdict.Error);
        Assert.Equal("""{"a":{"kind":"simulated","seed":1}}""", verdict.Value!.ToJsonString());
        Assert.False(verdict.IsDefault);

        var first = Parse($$"""{"sensors":{{sensors}}}""");
        Assert.Equal(["host"], first.Settings.Sensors.Keys);
        Assert.False(first.Accepted.ContainsKey("sensors"));
        Assert.Equal(verdict.Error, Verdict(first, "sensors").Error);
    }

    [Fact]
    public void A_refused_sink_falls_back_to_one_that_can_work_and_the_last_good_one_is_kept()
    {
        var refused = Parse("""{"sink":"http"}""", Parse("""{"sink":"iothub"}""").Accepted);
        Assert.Equal("iothub", (string?)refused.Accepted["sink"]);
        Assert.Equal("iothub", (string?)Verdict(refused, "sink").Value);
        var http = Parse("""{"sink":"http","httpEndpoint":"http://a/"}""");
        Assert.Null(Verdict(http, "sink").Error);
        Assert.False(Parse("""{"sink":"http"}""", http.Accepted).Accepted.ContainsKey("sink"));

        var parser = Parser(hasIdentity: false);
        var alone = parser.Parse(new() { ["sink"] = "iothub" }, parser.Parse(new() { ["sink"] = "http" }, []).Accepted);
        Assert.Equal("http", (string?)alone.Accepted["sink"]);
        Assert.Equal("http", (string?)Verdict(alone, "sink").Value);
        Assert.Null(Verdict(parser.Parse([], []), "sink").Error);
    }

    [Fact]
    public void A_rolled_back_setting_keeps_its_last_good_value_when_the_document_repeats_the_bad_one()
    {
        var good = Parse("""{"batchSize":7}""");
        var rolledBack = new RolledBack("it did not work", new() { ["batchSize"] = 8, ["logLevel"] = null });
        var parsed = WithHub.Parse(new() { ["batchSize"] = 8, ["batchMaxBytes"] = 2048 }, good.Accepted, rolledBack);
        Assert.Equal((7, 2048), (parsed.Settings.Forwarding.BatchSize, parsed.Settings.Forwarding.BatchMaxBytes));
        Assert.Equal("it did not work", Verdict(parsed, "batchSize").Error);
        Assert.Null(Verdict(parsed, "batchMaxBytes").Error);
        Assert.Equal(("it did not work", false), (Verdict(parsed, "logLevel").Error, Verdict(parsed, "logLevel").IsDefault));
    }

    [Fact]
    public void Every_numeric_setting_accepts_its_whole_range_and_nothing_outside_it()
    {
        foreach (var definition in SettingsTable.All)
        {
            var (min, max) = definition.Option.Shape switch
            {
                OptionShape.WholeNumber(var low, var high) => (low, high),
                OptionShape.Number(var low, var high) => (low, high),
                _ => (double.NaN, double.NaN),
            };
            if (double.IsNaN(min)) continue;
            foreach (var value in (double[])[min, max, min - 0.001, max + 1])
            {
                var parsed = WithHub.Parse(new() { [definition.Key] = value }, []);
                var isAllowed = value >= min && value <= max;
                Assert.Equal((definition.Key, value, isAllowed), (definition.Key, value, Verdict(parsed, definition.Key).Error is null));
                if (isAllowed) Assert.Equal(value, JsonSerializer.Deserialize<double>(definition.Get(parsed.Settings)));
            }
        }
    }

    [Theory]
    [InlineData(2048, true)]
    [InlineData(2049, false)]
    public void A_URL_above_the_length_limit_is_refused(int length, bool isAllowed)
    {
        var url = "http://a/".PadRight(length, 'x');
        var error = Verdict(Parse($$"""{"httpEndpoint":"{{url}}"}"""), "httpEndpoint").Error;
        Assert.Equal(isAllowed, error is null);
        if (!isAllowed) Assert.StartsWith("a URL of more than 2048 characters is not allowed", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Sensors_above_the_maximum_number_are_ignored()
    {
        var map = new JsonObject();
        for (var i = 0; i < 501; i++) map[$"s{i}"] = new JsonObject { ["kind"] = "simulated" };
        var parsed = WithHub.Parse(new() { ["sensors"] = map }, []);
        Assert.Equal(500, parsed.Settings.Sensors.Count);
        Assert.Equal("more than 500 sensors: the rest is ignored", Verdict(parsed, "sensors").Error);
        map.Remove("s500");
        Assert.Null(Verdict(WithHub.Parse(new() { ["sensors"] = map.DeepClone() }, []), "sensors").Error);
    }

    [Theory]
    [InlineData("a", true)]
    [InlineData("a b", false)]
    [InlineData("a.b", false)]
    [InlineData("a$b", false)]
    [InlineData("a#b", false)]
    [InlineData("a\\u0001b", false)]
    [InlineData("", false)]
    [InlineData("0123456789012345678901234567890123456789012345678901234567890123", true)]
    [InlineData("01234567890123456789012345678901234567890123456789012345678901234", false)]
    public void A_sensor_name_that_IoT_Hub_does_not_accept_is_refused(string name, bool isAllowed)
    {
        var parsed = Parse($$"""{"sensors":{"{{name}}":{"kind":"simulated"} } }""");
        Assert.Equal(isAllowed, Verdict(parsed, "sensors").Error is null);
        Assert.Equal(isAllowed ? 1 : 0, parsed.Settings.Sensors.Count);
    }

    [Fact]
    public void An_invalid_sensor_does_not_fall_back_to_an_address_that_another_sensor_now_uses()
    {
        var good = Parse("""{"sensors":{"a":{"kind":"sht3x"}}}""");
        var parsed = Parse("""{"sensors":{"b":{"kind":"sht3x"},"a":{"kind":"sht3x","address":1}}}""", good.Accepted);
        Assert.Equal(["b"], parsed.Settings.Sensors.Keys);
        Assert.StartsWith("a: address: ", Verdict(parsed, "sensors").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void The_errors_of_all_invalid_sensors_are_reported() => Assert.Equal(
        "a: 5 is not an object such as {\"kind\":\"host\"}; b: true is not an object such as {\"kind\":\"host\"}",
        Verdict(Parse("""{"sensors":{"a":5,"b":true}}"""), "sensors").Error);

    [Fact]
    public void A_note_reports_that_an_endpoint_does_not_get_the_secrets()
    {
        var http = new HttpSinkOptions("Bearer key", new Dictionary<string, string>()) { SecretsFor = ["http://a"] };
        var parser = new SettingsParser(
            new(), true, new(Module.SensorKinds, new(new("/proc", "/sys", "/tmp"), TimeProvider.System)), http);
        SettingVerdict Of(string url, string key) =>
            Verdict(parser.Parse(new() { ["httpEndpoint"] = url }, []), key);
        Assert.NotNull(Of("http://b/", "httpEndpoint").Note);
        Assert.Null(Of("http://a/", "httpEndpoint").Note);
        Assert.Null(Of("http://b/", "batchSize").Note);
    }
}
