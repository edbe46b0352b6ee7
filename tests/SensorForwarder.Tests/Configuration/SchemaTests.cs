using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using SensorForwarder.Configuration;
using SensorForwarder.Options;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The schema in the repository is generated from the settings table, and allows exactly the values that the parser accepts.</summary>
public sealed class SchemaTests
{
    const string SchemaFile = "settings.schema.json";
    static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    static readonly SettingsParser Parser = SettingsFixture.NewParser();

    static SchemaEvaluator Schema { get; } = new(SettingsSchema.Create());

    static Gen<T> OneOf<T>(params T[] choices) => Gen.Int[0, choices.Length - 1].Select(i => choices[i]);

    [Fact]
    public void The_settings_schema_in_the_repository_matches_the_code() =>
        WrittenFile.Check(SchemaFile, SettingsSchema.Create().ToJsonString(Indented) + "\n");

    [Fact]
    public void The_settings_of_every_deployment_template_match_the_schema()
    {
        foreach (var path in Directory.GetFiles(WrittenFile.Root, "deployment*.template.json"))
        {
            var module = JsonNode.Parse(File.ReadAllText(path))!["modulesContent"]?["SensorForwarder"];
            if (module?["properties.desired"] is { } desired) Assert.Null(Schema.Objection(desired));
        }
    }

    [Fact]
    public void The_schema_allows_exactly_the_values_that_the_parser_accepts()
    {
        var value = Gen.OneOf(
            Gen.Int[-2, 11_000].Select(n => (JsonNode?)n), Gen.Double[-1, 100_000].Select(d => (JsonNode?)d), Gen.Int.Select(n => (JsonNode?)n),
            Gen.Bool.Select(b => (JsonNode?)b), Gen.Const((JsonNode?)null), Gen.String[0, 10].Select(s => (JsonNode?)s), Gen.Int[0, 3000].Select(n => (JsonNode?)(n + 0.5)),
            OneOf(SettingsTable.All.SelectMany(setting => setting.Option.Shape is OptionShape.Choice(var names) ? names : []).ToArray()).Select(s => (JsonNode?)s));
        Gen.Select(OneOf([.. SettingsTable.All]), value).Sample((setting, node) =>
        {
            var document = new JsonObject { [setting.Key] = node?.DeepClone() };
            var parsed = Parser.Parse(document, []);
            var verdict = parsed.Verdicts.Single(verdict => verdict.Key == setting.Key);

            // A schema cannot say that a sink needs an identity or an endpoint.
            if (setting.Key == "sink" && verdict.Error?.Contains("needs", StringComparison.Ordinal) == true) return;
            var objection = Schema.Objection(JsonNode.Parse(document.ToJsonString()));
            Assert.True((verdict.Error is null) == (objection is null), $"{document.ToJsonString()}: the parser says '{verdict.Error}', the schema '{objection}'");
        }, iter: Tier.Size("TEST_SCHEMA_VALUES", quick: 4_000, full: 20_000, deep: 20_000));
    }

    [Theory]
    [InlineData("http://a", true)]
    [InlineData("HTTPS://a:8080/in?x=1#y", true)]
    [InlineData("http://[::1]:80/", true)]
    [InlineData("ftp://a/", false)]
    [InlineData("http://u:p@a/", false)]
    [InlineData("a/b", false)]
    [InlineData("", false)]
    public void Schema_and_parser_agree_on_endpoints(string url, bool isAllowed)
    {
        var document = new JsonObject { ["httpEndpoint"] = url };
        Assert.Equal(isAllowed, Schema.Objection(document) is null);
        Assert.Equal(isAllowed, Parser.Parse(document, []).Verdicts.Single(verdict => verdict.Key == "httpEndpoint").Error is null);
    }

