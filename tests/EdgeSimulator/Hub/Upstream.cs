using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Metrics;

namespace EdgeSimulator.Hub;

/// <summary>
/// edgeHub's store and what is behind it: messages that were acknowledged go to the cloud at once, or wait while the cloud is away.
/// The ledger counts what has reached the cloud, so what edgeHub loses after its PUBACK counts as lost. Thread-safe.
/// </summary>
internal sealed class Upstream
{
    sealed record Stored(
        HubTopic.Telemetry From, IReadOnlyDictionary<string, string?> Properties, byte[] Body, Receipt? Receipt, Route Route, long Since);

    readonly RecentMessages _recent;
    readonly FaultSwitches _faults;
    readonly HubMetrics _metrics;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly Lock _lock = new();

    // Lower priority numbers first, and in each the oldest first.
    readonly PriorityQueue<Stored, (int Priority, long Number)> _queue = new();
    readonly SortedDictionary<int, int> _lengths = [];
    long _number;

    public Upstream(
        Ledger ledger, RecentMessages recent, RoutingTable routes, FaultSwitches faults, HubMetrics metrics, TimeProvider time, RunLog log)
    {
        Ledger = ledger;
        Routes = routes;
        _recent = recent;
        _faults = faults;
        _metrics = metrics;
        _time = time;
        _log = log;
        foreach (var priority in routes.UpstreamPriorities)
        {
            _lengths[priority] = 0;
        }

        faults.Changed += OnFaultsChanged;
    }

    public Ledger Ledger { get; }

    public RoutingTable Routes { get; }

    /// <summary>How many messages wait for the cloud, by priority.</summary>
    public IReadOnlyDictionary<int, int> Lengths
    {
        get
        {
            lock (_lock)
            {
                return new Dictionary<int, int>(_lengths);
            }
        }
    }

    /// <summary>Takes a message that is about to be acknowledged. The receipt, if it holds a batch.</summary>
    public Receipt? Store(HubTopic.Telemetry from, IReadOnlyDictionary<string, string?> properties, byte[] body, Route route)
    {
        var receipt = Ledger.Accept(PnpMessage.AsBatch(from, properties, body) ?? body, out var problem);
        if (problem is not null)
        {
            _log.Write($"a message that is no batch: {problem}");
        }

        lock (_lock)
        {
            var stored = new Stored(from, properties, body, receipt, route, _time.GetTimestamp());
            if (_faults.Current.UpstreamOffline)
            {
                _queue.Enqueue(stored, (route.Priority, _number++));
                _lengths[route.Priority] = _lengths.GetValueOrDefault(route.Priority) + 1;
            }
            else
            {
                Deliver(stored);
            }
        }

        return receipt;
    }

    void OnFaultsChanged(FaultSettings before, FaultSettings after)
    {
        if (!before.UpstreamOffline && after.UpstreamOffline)
        {
            _metrics.Offline();
            _log.Write("edgeHub has lost the cloud: it goes on acknowledging, and keeps what comes");
        }
        else if (before.UpstreamOffline && !after.UpstreamOffline)
        {
            Drain(after);
        }
    }

    void Drain(FaultSettings fault)
    {
        var (delivered, expired, lost) = (0, 0, 0);
        lock (_lock)
        {
            while (_queue.TryDequeue(out var stored, out _))
            {
                _lengths[stored.Route.Priority]--;
                var timeToLive = fault.QueueTimeToLiveSeconds > 0
                    ? TimeSpan.FromSeconds(fault.QueueTimeToLiveSeconds)
                    : stored.Route.TimeToLive;
                if (timeToLive is { } limit && _time.GetElapsedTime(stored.Since) > limit)
                {
                    expired++;
                    _metrics.Dropped("ttl_expiry", stored.From, Output(stored));
                }
                else if (_faults.TryTakeLostQueued())
                {
                    lost++;
                }
                else
                {
                    delivered++;
                    Deliver(stored);
                }
            }
        }

        _log.Write($"edgeHub has the cloud again: {delivered} messages handed on" +
            (expired > 0 ? $", {expired} dropped because they were too old: readings in them are lost" : "") +
            (lost > 0 ? $", {lost} lost on command" : ""));
    }

    void Deliver(Stored stored)
    {
        if (stored.Receipt is not null)
        {
            Ledger.Count(stored.Receipt);
        }

        _recent.Add("mqtt", stored.From.DeviceId, stored.From.ModuleId, stored.Properties, stored.Body);
        _metrics.Sent(stored.From, Output(stored), stored.Route.Priority);
    }

    static string Output(Stored stored) => stored.Properties.GetValueOrDefault("$.on") ?? "";
}
