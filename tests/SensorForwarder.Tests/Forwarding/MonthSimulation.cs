using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>
/// Thirty days of a dispatcher over a real buffer in a world that is made from a seed: blackouts, lost answers, throttling, an
/// edgeHub without a cloud, restarts, pauses, a clock that is set, other settings, poison. What must always hold is checked at
/// every event.
/// </summary>
internal sealed class MonthSimulation : IAsyncDisposable
{
    public const int ReceiverTakesBytes = 60_000;
    public static readonly TimeSpan LongestSend = TimeSpan.FromSeconds(1);

    static readonly TimeSpan Month = TimeSpan.FromDays(30);

    // The longest that anything waits after the weather turned fine: Retry-After's bound, and the spread.
    static readonly TimeSpan Recovery = Circuit.RetryAfterMax + Circuit.SpreadMax + TimeSpan.FromMinutes(1);

    readonly BufferFixture _files = new(inMemory: true);
    readonly SteppedClock _clock = new(new(2026, 11, 1, 0, 0, 0, TimeSpan.Zero));
    readonly Invariants _invariants = new();
    readonly LiveShare _liveShare = new();
    readonly LogLines _log = new();
    readonly List<SimulatedSend> _underWay = [];
    readonly Dictionary<long, TimeSpan> _producedAt = [];
    readonly HashSet<long> _received = [];
    readonly Dictionary<SinkKind, ISink> _sinks;
    TelemetryBuffer _buffer = null!;
    Dispatcher _dispatcher = null!;
    ForwardingSettings _settings = new() { DrainOrder = DrainOrder.LiveFirst, UploadInterval = TimeSpan.FromMinutes(1) };
    InvalidOperationException? _violation;
    bool _paused;
    volatile bool _woken;
    TimeSpan _calmSince;
    int _produced;

    public MonthSimulation(int seed)
    {
        Random = new(seed);
        _sinks = new() { [SinkKind.Http] = new ScriptedSink(this, SinkKind.Http), [SinkKind.IotHub] = new ScriptedSink(this, SinkKind.IotHub) };
    }

    public Random Random { get; }

    public Weather Weather { get; private set; }

    public SimulatedEdgeHub EdgeHub { get; } = new();

    /// <summary>By a clock that does not step.</summary>
    public TimeSpan Elapsed { get; private set; }

    public MonthCounts Counts { get; } = new();

    /// <summary>Nothing is there to be sent, something is under way, or somebody keeps it.</summary>
    bool IsStopped => _paused || _underWay.Count > 0 || !_sinks[_settings.Sink].IsReady(_settings) || _sinks[_settings.Sink].IsHeld
        || _buffer.GetStatus().Depth == 0;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static bool IsPoison(long id) => id % 397 == 0;

    /// <summary>Lives through the month, and through what it takes to drain afterwards.</summary>
    public async Task RunAsync()
    {
        _buffer = await _files.OpenAsync();
        Restart();
        while (Elapsed < Month)
        {
            var next = Elapsed + TimeSpan.FromMinutes(1 + (Random.NextDouble() * 120));
            await RunUntilAsync(next);
            await ProduceAsync(1 + Random.Next(20));
            if (Random.Next(8) == 0) await ChangeTheWorldAsync();
        }

        var before = _settings;
        _settings = _settings with { DailyMessageLimit = 0, BackfillBatchesPerMinute = 0 };
        (Weather, _paused, _calmSince) = (Weather.Fine, false, Elapsed);
        _invariants.OnChange(before, _settings);
        EdgeHub.Become(Uplink.Fast, 0);
        EdgeHub.TurnPage(true);
        var left = 0L;
        for (var day = 0; day < 10 && (left = _buffer.GetStatus().Depth) > 0; day++) await RunUntilAsync(Elapsed + TimeSpan.FromDays(1));
        if (left > 0) throw new InvalidOperationException($"stuck with {left} readings: {_dispatcher.Status.LastError}, {_settings}");
        var putAside = _buffer.ListDeadLetters(0, 10_000).Select(letter => letter.Id).ToHashSet();
        for (var id = 1L; id <= _buffer.LastCommittedId; id++)
        {
            if (!_received.Contains(id) && !(IsPoison(id) && putAside.Contains(id)))
                throw new InvalidOperationException($"reading {id} was lost");
        }

        LogLine.Check(_log.All);
    }

