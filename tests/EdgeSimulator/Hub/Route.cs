using System.Text.RegularExpressions;

namespace EdgeSimulator.Hub;

/// <summary>One route of edgeHub: <c>FROM source [WHERE condition] INTO sink</c>. Immutable.</summary>
/// <param name="Name">Its key in the manifest.</param>
/// <param name="Source">What comes after FROM, without the asterisk at its end: edgeHub compares beginnings (CustomMessageSource).</param>
/// <param name="Condition">What comes after WHERE. It is not evaluated: every message is taken to meet it.</param>
/// <param name="Input">The input that the messages go to, as a path; null is the cloud.</param>
/// <param name="Priority">0 goes first.</param>
/// <param name="TimeToLive">How long a message waits for the cloud; null is for ever.</param>
internal sealed partial record Route(string Name, string Source, string? Condition, string? Input, int Priority, TimeSpan? TimeToLive)
{
    /// <summary>edgeHub's priority of a route that names none.</summary>
    public const int LowestPriority = 2_000_000_000;

    public static bool TryParse(string name, string text, int priority, TimeSpan? timeToLive, out Route route)
    {
        var match = Syntax().Match(text);
        var source = match.Groups["source"].Value.TrimEnd('*');
        route = new Route(
            name,
            source.Length > 1 ? source.TrimEnd('/') : source,
            match.Groups["condition"] is { Success: true, Value: var condition } ? condition : null,
            match.Groups["input"] is { Success: true, Value: var input } ? input : null,
            priority,
            timeToLive);
        return match.Success;
    }

    /// <summary>Whether messages of this output of this module take the route. Without an output, the module itself is the source.</summary>
    public bool Takes(string moduleId, string? output)
    {
        var source = string.IsNullOrEmpty(output) ? $"/messages/modules/{moduleId}" : $"/messages/modules/{moduleId}/outputs/{output}";
        return source.StartsWith(Source, StringComparison.OrdinalIgnoreCase);
    }

    [GeneratedRegex(
        """^\s*(SELECT\s+\*\s+)?FROM\s+(?<source>/\S*)(\s+WHERE\s+(?<condition>.+?))?\s+INTO\s+(\$upstream|BrokeredEndpoint\(\s*["'](?<input>[^"']+)["']\s*\))\s*$""",
        RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture | RegexOptions.Singleline)]
    private static partial Regex Syntax();
}
