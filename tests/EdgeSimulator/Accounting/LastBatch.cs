using System.Globalization;

namespace EdgeSimulator.Accounting;

/// <summary>The latest batch. The delay is the time from sensing to arrival of its last reading.</summary>
internal sealed record LastBatch(long FirstId, long LastId, int Bytes, TimeSpan? Delay)
{
    public string DelayText => Delay is { } delay
        ? string.Create(CultureInfo.InvariantCulture, $", {delay.TotalSeconds:0.0} s after sensing")
        : "";
}