    public void Begin(SimulatedSend send, ForwardingSettings settings)
    {
        Counts.Sends++;
        if (EdgeHub.IsHolding && send.Sink == SinkKind.IotHub) Counts.WhileHeld++;
        _liveShare.OnSend(send.Batch);
        try
        {
            _invariants.OnSend(send, settings, _underWay, DateOnly.FromDateTime(_clock.GetUtcNow().UtcDateTime), EdgeHub);
        }
        catch (InvalidOperationException exception)
        {
            _violation ??= exception; // the dispatcher would take it for a failed send
        }

        _underWay.Add(send);
    }

    public async ValueTask DisposeAsync()
    {
        await _buffer.DisposeAsync();
        _files.Dispose();
    }

    async Task RunUntilAsync(TimeSpan end)
    {
        while (true)
        {
            var wait = await StepAsync();
            var next = end;
            if (wait is { } w && Elapsed + w < next) next = Elapsed + (w > TimeSpan.Zero ? w : TimeSpan.FromMilliseconds(1));
            foreach (var send in _underWay) next = send.Ends < next ? send.Ends : next;
            if (EdgeHub.NextChange is { } look && look < next) next = look;
            if (next > Elapsed) _clock.Advance(next - Elapsed);
            Elapsed = next > Elapsed ? next : Elapsed;
            EdgeHub.Advance(Elapsed);
            var ended = _underWay.FindAll(send => send.Ends <= Elapsed);
            foreach (var send in ended)
            {
                _underWay.Remove(send);
                End(send);
            }

            if (_violation is not null) throw _violation;
            if (ended.Count == 0 && Elapsed >= end) return;
        }
    }

    /// <summary>Steps until nothing is left to do at this moment.</summary>
    async Task<TimeSpan?> StepAsync()
    {
        while (true)
        {
            _woken = false;
            var wait = _dispatcher.Step(_settings, _paused, 0, CancellationToken.None);
            if (_dispatcher.Settling is { IsCompleted: false } settling)
            {
                await settling;
                continue;
            }

            if (_woken) continue;
            _invariants.OnTurn(Elapsed, _clock.GetUtcNow(), _settings, _dispatcher.Held, IsStopped, EdgeHub);
            _liveShare.Advance(Elapsed, _clock.GetUtcNow(), _settings, _dispatcher.Status);
            return wait;
        }
    }

    void End(SimulatedSend send)
    {
        if (send.Arrives) Arrive(send);
        _invariants.OnEnd(send, Elapsed, _settings);
        send.Answer.SetResult(send.Result);
    }

    void Arrive(SimulatedSend send)
    {
        if (send.Sink == SinkKind.IotHub) EdgeHub.Take();
        foreach (var reading in send.Batch.Readings)
        {
            if (!_received.Add(reading.Id) || !_producedAt.TryGetValue(reading.Id, out var at)) continue;

            // Live latency: with enough fine weather behind it, what is new is not held up by any backlog.
            var isCalm = Weather == Weather.Fine && EdgeHub.IsFast && !_paused && at > _calmSince + Recovery;
            if (!isCalm || _settings.DrainOrder != DrainOrder.LiveFirst) continue;
            var isMetered = _settings is { DailyMessageLimit: > 0, Sink: SinkKind.IotHub };
            if (isMetered && at <= _liveShare.TightAt) continue;
            if (isMetered) Counts.TimedMetered++;
            else Counts.Timed++;
            var bound = (2 * _settings.UploadInterval) + (20 * LongestSend);
            if (Elapsed - at > bound)
                throw new InvalidOperationException($"reading {reading.Id} took {Elapsed - at}, more than {bound}; lane {send.Batch.Lane}, {_settings}");
        }
    }

