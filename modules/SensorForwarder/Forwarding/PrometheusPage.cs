using System.Globalization;

namespace SensorForwarder.Forwarding;

/// <summary>Finds a metric in a page of Prometheus text.</summary>
internal static class PrometheusPage
{
    /// <summary>The sum of all series of a metric that have a label with that value; null
    /// when there are none.</summary>
    public static double? Sum(string page, string metric, string label, string value)
    {
        double? sum = null;
        var wanted = $"{label}=\"{value}\"";
        foreach (var range in page.AsSpan().Split('\n'))
        {
            var line = page.AsSpan(range).Trim();
            if (!line.StartsWith(metric) || line.Length == metric.Length || line[metric.Length] != '{') continue;
            var end = line.LastIndexOf('}');
            if (end < 0 || !HasLabel(line[(metric.Length + 1)..end], wanted)) continue;
            var rest = line[(end + 1)..].Trim();
            var space = rest.IndexOf(' ');
            if (space >= 0) rest = rest[..space]; // a time stamp follows
            if (double.TryParse(rest, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
                && double.IsFinite(number))
                sum = (sum ?? 0) + number;
        }

        return sum;
    }

    static bool HasLabel(ReadOnlySpan<char> labels, string wanted)
    {
        for (var at = labels.IndexOf(wanted); at >= 0;)
        {
            var isWhole = at == 0 || labels[at - 1] is ',' or ' ';
            var end = at + wanted.Length;
            if (isWhole && (end == labels.Length || labels[end] is ',' or ' ')) return true;
            var next = labels[end..].IndexOf(wanted);
            at = next < 0 ? -1 : end + next;
        }

        return false;
    }
}
