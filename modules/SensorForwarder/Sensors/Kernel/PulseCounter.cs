using SensorForwarder.Options;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>counter</c>: pulses of a meter on a GPIO line. Counts by the kernel's sequence numbers, which include pulses
/// that were too fast to be read; the total continues after a restart.
/// </summary>
internal sealed class PulseCounter : ISensor
{
    const string Rising = "rising", Falling = "falling", Both = "both";

    static readonly Option<string> Edge = Option.Choice(
        "edge", [Rising, Falling, Both], Rising, "Which edges count: to active, to inactive, or both.");

    public static SensorKind Kind { get; } = new(
        "counter", "pulses of a meter on a GPIO line", [.. GpioPlace.Options, Edge], (settings, world) =>
            new PulseCounter(settings, world))
    {
        Connection = "GPIO",
        Values = [new("total", "pulses"), new("rate", "pulses a second")],
        Claims = GpioPlace.Claim,
        Bus = static _ => GpioPlace.Bus,
        HasSamples = false,
    };

    readonly string _name;
    readonly GpioPlace _place;
    readonly GpioRequest _request;
    readonly SensorWorld _world;
    readonly Func<GpioPlace, GpioRequest, GpioLine> _open;
    GpioLine? _line;
    GpioWatch? _watch;
    uint _sequence; // of the watch's thread
    volatile bool _hasEnded;
    volatile bool _hasLost;
    long? _lastTotal;
    long _lastTime;

    /// <param name="open">Takes a line; null: the kernel's.</param>
    public PulseCounter(
        SensorSettings settings, SensorWorld world, Func<GpioPlace, GpioRequest, GpioLine>? open = null)
    {
        _open = open ?? ((place, request) => place.Open(world.Roots, request));
        _name = settings.Name;
        _world = world;
        _place = new(settings);
        _request = GpioPlace.Request(settings, settings.Get(Edge) switch
        {
            Rising => GpioRequest.Rising,
            Falling => GpioRequest.Falling,
            _ => GpioRequest.Rising | GpioRequest.Falling,
        });
    }

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        if (_line is null) Open();
        _line!.IsActive(); // throws when the chip is gone
        if (_hasEnded) throw new SensorFault(FaultReason.Absent, $"{_place} is gone");

        var (total, now) = (_world.Totals.Of(_name), _world.TimeProvider.GetTimestamp());
        var values = new List<KeyValuePair<string, double>> { new("total", total) };
        if (_lastTotal is { } before
            && _world.TimeProvider.GetElapsedTime(_lastTime, now).TotalSeconds is var seconds and > 0.001)
            values.Add(new("rate", Math.Round((total - before) / seconds, 4)));
        (_lastTotal, _lastTime) = (total, now);

        var hasLost = _hasLost;
        _hasLost = false;
        return ValueTask.FromResult(hasLost
            ? new Measurement(values, ReadingQuality.Uncertain, FaultReason.Overrun,
                $"pulses on {_place} arrived faster than they could be read; the kernel's sequence numbers count them. "
                + "If this is noise, set debounceMilliseconds")
            : new Measurement(values));
    }

    public void Dispose()
    {
        _watch?.Dispose();
        _line?.Dispose();
    }

    void Open()
    {
        _world.Totals.Of(_name); // a total that can't be read keeps the line closed
        _line = _open(_place, _request);
        _watch = new(_line, Count, () => _hasEnded = true);
    }

    void Count(ReadOnlySpan<GpioEdge> edges)
    {
        var last = edges[^1].LineSequence;
        var pulses = last - _sequence; // the number may wrap
        if (pulses != edges.Length) _hasLost = true;
        _sequence = last;
        _world.Totals.Add(_name, pulses);
    }
}