    async Task ProduceAsync(int count)
    {
        var readings = Enumerable.Range(0, count).Select(_ => BufferFixture.Reading(++_produced) with { Time = _clock.GetUtcNow() }).ToList();
        var ids = await Task.WhenAll(readings.Select(reading => _buffer.EnqueueAsync(reading, Token).AsTask()));
        foreach (var id in ids) _producedAt[id] = Elapsed;
    }

    async Task ChangeTheWorldAsync()
    {
        switch (Random.Next(12))
        {
            case < 4:
                Weather = Weather == Weather.Fine ? (Weather)Random.Next(4) : Weather.Fine;
                break;
            case < 7:
                ChangeSettings();
                break;
            case 7:
                _paused = !_paused && Random.Next(2) == 0;
                break;
            case 8:
                await RestartAsync();
                break;
            case 9:
                EdgeHub.Become(EdgeHub.IsFast ? (Uplink)Random.Next(3) : Uplink.Fast, Random.Next(1_200));
                break;
            case 10:
                EdgeHub.TurnPage(Random.Next(3) > 0);
                break;
            default:
                _clock.Step(TimeSpan.FromHours(Random.Next(3) switch { 0 => Random.Next(-48, 48), 1 => -1, _ => 1 }));
                break;
        }

        _calmSince = Elapsed;
        _liveShare.Forget();
    }

    void ChangeSettings()
    {
        T One<T>(params ReadOnlySpan<T> values) => values[Random.Next(values.Length)];
        var before = _settings;
        _settings = Random.Next(7) switch
        {
            0 => _settings with { Sink = One(SinkKind.Http, SinkKind.IotHub) },
            1 => _settings with { DrainOrder = One(DrainOrder.LiveFirst, DrainOrder.OldestFirst) },
            2 => _settings with { BackfillBatchesPerMinute = One(0, 0, 1, 60) },
            3 => _settings with { DailyMessageLimit = One(0, 100, 200, 1_000) },
            4 => _settings with { UploadInterval = TimeSpan.FromSeconds(One(0, 1, 10, 60, 600)) },
            5 => _settings with { MaxInFlightBatches = One(1, 2, 4, 64) },
            _ => _settings with { BatchSize = One(10, 50, 500, 10_000), BatchMaxBytes = One(1_024, 8_192, 245_760) },
        };
        if (_settings == before) return;
        _invariants.OnChange(before, _settings);
    }

    /// <summary>A stop, or a kill: what is under way may have arrived or not, and nobody ever hears of it.</summary>
    async Task RestartAsync()
    {
        foreach (var send in _underWay)
        {
            if (send.Arrives && Random.Next(2) == 0) Arrive(send);
        }

        _underWay.Clear();
        if (Random.Next(2) == 0) _dispatcher.Close();
        await _buffer.DisposeAsync();
        _buffer = await _files.OpenAsync();
        Restart();
    }

    void Restart()
    {
        _invariants.OnRestart();
        EdgeHub.OnRestart();
        _dispatcher = new(
            _buffer, _sinks, new BatchEncoder("pi", "module", () => _buffer.Epoch), _clock, new Random(Random.Next()), _log.For<Dispatcher>(), () => _woken = true);
    }
}

/// <summary>How much of what is to be proven came about in a simulated month.</summary>
internal sealed class MonthCounts
{
    public long Sends { get; set; }

    /// <summary>Sends to an edgeHub that was known to be stuck.</summary>
    public long WhileHeld { get; set; }

    /// <summary>New readings whose time was checked.</summary>
    public long Timed { get; set; }

    /// <summary>The same, with a daily limit.</summary>
    public long TimedMetered { get; set; }

    public void Add(MonthCounts other)
    {
        Sends += other.Sends;
        WhileHeld += other.WhileHeld;
        Timed += other.Timed;
        TimedMetered += other.TimedMetered;
    }
}
