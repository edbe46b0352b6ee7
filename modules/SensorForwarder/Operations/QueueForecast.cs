using System.Text.Json;
using SensorForwarder.Buffer;

namespace SensorForwarder.Operations;

/// <summary>What becomes of the queue if the last minute goes on like this.</summary>
/// <param name="FullInSeconds">Until the buffer is full; null: it does not grow, it is full, or there
/// is no trend yet.</param>
/// <param name="DrainedInSeconds">Until nothing waits; null: the receiver does not take more than comes.</param>
internal readonly record struct QueueForecast(double? FullInSeconds, double? DrainedInSeconds)
{
    const int FewReadings = 500;

    // Slower than this is standing still.
    const double LeastPerSecond = 0.01;

    // What a row takes beside its payload; rows fill pages, and a row that does not fit begins the next.
    const int RowBytes = 22;
    const int PageBytes = 4_096;
    const int UsableBytes = 4_080;

    /// <param name="rates">Readings a second: how many more wait, how many were accepted, how many came.</param>
    /// <param name="isUp">Whether the receiver takes what it gets.</param>
    public static QueueForecast Of(
        BufferStatus stored, (double Growth, double Accepted, double Committed) rates, bool isUp)
    {
        // Between two uploads a queue that is well grows and shrinks; that is no trend.
        if (stored.Depth <= FewReadings && isUp) return default;

        // What is given up makes the queue smaller too, and ends before it is empty: only what is accepted counts.
        var sent = Math.Min(rates.Accepted - rates.Committed, -rates.Growth);
        if (isUp && sent > LeastPerSecond) return new(null, Math.Round(stored.Depth / sent));
        if (rates.Growth < LeastPerSecond || stored.CommittedReadings == 0
            || stored.GivesUp is not null) return default;
        var row = RowBytes + ((double)stored.CommittedBytes / stored.CommittedReadings);
        var bytes = row <= UsableBytes
            ? PageBytes / Math.Floor(UsableBytes / row)
            : PageBytes * Math.Ceiling(row / UsableBytes);
        var room = StorageBudget.Of(new() { MaxBytes = stored.MaxBytes }).DatabaseBytes - (stored.Depth * bytes);
        return new(Math.Max(0, Math.Round(room / (rates.Growth * bytes))), null);
    }

    /// <summary>Into an object that is open.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        if (FullInSeconds is { } full) json.WriteNumber("fullInSeconds", full);
        if (DrainedInSeconds is { } drained) json.WriteNumber("drainedInSeconds", drained);
    }
}
