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
    // How often edgeHub removes what has waited too long (MessageStore's cleaner).
    static readonly TimeSpan CleanEvery = TimeSpan.FromMinutes(30);

    sealed record Stored(RoutedMessage Message, Receipt? Receipt, Route Route, long Since);

    readonly RecentMessages _recent;
    readonly FaultSwitches _faults;
    readonly HubMetrics _metrics;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly Lock _lock = new();

    // What waits, by priority: lower numbers first, and in each the oldest first.
    readonly SortedDictionary<int, Queue<Stored>> _queues = [];
    long _bytes;
    long _cleaned;

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
        _cleaned = time.GetTimestamp();
        foreach (var priority in routes.UpstreamPriorities)
        {
            _queues[priority] = new Queue<Stored>();
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
                Clean();
                return _queues.ToDictionary(queue => queue.Key, queue => queue.Value.Count);
            }
        }
    }

    /// <summary>Whether so much more may wait; what goes to the cloud at once does not.</summary>
    public bool HasRoomFor(int bytes)
    {
        lock (_lock)
        {
            Clean();
            return !_faults.Current.UpstreamOffline || _bytes + bytes <= Routes.StoreMaxBytes;
        }
    }

    /// <summary>Takes a message that is about to be acknowledged. The receipt, if it holds a batch.</summary>
    public Receipt? Store(RoutedMessage message, Route route)
    {
        var batch = PnpMessage.AsBatch(message.From, message.Properties, message.Body) ?? message.Body;
        var receipt = Ledger.Accept(batch, out var problem);
        if (problem is not null)
        {
            _log.Write($"a message that is no batch: {problem}");
        }

        lock (_lock)
        {
            var stored = new Stored(message, receipt, route, _time.GetTimestamp());
            if (_faults.Current.UpstreamOffline)
            {
                _queues[route.Priority].Enqueue(stored);
                _bytes += message.Size;
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
            foreach (var queue in _queues.Values)
            {
                while (queue.TryDequeue(out var stored))
                {
                    if (IsExpired(stored, fault))
                    {
                        expired++;
                        Expire(stored);
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

            _bytes = 0;
        }

        _log.Write($"edgeHub has the cloud again: {delivered} messages handed on" +
            (expired > 0 ? $", {expired} dropped because they were too old: readings in them are lost" : "") +
            (lost > 0 ? $", {lost} lost on command" : ""));
    }

    /// <summary>Drops what has waited too long, from the front of each queue, while the cloud is away. Called under the lock.</summary>
    void Clean()
    {
        if (_time.GetElapsedTime(_cleaned) < CleanEvery)
        {
            return;
        }

        _cleaned = _time.GetTimestamp();
        foreach (var queue in _queues.Values)
        {
            while (queue.TryPeek(out var stored) && IsExpired(stored, _faults.Current))
            {
                Expire(queue.Dequeue());
                _bytes -= stored.Message.Size;
            }
        }
    }

    bool IsExpired(Stored stored, FaultSettings fault)
    {
        var timeToLive = fault.QueueTimeToLiveSeconds > 0 ? TimeSpan.FromSeconds(fault.QueueTimeToLiveSeconds) : stored.Route.TimeToLive;
        return timeToLive is { } limit && _time.GetElapsedTime(stored.Since) > limit;
    }

    void Expire(Stored stored) => _metrics.Dropped("ttl_expiry", stored.Message.From, stored.Message.Output);

    void Deliver(Stored stored)
    {
        if (stored.Receipt is not null)
        {
            Ledger.Count(stored.Receipt);
        }

        var message = stored.Message;
        _recent.Add("mqtt", message.From.DeviceId, message.From.ModuleId, message.Properties, message.Body);
        _metrics.Sent(message.From, message.Output, stored.Route.Priority);
    }
}
