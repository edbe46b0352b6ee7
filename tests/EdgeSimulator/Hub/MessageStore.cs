using EdgeSimulator.Accounting;

namespace EdgeSimulator.Hub;

/// <summary>A message queued for the cloud.</summary>
/// <param name="Message">The message.</param>
/// <param name="Receipt">Its readings. Null if it is not a batch.</param>
/// <param name="Route">Its route.</param>
/// <param name="Since">When it was stored, as a timestamp of the time provider.</param>
internal sealed record StoredMessage(RoutedMessage Message, Receipt? Receipt, Route Route, long Since);

/// <summary>edgeHub's store: one queue for each route priority, lower numbers first, and the gauge of the queue
/// lengths, with edgeHub's errors. Used by <see cref="Upstream"/> under its lock.</summary>
internal sealed class MessageStore
{
    // How often edgeHub removes expired messages (cleanup task of its MessageStore).
    static readonly TimeSpan CleanInterval = TimeSpan.FromMinutes(30);

    readonly TimeProvider _time;
    readonly SortedDictionary<int, LinkedList<StoredMessage>> _queues = [];

    // Surplus of the gauge until the next cleanup, by priority.
    readonly Dictionary<int, int> _phantoms = [];
    long _cleaned;

    public MessageStore(IReadOnlyList<int> priorities, TimeProvider time)
    {
        _time = time;
        _cleaned = time.GetTimestamp();
        foreach (var priority in priorities)
        {
            _queues[priority] = [];
        }
    }

    public int Count => _queues.Values.Sum(queue => queue.Count);

    public long Bytes { get; private set; }

    /// <summary>The next message to send. Null if the store is empty.</summary>
    public StoredMessage? Oldest => _queues.Values.FirstOrDefault(queue => queue.Count > 0)?.First!.Value;

    /// <summary>The queue lengths as edgeHub's metrics page shows them, by priority.</summary>
    public IReadOnlyDictionary<int, int> Gauge =>
        _queues.ToDictionary(queue => queue.Key, queue => queue.Value.Count + _phantoms.GetValueOrDefault(queue.Key));

    public void Add(RoutedMessage message, Receipt? receipt, Route route)
    {
        _queues[route.Priority].AddLast(new StoredMessage(message, receipt, route, _time.GetTimestamp()));
        Bytes += message.Size;
    }

    public void Remove(StoredMessage stored)
    {
        _queues[stored.Route.Priority].Remove(stored);
        Bytes -= stored.Message.Size;
    }

    /// <summary>Removes a message found expired when it was due to be sent. The gauge still counts it until the next
    /// cleanup.</summary>
    public void Skip(StoredMessage stored)
    {
        Remove(stored);
        _phantoms[stored.Route.Priority] = _phantoms.GetValueOrDefault(stored.Route.Priority) + 1;
    }

    /// <summary>The message in the middle of all queues. Null if the store is empty.</summary>
    public StoredMessage? Middle() => _queues.Values.SelectMany(queue => queue).ElementAtOrDefault(Count / 2);

    /// <param name="stored">A message.</param>
    /// <param name="fault">The time to live of the fault; zero: that of the route.</param>
    public bool IsExpired(StoredMessage stored, TimeSpan fault)
    {
        var timeToLive = fault > TimeSpan.Zero ? fault : stored.Route.TimeToLive;
        return timeToLive is { } limit && _time.GetElapsedTime(stored.Since) > limit;
    }

    /// <summary>Runs the cleanup if it is due: removes expired messages from the front of each queue, and corrects the
    /// gauge.
    /// </summary>
    /// <returns>The removed messages.</returns>
    public IReadOnlyList<StoredMessage> Clean(TimeSpan fault)
    {
        var removed = new List<StoredMessage>();
        if (_time.GetElapsedTime(_cleaned) < CleanInterval)
        {
            return removed;
        }

        _cleaned = _time.GetTimestamp();
        _phantoms.Clear();
        foreach (var queue in _queues.Values)
        {
            while (queue.First?.Value is { } oldest && IsExpired(oldest, fault))
            {
                Remove(oldest);
                removed.Add(oldest);
            }
        }

        return removed;
    }

    /// <summary>Called at a restart of edgeHub, after which its gauge is 1 too high until the next cleanup.</summary>
    public void Reopen()
    {
        _cleaned = _time.GetTimestamp();
        _phantoms.Clear();
        if (_queues.Count > 0)
        {
            _phantoms[_queues.Keys.First()] = 1;
        }
    }
}
