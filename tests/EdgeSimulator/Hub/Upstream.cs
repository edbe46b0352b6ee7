using System.Diagnostics;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Metrics;

namespace EdgeSimulator.Hub;

/// <summary>
/// edgeHub behind its PUBACK: sends messages to the cloud, stores them while the cloud is not reachable, loses them on
/// request, and updates edgeHub's metrics. The ledger counts a reading as arrived once it has reached the cloud, so a
/// message lost after its PUBACK counts as lost. A restart resets the metrics but keeps the store. Thread-safe.
/// </summary>
internal sealed class Upstream : IDisposable
{
    /// <summary>The most messages that edgeHub sends in one group, which the cloud acknowledges together.</summary>
    public const int GroupSize = 10;

    /// <summary>Number of messages that edgeHub discards at once while the cloud refuses connections.</summary>
    public const int DiscardedAtOnce = 100;

    /// <summary>How often edgeHub retries with <see cref="Cloud.Refusing"/> and
    /// <see cref="Cloud.Swallowing"/>.</summary>
    public static readonly TimeSpan RetryInterval = TimeSpan.FromSeconds(10);

    readonly MessageStore _store;
    readonly RecentMessages _recent;
    readonly FaultSwitches _faults;
    readonly HubMetrics _metrics;
    readonly RunLog _log;
    readonly MessageCheck? _check;
    readonly ITimer _sending;
    readonly ITimer _retrying;
    readonly Lock _lock = new();

    // Whether a group is in transit to the cloud, with the fault cloudLatencyMilliseconds.
    bool _isSending;

