using System.Globalization;
using EdgeSimulator.Accounting;

namespace EdgeSimulator.Display;

/// <summary>A snapshot of the figures that a display shows.</summary>
internal sealed record Figures
{
    public required bool Connected { get; init; }

    public required bool Blackout { get; init; }

    /// <summary>Time until the blackout ends. Null for a blackout without a scheduled end.</summary>
    public TimeSpan? BlackoutLeft { get; init; }

    public required long Unique { get; init; }

    public required long Received { get; init; }

    public required long Messages { get; init; }

    public required long Bytes { get; init; }

    public required int Restarts { get; init; }

    public required long TwinVersion { get; init; }

    public required LastBatch? Last { get; init; }

    public string Connection => Blackout
        ? BlackoutLeft is { } left ? string.Create(CultureInfo.InvariantCulture, $"blackout, {left.TotalSeconds:0} s left") : "blackout"
        : Connected ? "connected" : "not connected";

    public string Line(Figures? before, TimeSpan interval)
    {
        var rate = (Unique - (before?.Unique ?? 0)) / interval.TotalSeconds;
        var last = Last is null ? "" : string.Create(CultureInfo.InvariantCulture, $", last batch {Last.FirstId}-{Last.LastId}{Last.DelayText}");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{Connection}: {Unique} readings ({rate:0.0}/s), {Received - Unique} duplicates, "
            + $"{Messages} messages, {Bytes / 1024} KiB{last}");
    }
}
