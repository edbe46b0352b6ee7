using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Operations.Status;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Configuration;

/// <summary>Generates the DTDL v2 model of the module: settings as writable properties, direct methods as commands, the values of the
/// kinds of sensors as telemetry, and components where <see cref="PnpEncoder"/> sends them.</summary>
internal static class PnpModel
{
    const int MaxTextLength = 512;

    static readonly Dictionary<string, (string Type, string Unit)> Units = new()
    {
        ["degrees Celsius"] = ("Temperature", "degreeCelsius"),
        ["hPa"] = ("Pressure", "millibar"),
        ["lx"] = ("Illuminance", "lux"),
        ["V"] = ("Voltage", "volt"),
        ["A"] = ("Current", "ampere"),
        ["W"] = ("Power", "watt"),
        ["m"] = ("Distance", "metre"),
        ["bytes"] = ("DataSize", "byte"),
        ["seconds"] = ("TimeSpan", "second"),
    };

    // The properties of the status section; StatusTests compares them with the status.
    static readonly (string Name, JsonNode Schema)[] StatusFields =
    [
        ("version", "string"), ("uptimeSeconds", "long"), ("epoch", "string"), ("lastCommittedId", "long"), ("queueDepth", "long"),
        ("oldestAgeSeconds", "double"), ("bufferBytes", "long"), ("deadLetters", "long"), ("storage", "string"), ("storageReason", "string"),
        ("clock", "string"), ("sink", "string"), ("paused", "boolean"), ("batchesAccepted", "long"), ("readingsAccepted", "long"),
        ("sendFailures", "long"), ("lastSuccess", "dateTime"), ("lastError", "string"), ("settingsFileError", "string"),
        ("sensorsLeftOut", "integer"),
        ("evicted", MapOf("reason", "count", "long")),
        ("salvage", ObjectOf(
            ("at", "dateTime"), ("reason", "string"), ("readings", "long"), ("missing", "long"), ("complete", "boolean"), ("keptAs", "string"))),
        ("sensorStates", MapOf("state", "count", "integer")),
        ("forecast", ObjectOf(("fullInSeconds", "double"), ("drainedInSeconds", "double"))),
        ("quota", ObjectOf(
            ("messagesToday", "long"), ("dailyMessageLimit", "long"), ("heldBackUntil", "dateTime"), ("isOnlyBacklogHeldBack", "boolean"))),
        ("upstream", ObjectOf(
            ("heldSince", "dateTime"), ("messages", "long"), ("handedOver", "long"), ("handedOverSince", "dateTime"),
            ("lostMessages", "long"), ("returnedReadings", "long"), ("outputsWithoutRoute", "string"))),
        ("link", ObjectOf(
            ("state", "string"), ("since", "dateTime"), ("custody", "string"), ("delivered", "long"), ("lastError", "string"), ("lastErrorAt", "dateTime"),
            ("stuckBatch", ObjectOf(("id", "string"), ("answer", "string"), ("since", "dateTime"), ("attempts", "long"))))),
        ("lanes", ObjectOf(("live", Lane()), ("backfill", Lane()))),
        ("hub", ObjectOf(("state", "string"), ("since", "dateTime"), ("reconnects", "long"), ("lastError", "string"))),
        ("sensors", MapOf("sensor", "health", ObjectOf(
            ("kind", "string"), ("state", "string"), ("reason", "string"), ("detail", "string"), ("readings", "long"), ("failures", "long"), ("missed", "long")))),
    ];

    // Left out, since DTDL allows at most 30 fields in an Object.
    static readonly string[] NotModelled = ["intake"];