    [Theory]
    [InlineData("""{"a":{"kind":"simulated","seed":7,"intervalSeconds":0.5,"label":"A","scale":2,"offset":{"temperature":-1}}}""", true)]
    [InlineData("""{"a":{"kind":"host","enabled":false,"samples":3},"b":null}""", true)]
    [InlineData("""{"a":{"kind":"host","tags":{"rack":"7","asset-id":"x 1"}}}""", true)]
    [InlineData("""{"a":{"kind":"host","tags":{"ra.ck":"7"}}}""", false)]
    [InlineData("""{"a":{"kind":"host","tags":{"rack":7}}}""", false)]
    [InlineData("""{"a":{"kind":"host","tags":{"rack":""}}}""", false)]
    [InlineData("""{"a":{"kind":"host","tags":["rack"]}}""", false)]
    [InlineData("""{"a":{"kind":"host","deadband":"2%"}}""", true)]
    [InlineData("""{"a":{"kind":"simulated","deadband":{"temperature":"0.5%","humidity":0.1}}}""", true)]
    [InlineData("""{"a":{"kind":"host","deadband":"2"}}""", false)]
    [InlineData("""{"a":{"kind":"host","deadband":"101%"}}""", false)]
    [InlineData("""{"a":{"kind":"host","curve":[[0,0],[1,10]]}}""", true)]
    [InlineData("""{"a":{"kind":"host","curve":{"load1":[[0,0],[1,10]]}}}""", true)]
    [InlineData("""{"a":{"kind":"host","curve":[[0,0]]}}""", false)]
    [InlineData("""{"a":{"kind":"host","curve":[[0,0],[1]]}}""", false)]
    [InlineData("""{"a":{"kind":"host","curve":[[0,0],[1,"2"]]}}""", false)]
    [InlineData("""{"a":{"kind":"host","min":0,"max":{"load1":8},"maxChangePerSecond":2}}""", true)]
    [InlineData("""{"a":{"kind":"host","seed":7}}""", false)]
    [InlineData("""{"a":{"kind":"mhz19","port":"/dev/serial/by-id/usb-x-if00","baud":9600}}""", true)]
    [InlineData("""{"a":{"kind":"mhz19","port":"/dev/../x"}}""", false)]
    [InlineData("""{"a":{"kind":"mhz19"}}""", false)]
    [InlineData("""{"a":{"kind":"modbus","connection":"tcp://10.0.0.5","values":{"v":{"address":0,"unit":"V","order":null},"w":{"address":"0x9C41"},"x":null}}}""", true)]
    [InlineData("""{"a":{"kind":"modbus","connection":"/dev/ttyUSB0","parity":"even","values":{"v":{"address":0}}}}""", true)]
    [InlineData("""{"a":{"kind":"modbus","connection":"http://a","values":{"v":{"address":0}}}}""", false)]
    [InlineData("""{"a":{"kind":"modbus","connection":"tcp://a","values":{"v":{"adress":0}}}}""", false)]
    [InlineData("""{"a":{"kind":"modbus","connection":"tcp://a","values":{"v":{"type":"int16"}}}}""", false)]
    [InlineData("""{"a":{"kind":"modbus","connection":"tcp://a","values":{"v":{"address":"0x12345"}}}}""", false)]
    [InlineData("""{"a":{"kind":"modbus","connection":"tcp://a","values":{"":{"address":0}}}}""", false)]
    [InlineData("""{"a":{"kind":"modbus","connection":"tcp://a","values":{}}}""", false)]
    [InlineData("""{"a":{"kind":"simulated","seed":"x"}}""", false)]
    [InlineData("""{"a":{"kind":"simulated","intervalSeconds":0}}""", false)]
    [InlineData("""{"a":{"kind":"thermometer"}}""", false)]
    [InlineData("""{"a":{}}""", false)]
    [InlineData("""{"a b":{"kind":"host"}}""", false)]
    [InlineData("""{"a.b":{"kind":"host"}}""", false)]
    [InlineData("""{"a":7}""", false)]
    [InlineData("[]", false)]
    [InlineData("null", true)]
    public void Schema_and_parser_agree_on_sensors(string sensors, bool isAllowed)
    {
        var document = new JsonObject { ["sensors"] = JsonNode.Parse(sensors) };
        Assert.Equal(isAllowed, Schema.Objection(document) is null);
        Assert.Equal(isAllowed, Parser.Parse(document, []).Verdicts.Single(verdict => verdict.Key == "sensors").Error is null);
    }

    [Fact]
    public void Schema_and_parser_both_report_an_unknown_key()
    {
        var document = new JsonObject { ["batchsize"] = 5 };
        Assert.NotNull(Schema.Objection(document));
        Assert.Single(Parser.Parse(document, []).UnknownKeys);
        Assert.Null(Schema.Objection(new JsonObject { ["$schema"] = SchemaFile }));
    }
}
