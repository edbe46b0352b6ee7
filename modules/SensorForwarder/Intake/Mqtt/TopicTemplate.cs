using System.Globalization;
using System.Text;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>A text with placeholders for levels of a topic: <c>{2}</c> is the second level, <c>{2+}</c> the second and
/// all later ones, and <c>{topic}</c> the whole topic. Immutable.</summary>
internal sealed class TopicTemplate
{
    public const string Form =
        "a text with levels of the topic, such as {2} for the second level, {2+} for all from the second, or {topic}";

    /// <summary><see cref="Form"/> as a regular expression.</summary>
    public const string Pattern = @"^([^{}]|\{([1-9][0-9]?\+?|topic)\})+$";

    readonly List<Part> _parts = [];

    TopicTemplate()
    {
    }

    /// <summary>The whole topic.</summary>
    public static TopicTemplate Topic { get; } = TryRead("{topic}")!;

    /// <summary>The number of levels that a topic must have.</summary>
    public int Levels => _parts.Count == 0 ? 0 : _parts.Max(part => part.Level);

    /// <summary>A text without placeholders.</summary>
    public static TopicTemplate Of(string text)
    {
        var template = new TopicTemplate();
        template._parts.Add(new(text, 0, false));
        return template;
    }

    /// <summary>Parses a template; null: the text is not a valid one.</summary>
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

    /// <summary>Replaces the placeholders. A level that the topic does not have is empty; if the whole text is empty,
    /// it is the topic.</summary>
    /// <param name="topic">The topic.</param>
    /// <param name="between">The separator of levels in the text.</param>
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

    /// <param name="Text">A fixed text, if <paramref name="Level"/> is 0.</param>
    /// <param name="Level">The level of the topic, counted from 1; 0: fixed text.</param>
    /// <param name="IsRest">Whether the later levels follow.</param>
    readonly record struct Part(string Text, int Level, bool IsRest);
}
