using System.Text.Json;
using SensorForwarder.Buffer;

namespace SensorForwarder.Operations;

/// <summary>What becomes of the queue if the last minute goes on like this.</summary>
/// <param name="FullInSeconds">Until the buffer is full; null: it does not grow, or there is no trend yet.</param>
/// <param name="DrainedInSeconds">Until nothing waits; null: it does not shrink.</param>
internal readonly record struct QueueForecast(double? FullInSeconds, double? DrainedInSeconds)
{
    const int FewReadings = 500;

    // Slower than this is standing still.
    const double LeastPerSecond = 0.01;

    // What a row takes beside its payload; rows fill pages, and a row that does not fit begins the next.
    const int RowBytes = 22;
    const int PageBytes = 4_096;
    const int UsableBytes = 4_080;

    /// <param name="growth">Readings a second that more wait.</param>
    /// <param name="isUp">Whether the receiver takes what it gets.</param>
    public static QueueForecast Of(BufferStatus stored, double growth, bool isUp, BufferLimits limits)
    {
        // Between two uploads a queue that is well grows and shrinks; that is no trend.
        if (stored.Depth <= FewReadings && isUp) return default;
        if (growth < -LeastPerSecond) return new(null, Math.Round(stored.Depth / -growth));
        if (growth < LeastPerSecond || stored.CommittedReadings == 0) return default;
        var row = RowBytes + ((double)stored.CommittedBytes / stored.CommittedReadings);
        var bytes = row <= UsableBytes ? PageBytes / Math.Floor(UsableBytes / row) : PageBytes * Math.Ceiling(row / UsableBytes);
        var room = StorageBudget.Of(limits).DatabaseBytes - (stored.Depth * bytes);
        return new(Math.Max(0, Math.Round(room / (growth * bytes))), null);
    }

    /// <summary>Into an object that is open.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        if (FullInSeconds is { } full) json.WriteNumber("fullInSeconds", full);
        if (DrainedInSeconds is { } drained) json.WriteNumber("drainedInSeconds", drained);
    }
}
