using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>
/// Simulates thirty days of a forwarder over a real buffer, with seeded random events: outages, lost answers,
/// throttling, an edgeHub without a cloud, restarts, pauses, steps of the wall clock, changed settings, readings that
/// are always rejected ("poison"). <see cref="Invariants"/> are checked at every event.
/// </summary>
internal sealed class MonthSimulation : IAsyncDisposable
{
    public const int ReceiverTakesBytes = 60_000;
    public static readonly TimeSpan LongestSend = TimeSpan.FromSeconds(1);

    static readonly TimeSpan Month = TimeSpan.FromDays(30);

    // The longest wait after the weather turned fine: the bound of Retry-After, and the spread.
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
    Forwarder _forwarder = null!;
    ForwardingSettings _settings = new() { DrainOrder = DrainOrder.LiveFirst, UploadInterval = TimeSpan.FromMinutes(1) };
    InvalidOperationException? _violation;
    volatile bool _hasReturned;
    bool _paused;
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

    /// <summary>Monotonic time since the start.</summary>
    public TimeSpan Elapsed { get; private set; }

    public MonthCounts Counts { get; } = new();

    /// <summary>Whether no send is expected: forwarding is paused or held, a send is in flight, or nothing
    /// waits.</summary>
    bool IsStopped => _paused || _underWay.Count > 0 || !_sinks[_settings.Sink].IsReady(_settings) || _sinks[_settings.Sink].IsHeld
        || _buffer.GetStatus().Depth == 0;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static bool IsPoison(long id) => id % 397 == 0;

    /// <summary>Runs the month, then drains the buffer in fine weather.</summary>
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
        if (left > 0) throw new InvalidOperationException($"stuck with {left} readings: {_forwarder.Status.LastError}, {_settings}");
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
        if (_hasReturned) _invariants.OnReturn(Elapsed); // the turn that returned readings may send them immediately
        try
        {
            _invariants.OnSend(send, settings, _underWay, DateOnly.FromDateTime(_clock.GetUtcNow().UtcDateTime), EdgeHub);
        }
        catch (InvalidOperationException exception)
        {
            _violation ??= exception; // thrown here, it would count as a failed send
        }

        _underWay.Add(send);
    }

    public async ValueTask DisposeAsync()
    {
        _forwarder.Dispose();
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

    /// <summary>Steps the forwarder until it has nothing to do at this time.</summary>
    async Task<TimeSpan?> StepAsync()
    {
        while (true)
        {
            _forwarder.Apply(_settings);
            if (_forwarder.Status.Paused && !_paused) _forwarder.Resume();
            if (!_forwarder.Status.Paused && _paused) _forwarder.Pause();
            var wait = _forwarder.Step(CancellationToken.None);
            if (_forwarder.Settling is { IsCompleted: false } settling)
            {
                await settling;
                continue;
            }

            if (_hasReturned)
            {
                // Readings older than those in flight may be sent next.
                _hasReturned = false;
                _invariants.OnReturn(Elapsed);
                _liveShare.Forget();
                continue;
            }

            if (_forwarder.IsAwake) continue;
            _invariants.OnTurn(Elapsed, _clock.GetUtcNow(), _settings, _forwarder.Held, IsStopped, EdgeHub);
            _liveShare.Advance(Elapsed, _clock.GetUtcNow(), _settings, _forwarder.Status);
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

            // Live latency: after enough fine weather, no backlog delays a new reading.
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

    /// <summary>A stop or a kill: sends in flight may have arrived, but their answers are lost.</summary>
    async Task RestartAsync()
    {
        foreach (var send in _underWay)
        {
            if (send.Arrives && Random.Next(2) == 0) Arrive(send);
        }

        _underWay.Clear();
        if (Random.Next(2) == 0) _forwarder.Close();
        await _buffer.DisposeAsync();
        _buffer = await _files.OpenAsync();
        Restart();
    }

    void Restart()
    {
        _invariants.OnRestart();
        EdgeHub.OnRestart();
        _forwarder?.Dispose();
        EdgeHub.Handovers = new("module", "", _ => Task.FromResult(EdgeHub.Look()), _clock, _log.For<Handovers>());
        _buffer.ReadingsReturned += () => _hasReturned = true;
        _forwarder = new(_buffer, _sinks, new BatchEncoder("pi", "module"), _clock, new Random(Random.Next()), _log.For<Forwarder>());
    }
}

/// <summary>How often the checked situations occurred in a simulated month.</summary>
internal sealed class MonthCounts
{
    public long Sends { get; set; }

    /// <summary>Sends while readings were held because of edgeHub.</summary>
    public long WhileHeld { get; set; }

    /// <summary>New readings whose latency was checked.</summary>
    public long Timed { get; set; }

    /// <summary>New readings whose latency was checked with a daily limit.</summary>
    public long TimedMetered { get; set; }

    public void Add(MonthCounts other)
    {
        Sends += other.Sends;
        WhileHeld += other.WhileHeld;
        Timed += other.Timed;
        TimedMetered += other.TimedMetered;
    }
}
