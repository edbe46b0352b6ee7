using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The receiver of a fleet.</summary>
internal enum FleetReceiver
{
    /// <summary>Answers 429 with Retry-After or 503 without it when its queue is full.</summary>
    Http,

    /// <summary>S1 units of IoT Hub: delays acknowledgements, and drops connections when its queue is full.</summary>
    Hub,
}

/// <summary>
/// Simulates many devices that lose the network in the same second, and regain it in the same second two hours later.
/// A discrete-event simulation over the product's decisions: <see cref="Plan"/>, <see cref="Outcome"/>,
/// <see cref="Circuit"/>, <see cref="BackfillRate"/> and <see cref="SensorForwarder.EdgeHub.ReconnectPolicy"/>.
/// </summary>
internal sealed class FleetSimulation : TimeProvider
{
    public static readonly TimeSpan ReadingEvery = TimeSpan.FromSeconds(10);
    public static readonly TimeSpan OutageBegins = TimeSpan.FromMinutes(20);
    public static readonly TimeSpan OutageEnds = OutageBegins + TimeSpan.FromHours(2);
    public static readonly TimeSpan LoadWindow = TimeSpan.FromSeconds(10);

    /// <summary>Live age is measured for readings recorded between these times: while devices drain, without the first
    /// minutes.</summary>
    public static readonly TimeSpan FreshAfter = OutageEnds + TimeSpan.FromMinutes(3);
    public static readonly TimeSpan FreshUntil = OutageEnds + TimeSpan.FromMinutes(12);

    const int ReadingBytes = 130;
    const int ChunksInDayPerUnit = 400_000;
    const int SendsPerSecondPerUnit = 12;
    const double SendsPerSecondOfDevice = 1 / 70.0; // the first reading that is 60 s younger closes a batch

    // Devices read until then, and have until the end to send the rest.
    static readonly TimeSpan LastReading = OutageEnds + TimeSpan.FromMinutes(40);
    static readonly TimeSpan End = LastReading + TimeSpan.FromMinutes(40);
    static readonly DateTimeOffset Begin = new(2026, 11, 1, 0, 0, 0, TimeSpan.Zero);

    readonly PriorityQueue<Action, (TimeSpan At, long Number)> _events = new();
    readonly List<FleetDevice> _devices = [];
    readonly Queue<TimeSpan> _offered = []; // within one window
    readonly TimeSpan _queue;
    TimeSpan _freeAt;
    TimeSpan _connectFreeAt;
    long _number;
    long _chunks;
    long _offeredBefore; // in the second half of the time before the outage

    public FleetSimulation(FleetReceiver receiver, int devices, int seed)
    {
        Random = new(seed);
        // A batch of new readings is one chunk.
        var chunksInDay = devices * SendsPerSecondOfDevice * TimeSpan.SecondsPerDay;

        // New readings use ten elevenths of the hub's daily chunks, and two thirds of the HTTP receiver's requests.
        Units = 1.1 * chunksInDay / ChunksInDayPerUnit;
        Capacity = receiver == FleetReceiver.Hub
            ? Units * SendsPerSecondPerUnit
            : 1.5 * devices * SendsPerSecondOfDevice;
        _queue = TimeSpan.FromSeconds(receiver == FleetReceiver.Hub ? 10 : 5);
        for (var i = 0; i < devices; i++)
        {
            var random = new Random(Random.Next());
            FleetSink sink = receiver == FleetReceiver.Hub ? new FleetHubSink(this, random) : new FleetHttpSink(this);
            var order = i % 2 == 0 ? DrainOrder.OldestFirst : DrainOrder.LiveFirst;
            _devices.Add(new(this, sink, random, order, TimeSpan.FromMinutes(2) * random.NextDouble()));
        }
    }

    public Random Random { get; }

    /// <summary>Units of the hub.</summary>
    public double Units { get; }

    /// <summary>Requests per second that the receiver handles.</summary>
    public double Capacity { get; }

    public TimeSpan Now { get; private set; }

    /// <summary>Whether the outage lasts.</summary>
    public bool IsOut => Now >= OutageBegins && Now < OutageEnds;

    public FleetFigures Figures { get; } = new();

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Now.Ticks;

    public override DateTimeOffset GetUtcNow() => Begin + Now;

    public static DateTimeOffset At(TimeSpan time) => Begin + time;

    /// <summary>The highest id that a device has assigned at a time.</summary>
    public static long LastIdAt(FleetDevice device, TimeSpan time)
    {
        time = time < LastReading ? time : LastReading;
        return time < device.FirstReading ? 0 : ((time - device.FirstReading).Ticks / ReadingEvery.Ticks) + 1;
    }

    /// <summary>Runs something later.</summary>
    public void After(TimeSpan delay, Action what) =>
        _events.Enqueue(what, (Now + (delay > TimeSpan.Zero ? delay : TimeSpan.Zero), ++_number));

    public void Run()
    {
        foreach (var device in _devices) After(device.FirstReading, device.Start);
        After(OutageEnds, () =>
        {
            foreach (var device in _devices) device.NoteBacklog();
        });
        while (_events.TryDequeue(out var what, out var when) && when.At <= End)
        {
            Now = when.At;
            what();
        }

        Figures.Close(this, _devices, _offeredBefore / (OutageBegins / 2).TotalSeconds, _chunks);
    }

    /// <summary>A request reaches the receiver.</summary>
    /// <returns>When it is served; null: the queue is full.</returns>
    public TimeSpan? Offer()
    {
        if (Now >= OutageBegins / 2 && Now < OutageBegins) _offeredBefore++;
        _offered.Enqueue(Now);
        while (_offered.Peek() <= Now - LoadWindow) _offered.Dequeue();
        if (Now >= OutageEnds) Figures.Offer(_offered.Count);
        if (_freeAt - Now > _queue)
        {
            Figures.Refused++;
            return null;
        }

        return _freeAt = (_freeAt > Now ? _freeAt : Now) + TimeSpan.FromSeconds(1 / Capacity);
    }

    /// <summary>Bills a message.</summary>
    /// <returns>False: the day's chunks are used up.</returns>
    public bool Bill(Batch batch)
    {
        _chunks += Quota.Chunks(batch.Readings.Count * ReadingBytes);
        return _chunks <= Units * ChunksInDayPerUnit;
    }

    /// <summary>A device connects to the hub, which accepts as many connections per second as messages.</summary>
    public bool TryConnect()
    {
        if (_connectFreeAt - Now > TimeSpan.FromSeconds(1)) return false;
        _connectFreeAt = (_connectFreeAt > Now ? _connectFreeAt : Now) + TimeSpan.FromSeconds(1 / Capacity);
        return true;
    }
}
