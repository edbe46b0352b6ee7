using System.Text.RegularExpressions;

namespace Deployment.Tests;

/// <summary>
/// Rules that IoT Hub, the az command and edgeAgent enforce on a manifest: those of
/// azure-iot-edgeagent-deployment-1.1.json and azure-iot-edgehub-deployment-1.2.json (azure-iot-cli-extension,
/// azext_iot/assets), and the limits of twins.
/// </summary>
static partial class ManifestRules
{
    const int MaxTwinBytes = 32 * 1024;
    const int MaxTwinDepth = 10;

    static readonly string[] ModuleKeys =
        ["version", "type", "status", "restartPolicy", "imagePullPolicy", "env", "settings", "startupOrder"];
    static readonly string[] EdgeAgentKeys = ["version", "type", "imagePullPolicy", "env", "settings"];

    /// <summary>One message for each violated rule.</summary>
    public static IEnumerable<string> Violations(JsonObject manifest)
    {
        if (manifest["modulesContent"] is not JsonObject content) return ["modulesContent is missing"];
        if (content["$edgeAgent"]?["properties.desired"] is not JsonObject agent) return ["$edgeAgent has no properties.desired"];
        if (content["$edgeHub"]?["properties.desired"] is not JsonObject hub) return ["$edgeHub has no properties.desired"];
        return OnlyKeys(manifest, "the manifest", "modulesContent")
            .Concat(AgentViolations(agent))
            .Concat(HubViolations(hub, agent["modules"] as JsonObject ?? []))
            .Concat(content.Where(p => !p.Key.StartsWith('$')).SelectMany(p => TwinViolations(p.Key, p.Value, agent)));
    }

    static IEnumerable<string> AgentViolations(JsonObject agent)
    {
        foreach (var v in OnlyKeys(agent, "$edgeAgent", "schemaVersion", "runtime", "systemModules", "modules")) yield return v;
        // startupOrder requires schema version 1.1.
        if ((string?)agent["schemaVersion"] != "1.1") yield return $"$edgeAgent schemaVersion is {agent["schemaVersion"]}, not 1.1";
        if ((string?)agent["runtime"]?["type"] != "docker") yield return "runtime.type is not docker";
        if (agent["systemModules"] is not JsonObject system || system["edgeAgent"] is not JsonObject edgeAgent || system["edgeHub"] is not JsonObject edgeHub)
        {
            yield return "systemModules has no edgeAgent or no edgeHub";
            yield break;
        }

        foreach (var v in OnlyKeys(edgeAgent, "edgeAgent", EdgeAgentKeys)) yield return v;
        foreach (var v in EnvironmentViolations("edgeAgent", edgeAgent).Concat(SettingsViolations("edgeAgent", edgeAgent))) yield return v;
        foreach (var v in ModuleViolations("edgeHub", edgeHub)) yield return v;
        foreach (var (name, module) in agent["modules"] as JsonObject ?? [])
        {
            if (!ModuleName().IsMatch(name)) yield return $"'{name}' is not a valid module name";
            foreach (var v in ModuleViolations(name, module!.AsObject())) yield return v;
            // If edgeHub starts later, the module's connection attempts are refused for the first minutes.
            if (((long?)module["startupOrder"] ?? uint.MaxValue) <= ((long?)edgeHub["startupOrder"] ?? uint.MaxValue))
                yield return $"{name} starts no later than edgeHub";
        }
    }

    static IEnumerable<string> ModuleViolations(string name, JsonObject module) =>
        OnlyKeys(module, name, ModuleKeys)
            .Concat(NotIn(name, module, "type", "docker"))
            .Concat(NotIn(name, module, "status", "running", "stopped"))
            .Concat(NotIn(name, module, "restartPolicy", "never", "on-failure", "on-unhealthy", "always"))
            .Concat(module.ContainsKey("imagePullPolicy") ? NotIn(name, module, "imagePullPolicy", "on-create", "never") : [])
            .Concat((long?)module["startupOrder"] is < 0 or > uint.MaxValue ? [$"{name}: startupOrder is out of range"] : [])
            .Concat(EnvironmentViolations(name, module))
            .Concat(SettingsViolations(name, module));

    static IEnumerable<string> EnvironmentViolations(string name, JsonObject module)
    {
        foreach (var (key, entry) in module["env"] as JsonObject ?? [])
        {
            if (!EnvironmentName().IsMatch(key)) yield return $"{name}: '{key}' is not a valid variable name; use __ instead of a dot";
            if (entry is not JsonObject { Count: 1 } pair || pair["value"] is not JsonValue) yield return $"{name}: env {key} has no value";
        }
    }

