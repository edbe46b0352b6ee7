using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Operations.Status;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Configuration;

public sealed class PnpModelTests
{
    const string ModelFile = "modules/SensorForwarder/model/SensorForwarder.json";
    static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    static IEnumerable<JsonNode> Contents(string type) => PnpModel.Create()["contents"]!.AsArray()
        .Where(content => content!["@type"] is JsonArray types ? (string?)types[0] == type : (string?)content["@type"] == type)!;

    static IEnumerable<string> Names(string type) => Contents(type).Select(content => (string)content["name"]!);

    [Fact]
    public void The_DTDL_model_in_the_repository_matches_the_code() =>
        WrittenFile.Check(ModelFile, PnpModel.Create().ToJsonString(Indented) + "\n");

    [Fact]
    public void The_model_is_valid_DTDL() => Assert.Empty(DtdlChecker.Check(PnpModel.Create()));

    [Fact]
    public void The_id_of_the_model_is_the_one_that_the_module_announces() =>
        Assert.Equal((string?)PnpModel.Create()["@id"], BootOptions.Read(new ConfigurationBuilder().Build()).Hub.ModelId);

    [Fact]
    public void Every_setting_is_a_writable_property_and_every_method_a_command()
    {
        var writable = Contents("Property").Where(property => (bool?)property["writable"] == true).Select(property => (string)property["name"]!);
        Assert.Equal([.. SettingsTable.All.Select(setting => setting.Key), SettingsTable.SensorsKey], writable);
        Assert.Equal([TwinReport.UnknownKey, StatusReporter.Section], Names("Property").Except(writable));
        Assert.Equal(MethodTable.All.Select(method => method.Name), Names("Command"));
    }

    [Fact]
    public void Every_value_of_every_kind_is_telemetry_of_the_component_that_the_encoder_uses()
    {
        var components = Contents("Component").ToDictionary(
            component => (string)component["name"]!,
            component => component["schema"]!["contents"]!.AsArray().Select(content => (string)content!["name"]!).ToList());
        var own = Names("Telemetry").ToList();
        foreach (var kind in Module.SensorKinds.All)
        {
            var names = PnpEncoder.ComponentOf(kind.Name) is { } component ? components[component] : own;
            Assert.All([.. kind.Values.Select(value => PnpEncoder.TelemetryName(value.Name)), .. PnpEncoder.CommonNames], name => Assert.Contains(name, names));
        }

        Assert.Contains(PnpEncoder.ComponentOf("gap")!, components.Keys);
    }

    [Theory]
    [InlineData("\"@context\":\"dtmi:dtdl:context;2\"", "\"@context\":\"dtmi:dtdl:context;3\"", "@context")]
    [InlineData("dtmi:sensorforwarder:SensorForwarder;1", "dtmi:sensor-forwarder:SensorForwarder;1", "no DTMI")]
    [InlineData("dtmi:sensorforwarder:SensorForwarder;1", "dtmi:sensorforwarder:SensorForwarder", "no DTMI")]
    [InlineData("\"name\":\"batchSize\"", "\"name\":\"batch-size\"", "'batch-size' is no name")]
    [InlineData("\"name\":\"batchSize\"", "\"name\":\"_batchSize\"", "is no name")]
    [InlineData("\"name\":\"batchSize\"", "\"name\":\"a2345678901234567890123456789012345678901234567890123456789012345\"", "is no name")]
    [InlineData("\"name\":\"batchSize\"", "\"name\":\"sink\"", "\"sink\" stands twice")]
    [InlineData("\"name\":\"batchSize\"", "\"name\":\"ping\"", "\"ping\" stands twice")]
    [InlineData("\"schema\":\"integer\"", "\"schema\":\"int\"", "is none of DTDL's")]
    [InlineData("\"schema\":\"integer\"", "\"schema\":{\"@type\":\"Array\",\"elementSchema\":\"integer\"}", "is none of Enum, Object, Map")]
    [InlineData("\"unit\":\"byte\"", "\"unit\":\"bytes\"", "is none of DataSize")]
    [InlineData("[\"Property\",\"DataSize\"]", "\"Property\"", "unit without a semantic type")]
    [InlineData("\"writable\":true", "\"writable\":\"true\"", "writable is no boolean")]
    [InlineData("\"writable\":true", "\"default\":5", "'default' does not belong there")]
    [InlineData("\"enumValue\":\"iothub\"", "\"enumValue\":1", "not of the valueSchema")]
    [InlineData("\"enumValue\":\"iothub\"", "\"enumValue\":\"http\"", "stands twice")]
    [InlineData("\"schema\":\"string\"}", "\"schema\":\"integer\"}", "a Map has text as key")]
    [InlineData("\"description\":\"Where batches are sent.", "\"description\":\"WIDE", "description is longer than 512")]
    [InlineData("\"@type\":\"Command\"", "\"@type\":\"Method\"", "is none of Telemetry, Property, Command, Component")]
    public void The_DTDL_checker_finds_violations(string good, string bad, string problem)
    {
        var text = PnpModel.Create().ToJsonString(new JsonSerializerOptions { Encoder = Indented.Encoder });
        Assert.Contains(good, text, StringComparison.Ordinal);
        bad = bad.Replace("WIDE", new string('x', 513), StringComparison.Ordinal);
        var at = text.IndexOf(good, StringComparison.Ordinal);
        if (problem.Contains("Map", StringComparison.Ordinal) && good.Contains("string", StringComparison.Ordinal)) at = text.IndexOf(good, text.IndexOf("mapKey", StringComparison.Ordinal), StringComparison.Ordinal);
        var broken = JsonNode.Parse(text[..at] + bad + text[(at + good.Length)..])!.AsObject();
        Assert.Contains(DtdlChecker.Check(broken), found => found.Contains(problem, StringComparison.Ordinal));
    }
}