    public static JsonObject Create()
    {
        var contents = new JsonArray();
        foreach (var setting in SettingsTable.All) contents.Add(Property(setting));
        contents.Add(Content("Property", SettingsTable.SensorsKey, "The sensors, by name; JSON has more options of each kind.", SensorsMap(), writable: true));
        contents.Add(Content("Property", TwinReport.UnknownKey, "Desired properties that are not settings of the module.", "string"));
        contents.Add(Content("Property", StatusReporter.Section, "The status of the module.", ObjectOf(StatusFields)));
        foreach (var telemetry in CommonTelemetry()) contents.Add(telemetry);
        contents.Add(Content("Telemetry", PnpEncoder.AlarmName, "The state of an alarm of the sensor, and what it watches for.", "string"));
        foreach (var value in Values(component: null)) contents.Add(Telemetry(value));
        foreach (var method in MethodTable.All) contents.Add(Command(method));
        contents.Add(Component("host", "Host", "The machine itself.", Values("host").Select(Telemetry)));
        contents.Add(Component("buffer", "Buffer", "Readings that the buffer evicted.",
        [
            Content("Telemetry", "count", "Number of evicted readings.", "long"),
            Content("Telemetry", "firstId", "The first id among them.", "long"),
            Content("Telemetry", "lastId", "The last id among them.", "long"),
        ]));
        return new JsonObject
        {
            ["@context"] = "dtmi:dtdl:context;2",
            ["@id"] = BootOptions.ModelId,
            ["@type"] = "Interface",
            ["displayName"] = "SensorForwarder",
            ["description"] = "Reads sensors, stores every reading in SQLite, and forwards it when there is a network. Messages have this form with messageFormat pnp.",
            ["contents"] = contents,
        };
    }

    /// <summary>The allowed names in the status section.</summary>
    public static IEnumerable<string> StatusNames => StatusFields.Select(part => part.Name).Concat(NotModelled);

    static JsonObject Lane() => ObjectOf(
        ("waiting", "long"), ("oldestAgeSeconds", "double"), ("inFlightBatches", "integer"), ("inFlightReadings", "integer"), ("batchesAccepted", "long"), ("lastAccepted", "dateTime"));

    static JsonObject Property(SettingDefinition setting)
    {
        JsonNode schema = setting.Option.Shape switch
        {
            OptionShape.WholeNumber => "integer",
            OptionShape.Number => "double",
            OptionShape.HttpUrl => "string",
            OptionShape.Flag => "boolean",
            OptionShape.Choice(var names) => EnumOf(names),
            OptionShape.Tags => MapOf("name", "text", "string"),
            _ => throw new System.Diagnostics.UnreachableException(),
        };
        var property = Content("Property", setting.Key, $"{setting.Option.Text} Allowed: {DocumentationTests.Allowed(setting.Option.Shape)}.", schema, writable: true);
        var type = setting.Option.Unit switch
        {
            "byte" or "mebibyte" => "DataSize",
            null => null,
            _ => "TimeSpan",
        };
        if (type is null) return property;
        property["@type"] = new JsonArray("Property", type);
        property["unit"] = setting.Option.Unit;
        return property;
    }

    static IEnumerable<SensorValue> Values(string? component) => Module.SensorKinds.All
        .Where(kind => PnpEncoder.ComponentOf(kind.Name) == component)
        .SelectMany(kind => kind.Values)
        .DistinctBy(value => value.Name);

    static JsonObject Telemetry(SensorValue value)
    {
        var telemetry = Content("Telemetry", PnpEncoder.TelemetryName(value.Name), $"In {value.Unit}.", "double");
        var (type, unit) = value is { Unit: "percent", Name: "humidity" } ? ("RelativeHumidity", "percent") : Units.GetValueOrDefault(value.Unit);
        if (type is null) return telemetry;
        telemetry["@type"] = new JsonArray("Telemetry", type);
        telemetry["unit"] = unit;
        telemetry.Remove("description");
        return telemetry;
    }

    /// <summary>The telemetry in every message.</summary>
    static JsonObject[] CommonTelemetry() => [.. PnpEncoder.CommonNames.Select(name => name switch
    {
        "sensor" => Content("Telemetry", name, "The sensor that says it.", "string"),
        "time" => Content("Telemetry", name, "When it was measured.", "dateTime"),
        "timeQuality" => Content("Telemetry", name, "Sent when the device did not know the time.", EnumOf(["unsynchronized"])),
        "unit" => Content("Telemetry", name, "The unit of the values, where the sensor names one.", "string"),
        "quality" => Content("Telemetry", name, "How far it can be trusted.", EnumOf(["good", "uncertain", "bad"])),
        "reason" => Content("Telemetry", name, "Why the quality is not good.", "string"),
        "label" => Content("Telemetry", name, "The sensor's display name.", "string"),
        _ => throw new InvalidOperationException($"{name}: say what it is"),
    })];

    static JsonObject Component(string name, string type, string text, IEnumerable<JsonObject> telemetry)
    {
        var (path, version) = (BootOptions.ModelId[..BootOptions.ModelId.LastIndexOf(';')], BootOptions.ModelId[BootOptions.ModelId.LastIndexOf(';')..]);
        return Content("Component", name, text, new JsonObject
        {
            ["@id"] = $"{path}:{type}{version}",
            ["@type"] = "Interface",
            ["contents"] = new JsonArray([.. CommonTelemetry(), .. telemetry]),
        });
    }