    public Upstream(
        Ledger ledger, RecentMessages recent, RoutingTable routes, FaultSwitches faults, HubMetrics metrics, TimeProvider time, RunLog log,
        MessageCheck? check = null)
    {
        Ledger = ledger;
        Routes = routes;
        _store = new MessageStore(routes.UpstreamPriorities, time);
        _recent = recent;
        _faults = faults;
        _metrics = metrics;
        _log = log;
        _check = check;
        _sending = time.CreateTimer(_ => OnSent(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _retrying = time.CreateTimer(_ => Retry(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        faults.Changed += OnFaultsChanged;
    }

    public Ledger Ledger { get; }

    public RoutingTable Routes { get; }

    /// <summary>Number of edgeHub's restarts.</summary>
    public int Restarts { get; private set; }

    bool CanSend => _faults.Current is { IsCloudAway: false, HubStopped: false };

    public void Dispose()
    {
        _sending.Dispose();
        _retrying.Dispose();
    }

    /// <summary>The text of the metrics page.</summary>
    public string Page()
    {
        IReadOnlyDictionary<int, int> gauge;
        lock (_lock)
        {
            Clean();
            Ledger.Looked(hasAllArrived: _store.Count == 0);
            gauge = _store.Gauge;
        }

        return _metrics.Render(gauge);
    }

    /// <summary>Whether the store has room for the bytes; always true while the cloud is reachable.</summary>
    public bool HasRoomFor(int bytes)
    {
        lock (_lock)
        {
            Clean();
            return !_faults.Current.IsCloudAway || _store.Bytes + bytes <= Routes.StoreMaxBytes;
        }
    }

    /// <summary>Stores a message that is about to be acknowledged. Returns its receipt; null if it is not a
    /// batch.</summary>
    /// <param name="message">The message.</param>
    /// <param name="route">Its route to the cloud. Null: no route, so edgeHub drops the message.</param>
    public Receipt? Store(RoutedMessage message, Route? route)
    {
        _check?.Check(message.Content, $"output '{message.Output}' of {message.From.ModuleId}");
        var batch = PnpMessage.AsBatch(message.From, message.Properties, message.Content) ?? message.Content;
        var receipt = Ledger.Accept(batch, out var problem);
        if (problem is not null)
        {
            _log.Write($"message is not a batch: {problem}");
        }

        if (route is null)
        {
            _metrics.Dropped("no_route", message.From, message.Output);
            Lose(receipt, Causes.NoRoute);
        }
        else if (_faults.TryTakeDropAcknowledged())
        {
            Lose(receipt);
            _log.Write("edgeHub loses a message after its acknowledgement (fault dropAcknowledged); " +
                "its readings are lost unless sent again");
        }
        else
        {
            lock (_lock)
            {
                _store.Add(message, receipt, route);
                Send();
            }
        }

        return receipt;
    }

    /// <summary>Loses an acknowledged message: the middle one of the queue, or the next message if the queue is
    /// empty.</summary>
    public void LoseOne()
    {
        StoredMessage? middle;
        lock (_lock)
        {
            middle = _store.Middle();
            if (middle is not null)
            {
                _store.Remove(middle);
                Lose(middle.Receipt);
            }
        }

        if (middle is null)
        {
            _faults.Update(f => f with { DropAcknowledged = f.DropAcknowledged + 1 });
            _log.Write("edgeHub will lose the next message after its acknowledgement");
        }
        else
        {
            _log.Write("edgeHub loses a message that it has acknowledged; its readings are lost unless sent again");
        }
    }

    // Called under FaultSwitches' lock. Lock order: FaultSwitches first, then this class.
    void OnFaultsChanged(FaultSettings before, FaultSettings after)
    {
        var events = new List<string>();
        lock (_lock)
        {
            if (before.HubStopped && !after.HubStopped)
            {
                Restart();
                events.Add($"edgeHub has restarted as a new instance with {_store.Count} stored messages");
            }
            else if (!before.HubStopped && after.HubStopped)
            {
                events.Add("edgeHub has stopped");
            }

            if (before.Cloud != after.Cloud && after.IsCloudAway)
            {
                events.Add(Description(after.Cloud));
                if (after.Cloud != Cloud.Stalled)
                {
                    _metrics.Offline();
                }
            }
            else if (before.IsCloudAway && !after.IsCloudAway)
            {
                var lost = LoseQueued();
                events.Add($"edgeHub reaches the cloud again; {_store.Count} messages are queued" +
                    (lost > 0 ? $", {lost} were lost (fault loseQueued)" : ""));
            }

            if ((before.Cloud, before.HubStopped, before.DiscardAfterSeconds) != (after.Cloud, after.HubStopped, after.DiscardAfterSeconds))
            {
                _retrying.Change(FirstRetry(before, after), RetryInterval);
            }

            // A group in transit when edgeHub stopped or lost the cloud is sent again.
            _isSending &= CanSend;
            Send();
        }

        events.ForEach(_log.Write);
    }

    /// <summary>Restarts edgeHub: keeps the store, resets metrics. Called under the lock.</summary>
    void Restart()
    {
        Restarts++;
        _store.Reopen();
        _metrics.Restart();
        Ledger.Doubt(Causes.CountersReset);
    }

    /// <summary>Sends queued messages while the cloud is reachable. Called under the lock.</summary>
    void Send()
    {
        while (!_isSending && CanSend && _store.Count > 0)
        {
            if (_faults.Current.CloudLatencyMilliseconds is > 0 and var latency)
            {
                _isSending = true;
                _sending.Change(TimeSpan.FromMilliseconds(latency), Timeout.InfiniteTimeSpan);
            }
            else
            {
                SendGroup();
            }
        }
    }

    void OnSent()
    {
        lock (_lock)
        {
            if (_isSending)
            {
                _isSending = false;
                SendGroup();
                Send();
            }
        }
    }

    /// <summary>Delivers a group of the oldest messages of one priority to the cloud. Called under the lock.</summary>
    void SendGroup()
    {
        var priority = _store.Oldest?.Route.Priority;
        var group = new List<StoredMessage>();
        while (group.Count < GroupSize && _store.Oldest is { } oldest && oldest.Route.Priority == priority)
        {
            if (_store.IsExpired(oldest, _faults.Current.TimeToLive))
            {
                // As in edgeHub, no metric counts a message that expires here.
                _store.Skip(oldest);
                Lose(oldest.Receipt);
            }
            else
            {
                _store.Remove(oldest);
                group.Add(oldest);
                Arrive(oldest);
            }
        }

        foreach (var messages in group.GroupBy(stored => (stored.Message.From.DeviceId, stored.Message.From.ModuleId)))
        {
            var first = messages.First();
            _metrics.Sent(first.Message.From, first.Message.Output, first.Route.Priority, messages.Count());
        }
    }

    void Arrive(StoredMessage stored)
    {
        if (stored.Receipt is not null)
        {
            Ledger.Count(stored.Receipt);
        }

        var message = stored.Message;
        _recent.Add("mqtt", message.From.DeviceId, message.From.ModuleId, message.Properties, message.Content);
    }

    /// <summary>Runs every <see cref="RetryInterval"/>: discards messages while the cloud refuses connections, delivers
    /// one without an acknowledgement while it swallows messages.</summary>
    void Retry()
    {
        var discarded = 0;
        lock (_lock)
        {
            switch (_faults.Current)
            {
                case { HubStopped: true }:
                    break;
                case { Cloud: Cloud.Refusing }:
                    for (; discarded < DiscardedAtOnce && _store.Oldest is { } oldest; discarded++)
                    {
                        _store.Remove(oldest);
                        Lose(oldest.Receipt);
                    }

                    break;
                case { Cloud: Cloud.Swallowing } when _store.Oldest is { } oldest:
                    Arrive(oldest);
                    Ledger.Explain(Causes.NotAcknowledgedByCloud, oldest.Receipt);
                    break;
                default:
                    break;
            }
        }

        if (discarded > 0)
        {
            _log.Write($"edgeHub discards {discarded} acknowledged messages, since the cloud refuses connections; " +
                "their readings are lost unless sent again");
        }
    }

    /// <summary>Time until the first retry. After a restart, edgeHub discards sooner.</summary>
    static TimeSpan FirstRetry(FaultSettings before, FaultSettings after) => after switch
    {
        { HubStopped: true } => Timeout.InfiniteTimeSpan,
        { Cloud: Cloud.Swallowing } => RetryInterval,
        { Cloud: Cloud.Refusing } when before is { HubStopped: true, Cloud: Cloud.Refusing } => RetryInterval,
        { Cloud: Cloud.Refusing } => TimeSpan.FromSeconds(after.DiscardAfterSeconds),
        _ => Timeout.InfiniteTimeSpan,
    };

    static string Description(Cloud cloud) => "edgeHub acknowledges and stores messages: the cloud " + cloud switch
    {
        Cloud.Unreachable => "is unreachable",
        Cloud.Refusing => "refuses connections",
        Cloud.Stalled => "acknowledges nothing",
        Cloud.Swallowing => "accepts messages but acknowledges none",
        _ => throw new UnreachableException($"cloud {cloud}"),
    };

    /// <summary>Loses the oldest messages, as many as the fault loseQueued says. Called under both locks.</summary>
    int LoseQueued()
    {
        var lost = 0;
        for (; _store.Oldest is { } oldest && _faults.TryTakeLostQueued(); lost++)
        {
            _store.Remove(oldest);
            Lose(oldest.Receipt);
        }

        return lost;
    }

    /// <summary>Runs edgeHub's cleanup if it is due. Called under the lock.</summary>
    void Clean()
    {
        foreach (var expired in _store.Clean(_faults.Current.TimeToLive))
        {
            _metrics.Dropped("ttl_expiry", expired.Message.From, expired.Message.Output);
            Lose(expired.Receipt);
        }
    }

    void Lose(Receipt? receipt, string cause = Causes.LostByHub)
    {
        Ledger.Drop(receipt);
        Ledger.Doubt(cause);
    }
}
