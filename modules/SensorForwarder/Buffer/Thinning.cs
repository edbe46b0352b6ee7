using System.Text.Json;

namespace SensorForwarder.Buffer;

/// <summary>
/// Halves the resolution of one sensor's readings: of each four in a row the two that say most stay, which are the
/// lowest and the highest as a rule, so that peaks survive as often as it is applied. The first and the last reading
/// stay. Pure; any thread.
/// </summary>
internal static class Thinning
{
    const int GroupSize = 4;

    /// <summary>Which of a sensor's readings stay.</summary>
    /// <param name="payloads">In the order in which they were stored.</param>
    public static bool[] Choose(IReadOnlyList<byte[]> payloads)
    {
        var stays = new bool[payloads.Count];
        var samples = new Sample[payloads.Count];
        for (var i = 0; i < samples.Length; i++)
            samples[i] = Sample.Of(payloads[i]);
        var ranges = Ranges(samples);
        for (var start = 0; start < samples.Length; start += GroupSize)
        {
            var group = samples.AsSpan(start, Math.Min(GroupSize, samples.Length - start));
            var scores = Score(group, ranges, start == 0 ? null : samples[start - 1]);
            if (start == 0)
                scores[0] = double.PositiveInfinity;
            if (start + group.Length == samples.Length)
                scores[group.Length - 1] = double.PositiveInfinity;
            for (var kept = 0; kept < Math.Min(GroupSize / 2, group.Length); kept++)
            {
                // The earlier one of two that say as much, so that the result does not depend on how often it is run.
                var best = scores.AsSpan().IndexOf(scores.Max());
                stays[start + best] = true;
                scores[best] = double.NegativeInfinity;
            }
        }
        if (stays.Length > 0)
            stays[0] = stays[^1] = true;
        return stays;
    }

    static double[] Score(ReadOnlySpan<Sample> group, double[] ranges, Sample? before)
    {
        var scores = new double[group.Length];
        for (var value = 0; value < ranges.Length; value++)
        {
            int lowest = -1, highest = -1;
            for (var i = 0; i < group.Length; i++)
            {
                if (double.IsNaN(group[i].Value(value)))
                    continue;
                if (lowest < 0 || group[i].Value(value) < group[lowest].Value(value))
                    lowest = i;
                if (highest < 0 || group[i].Value(value) > group[highest].Value(value))
                    highest = i;
            }
            if (lowest < 0 || ranges[value] <= 0)
                continue;
            // In proportion to what the value does elsewhere: noise on a flat line must not outvote a peak. And by the
            // distance to the others: where the first or the last reading takes a place, a peak must not lose the other
            // one to the least of its neighbours.
            var middle = Middle(group, value);
            scores[lowest] += (middle - group[lowest].Value(value)) / ranges[value];
            scores[highest] += (group[highest].Value(value) - middle) / ranges[value];
        }
        // Where the quality changes something began or ended.
        for (var i = 0; i < group.Length; i++)
        {
            if ((i == 0 ? before : group[i - 1]) is { } previous && previous.Quality != group[i].Quality)
                scores[i] += 1;
        }
        return scores;
    }

    static double Middle(ReadOnlySpan<Sample> group, int value)
    {
        double sum = 0, count = 0;
        foreach (var sample in group)
        {
            if (!double.IsNaN(sample.Value(value)))
                (sum, count) = (sum + sample.Value(value), count + 1);
        }
        return sum / count;
    }

    static double[] Ranges(Sample[] samples)
    {
        var ranges = new double[samples.Length == 0 ? 0 : samples.Max(s => s.Values.Length)];
        for (var value = 0; value < ranges.Length; value++)
        {
            double low = double.PositiveInfinity, high = double.NegativeInfinity;
            foreach (var sample in samples)
            {
                low = Math.Min(low, double.IsNaN(sample.Value(value)) ? low : sample.Value(value));
                high = Math.Max(high, double.IsNaN(sample.Value(value)) ? high : sample.Value(value));
            }
            ranges[value] = high - low;
        }
        return ranges;
    }

    /// <summary>The numbers of a payload by their place in <c>values</c>, which is fixed for
    /// a kind of sensor.</summary>
    readonly record struct Sample(double[] Values, int Quality)
    {
        public double Value(int index) => index < Values.Length ? Values[index] : double.NaN;

        public static Sample Of(ReadOnlySpan<byte> payload)
        {
            var values = new List<double>(4);
            var quality = 0;
            try
            {
                var json = new Utf8JsonReader(payload);
                while (json.Read())
                {
                    if (json.TokenType != JsonTokenType.PropertyName || json.CurrentDepth != 1)
                        continue;
                    if (json.ValueTextEquals("quality"u8) && json.Read())
                        quality = json.ValueSpan.Length;
                    else if (json.ValueTextEquals("values"u8))
                        ReadValues(ref json, values);
                }
            }
            catch (JsonException)
            {
                // Not ours, or damaged: it has no shape to keep.
            }
            return new Sample([.. values], quality);
        }

        static void ReadValues(ref Utf8JsonReader json, List<double> values)
        {
            json.Read();
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName && json.Read())
            {
                if (json.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
                    json.Skip();
                values.Add(json.TokenType == JsonTokenType.Number && json.TryGetDouble(out var number)
                    ? number
                    : double.NaN);
            }
        }
    }
}
