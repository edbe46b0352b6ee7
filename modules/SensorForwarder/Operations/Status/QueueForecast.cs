using SensorForwarder.Buffer;

namespace SensorForwarder.Operations.Status;

/// <summary>Extrapolates the queue from the rates of the last minute.</summary>
/// <param name="FullInSeconds">Until the buffer is full; null: it does not grow, is already full, or there is no trend
/// yet.</param>
/// <param name="DrainedInSeconds">Until nothing waits; null: the queue does not shrink, or there is no trend.</param>
internal readonly record struct QueueForecast(double? FullInSeconds, double? DrainedInSeconds)
{
    const int FewReadings = 500;

    // A slower change counts as none.
    const double LeastPerSecond = 0.01;

    /// <param name="rates">As <see cref="Trends.Rates"/>.</param>
    /// <param name="isUp">Whether the receiver accepts batches.</param>
    public static QueueForecast Of(
        BufferStatus stored, (double Growth, double Accepted, double Committed) rates, bool isUp)
    {
        // A healthy queue grows and shrinks between uploads; that is no trend.
        if (stored.Depth <= FewReadings && isUp) return default;

        // Evictions also shrink the queue, but stop before it is empty, so only accepted readings count.
        var sent = Math.Min(rates.Accepted - rates.Committed, -rates.Growth);
        if (isUp && sent > LeastPerSecond) return new(null, Math.Round(stored.Depth / sent));
        if (rates.Growth < LeastPerSecond || stored.Stored == 0
            || stored.FullAction is not null) return default;
        // Readings that have waited for some time are merged and take less, so it may be full a little later.
        var bytes = (double)stored.UsedBytes / stored.Stored;
        var room = StorageBudget.Of(new() { MaxBytes = stored.MaxBytes }).DatabaseBytes - stored.UsedBytes;
        return new(Math.Max(0, Math.Round(room / (rates.Growth * bytes))), null);
    }
}