    static IEnumerable<string> SettingsViolations(string name, JsonObject module)
    {
        if (module["settings"] is not JsonObject settings || string.IsNullOrEmpty((string?)settings["image"])) return [$"{name} has no image"];
        return settings.Where(p => p.Key.StartsWith("createOptions", StringComparison.Ordinal) && ((string)p.Value!).Length > 512)
            .Select(p => $"{name}: {p.Key} has more than 512 characters")
            .Concat(settings.Where(p => p.Key != "image" && !CreateOptionsKey().IsMatch(p.Key)).Select(p => $"{name}: unknown key {p.Key} in settings"))
            .Concat(settings.Where(p => Unexpanded().IsMatch(p.Value!.ToJsonString())).Select(p => $"{name}: unresolved placeholder in {p.Key}"));
    }

    static IEnumerable<string> HubViolations(JsonObject hub, JsonObject modules)
    {
        foreach (var v in OnlyKeys(hub, "$edgeHub", "schemaVersion", "routes", "storeAndForwardConfiguration")) yield return v;
        if ((string?)hub["schemaVersion"] != "1.2") yield return $"$edgeHub schemaVersion is {hub["schemaVersion"]}, not 1.2";
        foreach (var v in OnlyKeys(hub["storeAndForwardConfiguration"] as JsonObject ?? [], "storeAndForwardConfiguration", "timeToLiveSecs"))
            yield return v;
        foreach (var (name, value) in hub["routes"] as JsonObject ?? [])
        {
            if (!RouteName().IsMatch(name)) yield return $"'{name}' is not a valid route name";
            var text = value is JsonObject entry ? (string?)entry["route"] : (string?)value;
            if (value is JsonObject route)
            {
                foreach (var v in OnlyKeys(route, $"route {name}", "route", "priority", "timeToLiveSecs")) yield return v;
                if ((long?)route["priority"] is < 0 or > 9) yield return $"route {name}: priority is not 0..9";
                if ((long?)route["timeToLiveSecs"] is < 0 or > uint.MaxValue) yield return $"route {name}: timeToLiveSecs is out of range";
            }

            if (RouteText().Match(text ?? "") is not { Success: true } match) yield return $"route {name} is invalid: {text}";
            else if (match.Groups["module"] is { Success: true } module && !modules.ContainsKey(module.Value))
                yield return $"route {name} names the module {module.Value}, which is not in the manifest";
        }
    }

    static IEnumerable<string> TwinViolations(string module, JsonNode? content, JsonObject agent)
    {
        if (content?["properties.desired"] is not JsonObject desired) return [$"{module} has no properties.desired"];
        return Keys(desired).Where(key => !TwinKey().IsMatch(key)).Select(key => $"{module}: '{key}' is not a valid twin property name")
            .Concat(Depth(desired) > MaxTwinDepth ? [$"{module}: desired properties are nested more than {MaxTwinDepth} deep"] : [])
            .Concat(desired.ToJsonString().Length > MaxTwinBytes ? [$"{module}: desired properties are larger than 32 KB"] : [])
            .Concat(agent["modules"] is JsonObject modules && !modules.ContainsKey(module) ? [$"{module} has a twin but no module"] : []);
    }

    static IEnumerable<string> Keys(JsonNode? node) => node is JsonObject map
        ? map.SelectMany(p => Keys(p.Value).Prepend(p.Key))
        : [];

    static int Depth(JsonNode? node) => node is JsonObject map ? 1 + map.Select(p => Depth(p.Value)).DefaultIfEmpty().Max() : 0;

    static IEnumerable<string> OnlyKeys(JsonObject map, string where, params string[] allowed) =>
        map.Where(p => !allowed.Contains(p.Key)).Select(p => $"{where}: unknown key {p.Key}");

    static IEnumerable<string> NotIn(string name, JsonObject map, string key, params string[] allowed) =>
        allowed.Contains((string?)map[key]) ? [] : [$"{name}: {key} is '{map[key]}', not one of {string.Join(", ", allowed)}"];

    // iotedgedev accepts only \w, IoT Hub also a hyphen.
    [GeneratedRegex("^[a-zA-Z0-9][a-zA-Z0-9_]*[a-zA-Z0-9]$")]
    private static partial Regex ModuleName();

    [GeneratedRegex(@"^[^\+#$\s\.]+$")]
    private static partial Regex EnvironmentName();

    [GeneratedRegex(@"^[^\.\$# ]+$")]
    private static partial Regex RouteName();

    [GeneratedRegex(@"^[^\.\$ \x00-\x1f]{1,1024}$")]
    private static partial Regex TwinKey();

    [GeneratedRegex(@"^createOptions(0[1-9]|[1-9]\d)?$")]
    private static partial Regex CreateOptionsKey();

    [GeneratedRegex(@"\$\{\w")]
    private static partial Regex Unexpanded();

    [GeneratedRegex(@"^FROM /(\*|(messages|twinChangeNotifications|moduleLifecycleEvents)/(\*|modules/(?<module>\w+)(/outputs/[\w*]+|/\*)?))( WHERE .+)? INTO (\$upstream|BrokeredEndpoint\(""/modules/\w+/inputs/\w+""\))$")]
    private static partial Regex RouteText();
}
