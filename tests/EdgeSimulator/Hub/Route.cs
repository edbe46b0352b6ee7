using System.Text.RegularExpressions;

namespace EdgeSimulator.Hub;

/// <summary>One route of edgeHub: <c>FROM source [WHERE condition] INTO sink</c>. Immutable.</summary>
/// <param name="Name">Its key in the manifest.</param>
/// <param name="Source">The source after FROM, without a trailing asterisk: edgeHub compares prefixes
/// (CustomMessageSource).</param>
/// <param name="Condition">The condition after WHERE. Null: all messages.</param>
/// <param name="Input">The path of the input that receives the messages. Null: the cloud.</param>
/// <param name="Priority">0 is sent first.</param>
/// <param name="TimeToLive">How long a message may wait for the cloud. Null: no limit.</param>
internal sealed partial record Route(string Name, string Source, RouteCondition? Condition, string? Input, int Priority, TimeSpan? TimeToLive)
{
    /// <summary>edgeHub's default priority.</summary>
    public const int LowestPriority = 2_000_000_000;

    /// <exception cref="FormatException">edgeHub or the simulator does not support the route; the message says
    /// why.</exception>
    public static Route Parse(string name, string text, int priority, TimeSpan? timeToLive)
    {
        var match = Syntax().Match(text);
        if (!match.Success)
        {
            throw new FormatException(
                $"route '{name}' is not of the form FROM ... INTO $upstream or BrokeredEndpoint(\"...\"): {text}");
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
            throw new FormatException($"route '{name}': {exception.Message}", exception);
        }
    }

    public bool Takes(RoutedMessage message) => Takes(message.From.ModuleId, message.Output) && Condition?.Holds(message) != false;

    /// <summary>Whether the source matches this output of the module, or the module itself without an output.</summary>
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
