using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>
/// Kind <c>simulated</c>: temperature (degrees Celsius), humidity (percent) and pressure (hPa) of a room over a day,
/// with some noise. A pure function of the seed and the time, so that two runs can be compared.
/// </summary>
internal sealed class SimulatedSensor : ISensor
{
    static readonly Option<int?> Seed = Option.Integer(
        "seed", int.MinValue, int.MaxValue, "The same seed gives the same room.").From("from the name");

    public static SensorKind Kind { get; } = new(
        "simulated", "temperature, humidity and pressure of a room, as a function of seed and time", [Seed],
        (settings, world) => new SimulatedSensor(settings, world.TimeProvider))
    {
        Connection = "none",
        Values = [new("temperature", "degrees Celsius"), new("humidity", "percent"), new("pressure", "hPa")],
        Bus = _ => null,
    };

    const double DaySeconds = 86_400;
    const double WeatherSeconds = 5 * DaySeconds;

    readonly TimeProvider _timeProvider;
    readonly uint _seed;
    readonly double _phase;

    public SimulatedSensor(SensorSettings settings, TimeProvider timeProvider)
    {
        _timeProvider = timeProvider;
        _seed = settings.Get(Seed) is { } seed ? (uint)seed : Fnv1A(settings.Name);
        _phase = Noise(0) * Math.PI;
    }

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var seconds = _timeProvider.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0;
        var day = Math.Sin((2 * Math.PI * seconds / DaySeconds) + _phase);
        var weather = Math.Sin((2 * Math.PI * seconds / WeatherSeconds) + (3 * _phase));
        var step = (long)(seconds * 10);
        return ValueTask.FromResult(new Measurement(
        [
            new("temperature", Math.Round(20.5 + (3 * day) + (1.5 * weather) + (0.15 * Noise(step)), 2)),
            new("humidity", Math.Round(48 - (9 * day) + (6 * weather) + (0.5 * Noise(step + 1)), 1)),
            new("pressure", Math.Round(1013.2 - (9 * weather) + (0.1 * Noise(step + 2)), 1)),
        ]));
    }

    public void Dispose()
    {
    }

    /// <summary>-1..1, the same for the same seed and step: the finalizer of SplitMix64
    /// (Steele, Lea, Flood 2014).</summary>
    double Noise(long step)
    {
        var z = unchecked(((ulong)_seed << 32) + (ulong)step + 0x9E3779B97F4A7C15);
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
        z ^= z >> 31;
        return (z >> 11) / (double)(1UL << 52) - 1;
    }

    /// <summary>string.GetHashCode differs from run to run; this does not (FNV-1a, 32 bit).</summary>
    static uint Fnv1A(string text)
    {
        var hash = 2166136261u;
        foreach (var c in text) hash = unchecked((hash ^ c) * 16777619u);
        return hash;
    }
}
