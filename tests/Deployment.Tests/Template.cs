using System.Text.RegularExpressions;

namespace Deployment.Tests;

/// <summary>
/// Expands a template as <c>iotedgedev genconfig</c> does (iotedgedev/modules.py, utility.py, deploymentmanifest.py):
/// module images, environment variables, and createOptions as strings of at most 512 characters.
/// </summary>
static partial class Template
{
    const int MaxPieceChars = 512;

    /// <summary>iotedgedev fails with more than 8 pieces.</summary>
    const int MaxPieces = 8;

    /// <param name="text">The template.</param>
    /// <param name="platform">As in module.json: <c>amd64</c>, <c>arm64v8</c>, <c>arm32v7</c>.</param>
    /// <param name="environment">The variables of <c>.env</c>.</param>
    public static JsonObject Expand(string text, string platform, IReadOnlyDictionary<string, string> environment)
    {
        var withImages = ModulePlaceholder().Replace(text, match => Image(match, platform, environment));
        var manifest = JsonNode.Parse(ExpandVariables(withImages, environment))!.AsObject();
        manifest.Remove("$schema-template");
        foreach (var settings in Settings(manifest).ToList()) SplitCreateOptions(settings);
        return manifest;
    }

    /// <summary>Expands variables like Python's os.path.expandvars: unknown names stay unchanged.</summary>
    public static string ExpandVariables(string text, IReadOnlyDictionary<string, string> environment) =>
        Variable().Replace(text, match => environment.GetValueOrDefault(match.Groups["name"].Value, match.Value));

    /// <summary>Joins the pieces of createOptions, as edgeAgent and iotedgehubdev do.</summary>
    public static JsonObject JoinCreateOptions(JsonObject settings)
    {
        var pieces = settings.Where(p => p.Key.StartsWith("createOptions", StringComparison.Ordinal)).OrderBy(p => p.Key, StringComparer.Ordinal);
        var joined = string.Concat(pieces.Select(p => (string)p.Value!));
        return joined.Length == 0 ? [] : JsonNode.Parse(joined)!.AsObject();
    }

    static string Image(Match match, string platform, IReadOnlyDictionary<string, string> environment)
    {
        var folder = match.Groups["folder"].Value;
        var wanted = match.Groups["variant"].Success ? $"{platform}.{match.Groups["variant"].Value}" : platform;
        var image = Repository.ReadJson($"modules/{folder}/module.json")["image"]!;
        Assert.True(image["tag"]!["platforms"]!.AsObject().ContainsKey(wanted), $"module.json of {folder} has no platform {wanted}");
        var repository = ExpandVariables((string)image["repository"]!, environment).ToLowerInvariant();
        return $"{repository}:{image["tag"]!["version"]}-{wanted}";
    }

    static IEnumerable<JsonObject> Settings(JsonObject manifest)
    {
        if ((manifest["modulesContent"]?["$edgeAgent"]?["properties.desired"]) is not JsonObject agent) return [];
        return agent["systemModules"]!.AsObject().Concat(agent["modules"]!.AsObject()).Select(module => module.Value!["settings"]!.AsObject());
    }

    static void SplitCreateOptions(JsonObject settings)
    {
        var text = settings["createOptions"]!.ToJsonString();
        var pieces = text.Chunk(MaxPieceChars).Select(piece => new string(piece)).ToList();
        Assert.True(pieces.Count <= MaxPieces, $"createOptions has {text.Length} characters; the limit is {MaxPieces * MaxPieceChars}");
        settings.Remove("createOptions");
        for (var i = 0; i < pieces.Count; i++) settings[i == 0 ? "createOptions" : $"createOptions{i:00}"] = pieces[i];
    }

    [GeneratedRegex(@"\$\{MODULES\.(?<folder>\w+)(\.(?<variant>\w+))?\}")]
    private static partial Regex ModulePlaceholder();

    [GeneratedRegex(@"\$(\{(?<name>\w+)\}|(?<name>\w+))")]
    private static partial Regex Variable();
}
