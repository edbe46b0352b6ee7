using System.Globalization;

namespace SensorForwarder.EdgeHub.Upstream;

/// <summary>Finds metrics in a page of the Prometheus text format. Stateless.</summary>
internal static class PrometheusPage
{
    /// <summary>The series of a metric, in the order of the page. Series without labels or without a finite value are
    /// skipped.</summary>
    public static List<(string Labels, double Value)> Series(string page, string metric)
    {
        var series = new List<(string, double)>();
        foreach (var range in page.AsSpan().Split('\n'))
        {
            var line = page.AsSpan(range).Trim();
            if (!line.StartsWith(metric) || line.Length == metric.Length || line[metric.Length] != '{') continue;
            var end = line.LastIndexOf('}');
            if (end < 0) continue;
            var rest = line[(end + 1)..].Trim();
            var space = rest.IndexOf(' ');
            if (space >= 0) rest = rest[..space]; // a time stamp follows
            if (double.TryParse(rest, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
                && double.IsFinite(number))
                series.Add((line[(metric.Length + 1)..end].ToString(), number));
        }

        return series;
    }

    /// <summary>The value of a label, still escaped; null when the series does not have the label.</summary>
    public static string? Label(string labels, string name)
    {
        for (var at = 0; at < labels.Length;)
        {
            var equals = labels.IndexOf("=\"", at, StringComparison.Ordinal);
            if (equals < 0) return null;
            var end = EndOfValue(labels, equals + 2);
            if (end < 0) return null;
            if (labels.AsSpan(at, equals - at).Trim(", ").SequenceEqual(name)) return labels[(equals + 2)..end];
            at = end + 1;
        }

        return null;
    }

    // The quote that ends a value; a backslash escapes the character behind it.
    static int EndOfValue(string labels, int start)
    {
        for (var at = start; at < labels.Length; at++)
        {
            if (labels[at] == '"') return at;
            if (labels[at] == '\\') at++;
        }

        return -1;
    }
}
