using System.Text.Json;

namespace SensorForwarder.Buffer;

/// <summary>
/// Halves the resolution of one sensor's readings. Of each four consecutive readings the two most significant are kept,
/// usually the lowest and the highest, so that peaks survive repeated thinning. The first and the last reading are
/// always kept. Of payloads without <c>values</c>, every second one is kept. Pure; any thread.
/// </summary>
internal static class Thinning
{
    const int GroupSize = 4;

    /// <summary>For each reading, whether it is kept.</summary>
    /// <param name="payloads">The payloads of one sensor, in the order in which they were stored.</param>
    public static bool[] Choose(IReadOnlyList<ReadOnlyMemory<byte>> payloads)
    {
        var isKept = new bool[payloads.Count];
        var samples = new Sample[payloads.Count];
        for (var i = 0; i < samples.Length; i++)
            samples[i] = Sample.Of(payloads[i].Span);
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
                // Of equal scores the earlier reading is kept, so that the result is deterministic.
                var best = scores.AsSpan().IndexOf(scores.Max());
                isKept[start + best] = true;
                scores[best] = double.NegativeInfinity;
            }
        }
        return isKept;
    }

    static double[] Score(ReadOnlySpan<Sample> group, double[] ranges, Sample? before)
    {
        var scores = new double[group.Length];
        for (var i = 0; ranges.Length == 0 && i < scores.Length; i += 2)
            scores[i] = 1;
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
            // Relative to the value's overall range, so that noise on a flat line does not outweigh a peak. And by the
            // distance to the mean, so that a peak wins when only one place is left besides the first or last reading.
            var mean = Mean(group, value);
            scores[lowest] += (mean - group[lowest].Value(value)) / ranges[value];
            scores[highest] += (group[highest].Value(value) - mean) / ranges[value];
        }
        // A change of quality marks the beginning or end of a fault.
        for (var i = 0; i < group.Length; i++)
        {
            if ((i == 0 ? before : group[i - 1]) is { } previous && previous.Quality != group[i].Quality)
                scores[i] += 1;
        }
        return scores;
    }

    static double Mean(ReadOnlySpan<Sample> group, int value)
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

    /// <summary>The values of a payload by position in <c>values</c>, which is fixed for a kind of sensor, and the
    /// quality, represented by the length of its name.</summary>
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
                // Not JSON, or damaged: use the values read so far.
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