    static JsonObject Command(MethodDefinition method)
    {
        var command = new JsonObject { ["@type"] = "Command", ["name"] = method.Name, ["displayName"] = Display(method.Name), ["description"] = method.Text };
        if (method.Name == "validateSettings")
        {
            command["request"] = Payload("patch", ObjectOf(
                [.. SettingsTable.All.Select(setting => (setting.Key, Property(setting)["schema"]!.DeepClone())), (SettingsTable.SensorsKey, SensorsMap())]));
        }
        else if (method.Parameters.Count > 0)
        {
            command["request"] = Payload("options", ObjectOf([.. method.Parameters.Select(parameter => (parameter.Name, (JsonNode)Primitive(parameter.Shape)!))]));
        }

        // Structured answers differ from call to call; DTDL cannot describe them.
        if (!method.Answer.Contains("..", StringComparison.Ordinal) && JsonNode.Parse(method.Answer) is JsonObject { Count: > 0 } answer
            && answer.All(pair => pair.Value is JsonValue))
        {
            command["response"] = Payload("answer", ObjectOf([.. answer.Select(pair => (pair.Key, (JsonNode)Primitive(pair.Value!)))]));
        }

        return command;
    }

    static string Primitive(JsonNode value) => value.GetValueKind() switch
    {
        JsonValueKind.True or JsonValueKind.False => "boolean",
        JsonValueKind.String => "string",
        _ => value.ToJsonString().Contains('.', StringComparison.Ordinal) ? "double" : "long",
    };

    /// <summary>The common options of all kinds, as far as DTDL can describe them.</summary>
    static JsonObject SensorsMap() => MapOf("sensor", "settings", ObjectOf(
    [
        ("kind", EnumOf(Module.SensorKinds.Names)),
        .. CommonOptions.All.Select(option => (option.Name, Schema: Primitive(option.Shape))).Where(option => option.Schema is not null)
            .Select(option => (option.Name, (JsonNode)option.Schema!)),
    ]));

    static string? Primitive(OptionShape shape) => shape switch
    {
        OptionShape.Flag => "boolean",
        OptionShape.WholeNumber { Max: > int.MaxValue } => "long",
        OptionShape.WholeNumber => "integer",
        OptionShape.Number or OptionShape.NumberByValue or OptionShape.BandByValue => "double",
        OptionShape.Moment => "dateTime",
        OptionShape.Text or OptionShape.Texts => "string",
        _ => null,
    };

    static JsonObject Content(string type, string name, string text, JsonNode schema, bool writable = false)
    {
        var content = new JsonObject
        {
            ["@type"] = type,
            ["name"] = name,
            ["displayName"] = Display(name),
            ["description"] = text.Length <= MaxTextLength ? text : text[..(MaxTextLength - 3)] + "...",
            ["schema"] = schema,
        };
        if (writable) content["writable"] = true;
        return content;
    }

    static JsonObject Payload(string name, JsonNode schema) => new() { ["name"] = name, ["schema"] = schema };

    static JsonObject EnumOf(IEnumerable<string> names) => new()
    {
        ["@type"] = "Enum",
        ["valueSchema"] = "string",
        ["enumValues"] = new JsonArray([.. names.Select(name => (JsonNode)new JsonObject { ["name"] = name, ["enumValue"] = name })]),
    };

    static JsonObject ObjectOf(params IEnumerable<(string Name, JsonNode Schema)> fields) => new()
    {
        ["@type"] = "Object",
        ["fields"] = new JsonArray([.. fields.Select(field => (JsonNode)new JsonObject { ["name"] = field.Name, ["schema"] = field.Schema.DeepClone() })]),
    };

    static JsonObject MapOf(string key, string value, JsonNode schema) => new()
    {
        ["@type"] = "Map",
        ["mapKey"] = new JsonObject { ["name"] = key, ["schema"] = "string" },
        ["mapValue"] = new JsonObject { ["name"] = value, ["schema"] = schema },
    };

    /// <summary>batchMaxBytes: Batch max bytes.</summary>
    static string Display(string name) => string.Concat(name.Select((c, i) =>
        i == 0 ? $"{char.ToUpperInvariant(c)}" : char.IsUpper(c) && char.IsLower(name[i - 1]) ? $" {char.ToLowerInvariant(c)}" : $"{c}"));
}
