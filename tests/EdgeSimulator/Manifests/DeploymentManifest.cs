using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Manifests;

/// <summary>
/// One module's environment and desired properties, and edgeHub's routes, from a deployment manifest. Reads templates
/// (createOptions as objects, ${NAME} as environment variables) and generated manifests (createOptions as strings in
/// pieces). Layered deployments may override parts.
/// </summary>
internal sealed record DeploymentManifest(
    string ModuleId, IReadOnlyList<KeyValuePair<string, string>> Environment, JsonObject Desired, RoutingTable Routes)
{
    const string Properties = "properties.desired";

    static readonly JsonDocumentOptions Lenient = new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true };

    /// <param name="texts">The texts of the deployment and its layers, lowest priority first.</param>
    /// <param name="moduleId">The module. Null: the default module if the manifest has it, otherwise its only
    /// module.</param>
    /// <param name="defaultId">The default module's id.</param>
    /// <exception cref="FormatException">The manifest is invalid; the message is one line.</exception>
    public static DeploymentManifest Parse(IEnumerable<string> texts, string? moduleId, string defaultId)
    {
        var sections = new Dictionary<string, JsonObject>(StringComparer.Ordinal);
        foreach (var text in texts)
        {
            AddLayer(Content(text), sections);
        }

        var modules = At(sections.GetValueOrDefault("$edgeAgent"), "modules") as JsonObject
            ?? throw new FormatException($"there is no $edgeAgent.{Properties}.modules");
        var id = Choose(modules, moduleId, defaultId);
        return new DeploymentManifest(
            id, Variables(modules[id]), sections.GetValueOrDefault(id) ?? [], ParseRoutes(sections.GetValueOrDefault("$edgeHub")));
    }

    static JsonObject Content(string text)
    {
        try
        {
            var root = JsonNode.Parse(text, documentOptions: Lenient);
            return (At(root, "modulesContent") ?? At(root, "moduleContent") ?? At(root, "content", "modulesContent")) as JsonObject
                ?? throw new FormatException("there is no 'modulesContent'");
        }
        catch (JsonException exception)
        {
            throw new FormatException($"the manifest is not JSON: {exception.Message}", exception);
        }
    }

    /// <summary>Applies the desired properties of each section on top of the layers below: <c>properties.desired</c>
    /// replaces all of them, <c>properties.desired.PATH</c> (in layered deployments) replaces the value at the
    /// path.</summary>
    static void AddLayer(JsonObject content, Dictionary<string, JsonObject> sections)
    {
        foreach (var (section, properties) in content)
        {
            foreach (var (key, value) in properties as JsonObject ?? [])
            {
                if (key == Properties)
                {
                    sections[section] = value?.DeepClone() as JsonObject
                        ?? throw new FormatException($"{section}: {key} is not an object");
                }
                else if (key.StartsWith(Properties + ".", StringComparison.Ordinal))
                {
                    sections.TryAdd(section, []);
                    Set(sections[section], key[(Properties.Length + 1)..].Split('.'), value?.DeepClone());
                }
                else
                {
                    throw new FormatException($"{section}: '{key}' is neither {Properties} nor {Properties}.PATH");
                }
            }
        }
    }

    static void Set(JsonObject document, ReadOnlySpan<string> path, JsonNode? value)
    {
        foreach (var name in path[..^1])
        {
            if (document[name] is not JsonObject inner)
            {
                document[name] = inner = [];
            }

            document = inner;
        }

        document[path[^1]] = value;
    }

    static string Choose(JsonObject modules, string? wanted, string defaultId)
    {
        var names = modules.Select(module => module.Key).ToList();
        if (wanted is null)
        {
            return names.Contains(defaultId) ? defaultId
                : names.Count == 1 ? names[0]
                : throw new FormatException($"select one module with --module-id: {string.Join(", ", names)}");
        }

        return names.Contains(wanted) ? wanted
            : throw new FormatException($"there is no module '{wanted}', only {string.Join(", ", names)}");
    }

    /// <summary>The variables of createOptions.Env and of env. env takes precedence, as in edgeAgent.</summary>
    static List<KeyValuePair<string, string>> Variables(JsonNode? module)
    {
        var variables = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var item in At(CreateOptions(At(module, "settings")), "Env") as JsonArray ?? [])
        {
            var (name, value) = Split(Text(item));
            variables[name] = value;
        }

        foreach (var (name, entry) in At(module, "env") as JsonObject ?? [])
        {
            variables[name] = Text(At(entry, "value"));
        }

        return [.. variables.Select(variable => new KeyValuePair<string, string>(variable.Key, Expanded(variable.Value)))];
    }

    static JsonNode? CreateOptions(JsonNode? settings)
    {
        if (At(settings, "createOptions") is not JsonValue first)
        {
            return At(settings, "createOptions");
        }

        // createOptions of more than 512 characters continue in createOptions01, createOptions02...
        var text = Text(first);
        for (var piece = 1; At(settings, $"createOptions{piece:00}") is { } next; piece++)
        {
            text += Text(next);
        }

        try
        {
            return text.Length == 0 ? null : JsonNode.Parse(text);
        }
        catch (JsonException exception)
        {
            throw new FormatException($"createOptions is not JSON: {exception.Message}", exception);
        }
    }

    static RoutingTable ParseRoutes(JsonNode? hub)
    {
        var timeToLive = Seconds(At(hub, "storeAndForwardConfiguration", "timeToLiveSecs"));
        var routes = new List<Route>();
        foreach (var (name, entry) in At(hub, "routes") as JsonObject ?? [])
        {
            var text = Text(entry is JsonObject ? At(entry, "route") : entry);
            routes.Add(Route.Parse(name, text, Priority(name, At(entry, "priority")), Seconds(At(entry, "timeToLiveSecs")) ?? timeToLive));
        }

        return new RoutingTable(routes, StoreMaxBytes(At(hub, "storeAndForwardConfiguration", "storeLimits", "maxSizeBytes")));
    }

    static int Priority(string route, JsonNode? node) => node is null ? Route.LowestPriority
        : int.TryParse(Text(node), out var priority) && priority is >= 0 and <= 9 ? priority
        : throw new FormatException($"route '{route}': priority {Text(node)} is not a number from 0 to 9");

    static long? StoreMaxBytes(JsonNode? node) => node is null ? null
        : long.TryParse(Text(node), out var bytes) && bytes > 0 ? bytes
        : throw new FormatException($"storeLimits.maxSizeBytes: {Text(node)} is not a number above 0");

    /// <summary>A time to live. edgeHub ignores values of 0 and below.</summary>
    static TimeSpan? Seconds(JsonNode? node) =>
        node is not null && int.TryParse(Text(node), out var seconds) && seconds > 0 ? TimeSpan.FromSeconds(seconds) : null;

    static JsonNode? At(JsonNode? node, params ReadOnlySpan<string> path)
    {
        foreach (var name in path)
        {
            node = (node as JsonObject)?[name];
        }

        return node;
    }

    static string Text(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) ? text : node?.ToJsonString() ?? "";

    static (string Name, string Value) Split(string assignment)
    {
        var equals = assignment.IndexOf('=', StringComparison.Ordinal);
        return equals < 0 ? (assignment, "") : (assignment[..equals], assignment[(equals + 1)..]);
    }

    /// <summary>Replaces ${NAME} with the environment variable. Unknown names stay unchanged, as in
    /// iotedgedev.</summary>
    static string Expanded(string text) => System.Text.RegularExpressions.Regex.Replace(
        text, @"\$\{(\w+)\}", match => System.Environment.GetEnvironmentVariable(match.Groups[1].Value) ?? match.Value);
}
