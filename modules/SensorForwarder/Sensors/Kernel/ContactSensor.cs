using SensorForwarder.Options;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>gpio</c>: a contact, button or motion detector. Reports the level on its schedule and each edge as it
/// occurs, with the kernel's timestamp.
/// </summary>
internal sealed class ContactSensor : ISensor
{
    // Edges kept until the loop takes them. A line that bounces faster needs debouncing.
    const int MaxEdges = 1000;
    const string Both = "both", Active = "active", Inactive = "inactive", None = "none";
    const string State = "state";

    static readonly Option<string> Edges = Option.Choice(
        "edges", [Both, Active, Inactive, None], Both, "Which changes are stored at once, in addition to the level "
            + "at each interval: to active, to inactive, or both.");

    public static SensorKind Kind { get; } = new(
        "gpio", "a contact, button or motion detector on a GPIO line", [.. GpioPlace.Options, Edges],
        (settings, world) => new ContactSensor(settings, world))
    {
        Connection = "GPIO",
        Values = [new(State, "1 active, 0 inactive")],
        Claims = GpioPlace.Claim,
        Bus = static _ => GpioPlace.Bus,
        HasSamples = false,
        HasWindows = false,
    };

    readonly GpioPlace _place;
    readonly GpioRequest _request;
    readonly SensorWorld _world;
    readonly Func<GpioPlace, GpioRequest, GpioLine> _open;
    readonly Lock _gate = new();
    readonly Queue<GpioEdge> _edges = new();
    GpioLine? _line;
    GpioWatch? _watch;
    uint _sequence;
    bool _hasLost;
    bool _hasEnded;
    TaskCompletionSource _news = NewSource();

    /// <param name="open">Takes a line; null: the kernel's.</param>
    public ContactSensor(
        SensorSettings settings, SensorWorld world, Func<GpioPlace, GpioRequest, GpioLine>? open = null)
    {
        _open = open ?? ((place, request) => place.Open(world.Roots, request));
        _world = world;
        _place = new(settings);
        _request = GpioPlace.Request(settings, settings.Get(Edges) switch
        {
            Both => GpioRequest.Rising | GpioRequest.Falling,
            Active => GpioRequest.Rising,
            Inactive => GpioRequest.Falling,
            _ => 0,
        });
    }

    public Task? News
    {
        get
        {
            lock (_gate) return _watch is null ? null : _news.Task;
        }
    }

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        if (_line is null) Open();
        lock (_gate)
        {
            if (_edges.TryDequeue(out var edge))
            {
                if (_edges.Count == 0) _news = NewSource();
                return ValueTask.FromResult(
                    ToMeasurement(edge.IsRising) with { Time = _world.TimeOf(edge.TimestampNanoseconds) });
            }

            if (_hasEnded) throw new SensorFault(FaultReason.Absent, $"{_place} is gone");
            return ValueTask.FromResult(ToMeasurement(_line!.IsActive()));
        }
    }

    public void Dispose()
    {
        _watch?.Dispose();
        _line?.Dispose();
        // Wakes the waiter, which checks the state again.
        lock (_gate) _news.TrySetResult();
    }

    void Open()
    {
        var line = _open(_place, _request);
        lock (_gate)
        {
            _line = line;
            if (_request.HasEdges) _watch = new(line, Take, End);
        }
    }

    Measurement ToMeasurement(bool isActive)
    {
        var value = new Measurement([new(State, isActive ? 1 : 0)]);
        if (!_hasLost) return value;
        _hasLost = false;
        return value with
        {
            Quality = ReadingQuality.Uncertain,
            Reason = FaultReason.Overrun,
            Detail = $"{_place} changes faster than it can be read, and some edges were lost: set debounceMilliseconds",
        };
    }

    void Take(ReadOnlySpan<GpioEdge> edges)
    {
        lock (_gate)
        {
            foreach (var edge in edges)
            {
                _hasLost |= edge.LineSequence != _sequence + 1 || _edges.Count == MaxEdges;
                _sequence = edge.LineSequence;
                if (_edges.Count == MaxEdges) _edges.Dequeue(); // drops the oldest
                _edges.Enqueue(edge);
            }

            _news.TrySetResult();
        }
    }

    void End()
    {
        lock (_gate)
        {
            _hasEnded = true;
            _news.TrySetResult();
        }
    }

    static TaskCompletionSource NewSource() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
