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

    // A row on the medium is a little more than its payload.
    const double RowOverhead = 1.15;

    /// <param name="growth">Readings a second that more wait.</param>
    /// <param name="isUp">Whether the receiver takes what it gets.</param>
    public static QueueForecast Of(BufferStatus stored, double growth, bool isUp, long maxBytes)
    {
        // Between two uploads a queue that is well grows and shrinks; that is no trend.
        if (stored.Depth <= FewReadings && isUp) return default;
        if (growth < -LeastPerSecond) return new(null, Math.Round(stored.Depth / -growth));
        var rowBytes = stored.CommittedReadings > 0 ? RowOverhead * stored.CommittedBytes / stored.CommittedReadings : 0;
        if (growth < LeastPerSecond || rowBytes == 0) return default;
        return new(Math.Max(0, Math.Round((maxBytes - (stored.Depth * rowBytes)) / (growth * rowBytes))), null);
    }

    /// <summary>Into an object that is open.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        if (FullInSeconds is { } full) json.WriteNumber("fullInSeconds", full);
        if (DrainedInSeconds is { } drained) json.WriteNumber("drainedInSeconds", drained);
    }
}
