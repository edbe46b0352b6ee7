using System.Reflection;

namespace Deployment.Tests;

/// <summary>Reads files of this repository.</summary>
static class Repository
{
    public static string Root { get; } =
        Assembly.GetExecutingAssembly().GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == "RepositoryRoot").Value!;

    public static string Read(string path) => File.ReadAllText(Path.Combine(Root, path));

    public static JsonObject ReadJson(string path) => JsonNode.Parse(Read(path))!.AsObject();

    /// <summary>The variables of <c>.env.template</c>.</summary>
    public static Dictionary<string, string> Environment() => Read(".env.template").Split('\n')
        .Where(line => line.Contains('=', StringComparison.Ordinal) && !line.StartsWith('#'))
        .Select(line => line.Split('=', 2))
        .ToDictionary(pair => pair[0], pair => pair[1]);
}
