using Microsoft.Extensions.Hosting;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Time;

namespace SensorForwarder.Operations.Status;

/// <summary>The state of the link to the receiver.</summary>
internal enum LinkState
{
    /// <summary>Nothing was sent yet, and nothing failed.</summary>
    Starting,

    /// <summary>The last attempt was accepted, or the hub is connected.</summary>
    Up,

    /// <summary>The hub is not connected, or the last attempt did not reach the receiver.</summary>
    Down,

    /// <summary>The receiver answers, but accepts nothing from this module until an operator intervenes.</summary>
    Refusing,

    /// <summary>The receiver answers with an error that may be temporary.</summary>
    Failing,

    /// <summary>Paused by the direct method.</summary>
    Paused,
}

/// <summary>
/// Keeps the history that no other part has: the rates of the queue, the link's state and since when, and the last hour
/// of each sensor. Samples every <see cref="LookEvery"/>, and once a second while a client requests the status. Memory
/// is bounded. Thread-safe.
/// </summary>
internal sealed class Trends(
    TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler, TimeProvider timeProvider,
    IEdgeHubClient? hub = null)
    : BackgroundService
{
    /// <summary>Number of values whose last hour is kept; each takes half a kilobyte.</summary>
    public const int MaxSeries = 400;

    // Number of values kept of one sensor.
    const int MaxValues = 16;

    /// <summary>Number of points of a series: one per half minute of the last hour.</summary>
    public const int Points = 120;

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(5);
    static readonly TimeSpan FreshFor = TimeSpan.FromSeconds(1);
    static readonly TimeSpan PointEvery = TimeSpan.FromSeconds(30);
    static readonly TimeSpan RatesSpan = TimeSpan.FromSeconds(60);

    // Over a shorter time there is no trend yet.
    static readonly TimeSpan RatesSpanMin = TimeSpan.FromSeconds(4);

    readonly Lock _gate = new();

    // Guarded by _gate.
    readonly Queue<(long At, long Depth, long Accepted, long Committed)> _depths = new();
    readonly Dictionary<(string Sensor, string Value), float[]> _hour = [];
    LinkState _link = LinkState.Starting;
    Moment _linkSince = Moment.Now(timeProvider);
    long _point = -1;
    long _revision;

    /// <summary>Increases when <see cref="LastHour"/> has a new point.</summary>
    public long Revision
    {
        get { lock (_gate) return _revision; }
    }

    public (LinkState State, DateTimeOffset Since) Link
    {
        get { lock (_gate) return (_link, _linkSince.Time(timeProvider)); }
    }

    /// <summary>Readings a second over the last minute: growth of the queue, accepted by the receiver, committed.
    /// </summary>
    public (double Growth, double Accepted, double Committed) Rates
    {
        get
        {
            lock (_gate)
            {
                if (_depths.Count == 0) return default;
                var (first, last) = (_depths.Peek(), _depths.Last());
                var span = timeProvider.GetElapsedTime(first.At, last.At);
                if (span < RatesSpanMin) return default;
                var seconds = span.TotalSeconds;
                return ((last.Depth - first.Depth) / seconds, (last.Accepted - first.Accepted)
                    / seconds, (last.Committed - first.Committed) / seconds);
            }
        }
    }

    /// <summary>The values of a reading that are shown. Duplicate names are removed: two channels of a device may have
    /// the same name.</summary>
    public static IEnumerable<KeyValuePair<string, double>> Shown(Reading reading) =>
        reading.Values.DistinctBy(value => value.Key).Take(MaxValues);

    public bool GoesToHub(ForwardingStatus forwarding) =>
        hub is not null && forwarding.Sink == hub.Host;

    /// <summary>The last hour by sensor and value, oldest point first; NaN where nothing was read.</summary>
    public IReadOnlyList<(string Sensor, string Value, float[] Points)> LastHour()
    {
        lock (_gate)
        {
            var next = (int)((_point + 1) % Points);
            return [.. _hour.Select(entry => (
                entry.Key.Sensor, entry.Key.Value, (float[])[.. entry.Value[next..], .. entry.Value[..next]]))];
        }
    }

    /// <summary>Takes a sample, unless the last one is less than a second old.</summary>
    public void Refresh()
    {
        lock (_gate)
        {
            if (_depths.Count > 0 && timeProvider.GetElapsedTime(_depths.Last().At) < FreshFor) return;
        }

        Look();
    }

    public void Look()
    {
        var (stored, forwarding, sensors) = (buffer.GetStatus(), forwarder.Status, scheduler.Health);
        lock (_gate)
        {
            var now = timeProvider.GetTimestamp();
            _depths.Enqueue((now, stored.Depth, forwarding.Readings, stored.CommittedReadings));
            while (timeProvider.GetElapsedTime(_depths.Peek().At, now) > RatesSpan) _depths.Dequeue();
            var link = StateOf(forwarding);
            if (link != _link) (_link, _linkSince) = (link, Moment.Now(timeProvider));
            Note(sensors, (long)(timeProvider.GetElapsedTime(0, now) / PointEvery));
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new AlignedTimer(LookEvery, timeProvider);
        do Look();
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    LinkState StateOf(ForwardingStatus forwarding)
    {
        if (forwarding.Paused) return LinkState.Paused;
        var goesToHub = GoesToHub(forwarding);
        if (goesToHub && hub!.Status.State != HubState.Connected) return LinkState.Down;
        if (forwarding.LastError is not null)
        {
            return forwarding.LastErrorAnswer switch
            {
                null => LinkState.Down,
                SendOutcome.Retry => LinkState.Failing,
                _ => LinkState.Refusing,
            };
        }

        return goesToHub || forwarding.LastSuccess is not null ? LinkState.Up : LinkState.Starting;
    }

    void Note(IReadOnlyList<SensorHealth> sensors, long point)
    {
        if (point != _point)
        {
            // Points without a sample are empty; at the first sample there are none to clear.
            for (var p = _point < 0 ? point : Math.Max(_point + 1, point - Points + 1); p <= point; p++)
            {
                foreach (var points in _hour.Values) points[p % Points] = float.NaN;
            }

            _point = point;
            _revision++;
            var names = sensors.Select(sensor => sensor.Name).ToHashSet(StringComparer.Ordinal);
            foreach (var gone in _hour.Keys.Where(key => !names.Contains(key.Sensor)).ToList()) _hour.Remove(gone);
        }

        foreach (var sensor in sensors.OrderBy(sensor => sensor.Name, StringComparer.Ordinal).Take(MaxSeries))
        {
            if (sensor is not { State: SensorState.Working, Last: { } last }) continue;
            foreach (var (name, value) in Shown(last))
            {
                if (!_hour.TryGetValue((sensor.Name, name), out var points))
                {
                    if (_hour.Count >= MaxSeries) continue;
                    _hour[(sensor.Name, name)] = points = new float[Points];
                    Array.Fill(points, float.NaN);
                }

                points[point % Points] = (float)value;
            }
        }
    }
}
