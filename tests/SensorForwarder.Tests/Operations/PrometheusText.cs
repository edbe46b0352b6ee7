using System.Globalization;
using System.Text.RegularExpressions;

namespace SensorForwarder.Tests.Operations;

/// <summary>One sample of Prometheus text.</summary>
internal sealed record PrometheusSample(string Name, IReadOnlyDictionary<string, string> Labels, double Value);

/// <summary>A metric with its samples.</summary>
internal sealed record PrometheusFamily(string Name, string Type, string Help, IReadOnlyList<PrometheusSample> Samples);

/// <summary>Reads the Prometheus text format 0.0.4 strictly
/// (https://prometheus.io/docs/instrumenting/exposition_formats), and throws for what some readers tolerate: a
/// family without HELP or TYPE or in two pieces, a duplicate sample, a histogram whose buckets do not add up.</summary>
internal static partial class PrometheusText
{
    public static IReadOnlyList<PrometheusFamily> Read(string text)
    {
        if (text.Length > 0 && text[^1] != '\n') throw new FormatException("the last line does not end");
        if (text.Contains('\r', StringComparison.Ordinal)) throw new FormatException("a carriage return");
        var families = new List<PrometheusFamily>();
        var samples = new List<PrometheusSample>();
        string? help = null;
        foreach (var line in text.Split('\n')[..^1])
        {
            if (HelpLine.Match(line) is { Success: true } helpLine)
            {
                help = helpLine.Groups["help"].Value;
                if (families.Any(family => family.Name == helpLine.Groups["name"].Value)) throw new FormatException($"'{line}' comes twice");
                families.Add(new(helpLine.Groups["name"].Value, "", help, samples = []));
            }
            else if (TypeLine.Match(line) is { Success: true } typeLine)
            {
                if (families.Count == 0 || families[^1] is not { Type: "" } || families[^1].Name != typeLine.Groups["name"].Value)
                    throw new FormatException($"'{line}' does not follow its HELP");
                families[^1] = families[^1] with { Type = typeLine.Groups["type"].Value };
            }
            else
            {
                samples.Add(ReadSample(line, families.LastOrDefault() ?? throw new FormatException($"'{line}' has no family")));
            }
        }

        families.ForEach(Check);
        return families;
    }

    static PrometheusSample ReadSample(string line, PrometheusFamily family)
    {
        var match = SampleLine.Match(line);
        if (!match.Success) throw new FormatException($"'{line}' is no sample");
        string[] suffixes = family.Type == "histogram" ? ["_bucket", "_sum", "_count"] : [""];
        if (!suffixes.Any(suffix => match.Groups["name"].Value == family.Name + suffix)) throw new FormatException($"'{line}' is not of {family.Name}");
        var labels = new Dictionary<string, string>();
        foreach (var (name, value) in match.Groups["label"].Captures.Zip(match.Groups["value"].Captures))
            labels.Add(name.Value, Regex.Replace(value.Value, @"\\(.)", escape => escape.Groups[1].Value == "n" ? "\n" : escape.Groups[1].Value));
        return new(match.Groups["name"].Value, labels, double.Parse(match.Groups["number"].Value, CultureInfo.InvariantCulture));
    }

    static void Check(PrometheusFamily family)
    {
        if (family.Type == "") throw new FormatException($"{family.Name} has no TYPE");
        if (family.Type == "counter" && !family.Name.EndsWith("_total", StringComparison.Ordinal)) throw new FormatException($"{family.Name} is a counter");
        var keys = family.Samples.Select(sample => $"{sample.Name}{{{string.Join(',', sample.Labels.OrderBy(label => label.Key).Select(label => $"{label.Key}={label.Value}"))}}}");
        if (keys.GroupBy(key => key).FirstOrDefault(group => group.Count() > 1) is { } twice) throw new FormatException($"{twice.Key} is there twice");
        if (family.Type != "histogram") return;
        var buckets = family.Samples.Where(sample => sample.Name.EndsWith("_bucket", StringComparison.Ordinal)).ToList();
        if (buckets.Zip(buckets.Skip(1)).Any(pair => pair.First.Value > pair.Second.Value)) throw new FormatException($"{family.Name} does not add up");
        if (buckets[^1].Labels["le"] != "+Inf" || buckets[^1].Value != family.Samples.Single(sample => sample.Name.EndsWith("_count", StringComparison.Ordinal)).Value)
            throw new FormatException($"{family.Name} has no last bucket with all");
    }

    [GeneratedRegex(@"^# HELP (?<name>[a-zA-Z_:][a-zA-Z0-9_:]*) (?<help>.+)$")]
    private static partial Regex HelpLine { get; }

    [GeneratedRegex(@"^# TYPE (?<name>[a-zA-Z_:][a-zA-Z0-9_:]*) (?<type>counter|gauge|histogram)$")]
    private static partial Regex TypeLine { get; }

    [GeneratedRegex(@"^(?<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{(?<label>[a-zA-Z_][a-zA-Z0-9_]*)=""(?<value>(?:[^""\\\n]|\\[\\""n])*)""(?:,(?<label>[a-zA-Z_][a-zA-Z0-9_]*)=""(?<value>(?:[^""\\\n]|\\[\\""n])*)"")*\} (?<number>-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?)$")]
    private static partial Regex SampleLine { get; }
}
