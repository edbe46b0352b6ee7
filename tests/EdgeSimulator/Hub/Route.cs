using System.Text.RegularExpressions;

namespace EdgeSimulator.Hub;

/// <summary>One route of edgeHub: <c>FROM source [WHERE condition] INTO sink</c>. Immutable.</summary>
/// <param name="Name">Its key in the manifest.</param>
/// <param name="Source">What comes after FROM, without the asterisk at its end: edgeHub compares beginnings (CustomMessageSource).</param>
/// <param name="Condition">What comes after WHERE; null takes all.</param>
/// <param name="Input">The input that the messages go to, as a path; null is the cloud.</param>
/// <param name="Priority">0 goes first.</param>
/// <param name="TimeToLive">How long a message waits for the cloud; null is for ever.</param>
internal sealed partial record Route(string Name, string Source, RouteCondition? Condition, string? Input, int Priority, TimeSpan? TimeToLive)
{
    /// <summary>edgeHub's priority of a route that names none.</summary>
    public const int LowestPriority = 2_000_000_000;

    /// <exception cref="FormatException">It is no route that edgeHub or the simulator takes; the message says why.</exception>
    public static Route Parse(string name, string text, int priority, TimeSpan? timeToLive)
    {
        var match = Syntax().Match(text);
        if (!match.Success)
        {
            throw new FormatException($"the route '{name}' is not FROM ... INTO $upstream or BrokeredEndpoint(\"...\"): {text}");
        }

        var source = match.Groups["source"].Value.TrimEnd('*');
        try
        {
            return new Route(
                name,
                source.Length > 1 ? source.TrimEnd('/') : source,
                match.Groups["condition"] is { Success: true, Value: var condition } ? RouteCondition.Parse(condition) : null,
                match.Groups["input"] is { Success: true, Value: var input } ? input : null,
                priority,
                timeToLive);
        }
        catch (FormatException exception)
        {
            throw new FormatException($"the route '{name}': {exception.Message}", exception);
        }
    }

    public bool Takes(RoutedMessage message) => Takes(message.From.ModuleId, message.Output) && Condition?.Holds(message) != false;

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
