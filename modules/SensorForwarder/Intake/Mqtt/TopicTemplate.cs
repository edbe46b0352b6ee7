using System.Globalization;
using System.Text;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>A text made of parts of a topic: <c>{2}</c> is its second level, <c>{2+}</c> all from the second on, and
/// <c>{topic}</c> all of it. Immutable.</summary>
internal sealed class TopicTemplate
{
    public const string Form =
        "a text with levels of the topic, such as {2} for the second one, {2+} for all from there on, or {topic}";

    /// <summary>The same as a regular expression.</summary>
    public const string Pattern = @"^([^{}]|\{([1-9][0-9]?\+?|topic)\})+$";

    readonly List<Part> _parts = [];

    TopicTemplate()
    {
    }

    /// <summary>All of the topic.</summary>
    public static TopicTemplate Topic { get; } = TryRead("{topic}")!;

    /// <summary>How many levels a topic needs.</summary>
    public int Levels => _parts.Count == 0 ? 0 : _parts.Max(part => part.Level);

    /// <summary>A text without parts of the topic.</summary>
    public static TopicTemplate Of(string text)
    {
        var template = new TopicTemplate();
        template._parts.Add(new(text, 0, false));
        return template;
    }

    /// <summary>Null: the text is none.</summary>
    public static TopicTemplate? TryRead(string text)
    {
        var template = new TopicTemplate();
        for (var rest = text.AsSpan(); rest.Length > 0;)
        {
            var end = rest.IndexOfAny('{', '}');
            if (end < 0) end = rest.Length;
            if (end > 0) template._parts.Add(new(rest[..end].ToString(), 0, false));
            rest = rest[end..];
            if (rest.Length == 0) break;
            var close = rest.IndexOf('}');
            if (rest[0] != '{' || close < 0 || template.TryAdd(rest[1..close]) is false) return null;
            rest = rest[(close + 1)..];
        }

        return template._parts.Count > 0 ? template : null;
    }

    /// <summary>The text for a topic; a level that it does not have is empty. All of the topic where the text would be
    /// empty.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="between">What stands between its levels.</param>
    public string Fill(string topic, char between)
    {
        var text = new StringBuilder();
        var levels = topic.Split('/');
        foreach (var part in _parts)
        {
            if (part.Level == 0) text.Append(part.Text);
            else if (part.IsRest) text.AppendJoin(between, levels.Skip(part.Level - 1));
            else if (part.Level <= levels.Length) text.Append(levels[part.Level - 1]);
        }

        return text.Length > 0 ? text.ToString() : topic;
    }

    bool TryAdd(ReadOnlySpan<char> place)
    {
        if (place is "topic")
        {
            _parts.Add(new("", 1, true));
            return true;
        }

        var isRest = place.EndsWith("+");
        if (isRest) place = place[..^1];
        if (place.Length is 0 or > 2 || place[0] == '0'
            || !int.TryParse(place, NumberStyles.None, CultureInfo.InvariantCulture, out var level)) return false;
        _parts.Add(new("", level, isRest));
        return true;
    }

    /// <param name="Text">What stands there, where no level does.</param>
    /// <param name="Level">Counted from 1; 0: none.</param>
    /// <param name="IsRest">All levels from there on.</param>
    readonly record struct Part(string Text, int Level, bool IsRest);
}
