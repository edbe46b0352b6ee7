using MQTTnet;

namespace SensorForwarder.EdgeHub;

/// <summary>Why a connection ended.</summary>
/// <param name="Reason">In plain words.</param>
/// <param name="ByPeer">The other side or the line did it; not this module.</param>
internal sealed record SessionEnd(string Reason, bool ByPeer = false);

/// <summary>One message under way.</summary>
internal sealed class Flight(Session session, int bytes, bool fromLine)
{
    public Session Session => session;

    public int Bytes => bytes;

    /// <summary>It waited in the line of <see cref="SendGate"/>.</summary>
    public bool FromLine => fromLine;

    /// <summary>Monotonic time since which its acknowledgement could have come: handed over, or the one before it
    /// acknowledged. What holds for one holds for those behind it. Guarded by the session.</summary>
    public long Since { get; set; }

    /// <summary>Its acknowledgement did not come in time.</summary>
    public bool Overdue { get; set; }
}

/// <summary>
/// One MQTT connection from CONNECT to its end, and the messages under way on it. It ends itself when an
/// acknowledgement stays out. Thread-safe.
/// </summary>
internal sealed class Session(IMqttClient client, HubTransport transport, TimeProvider timeProvider) : IDisposable
{
    /// <summary>A twin request can stall edgeHub for 20 s, and everything behind it on the connection waits.</summary>
    public static readonly TimeSpan AcknowledgeTimeout = TimeSpan.FromSeconds(60);

    /// <summary>How long the hub may take to let a connection go.</summary>
    public static readonly TimeSpan GoodbyeTimeout = TimeSpan.FromSeconds(1);

    // A message gets this much more time for its own bytes: 32 kbit/s is the slowest line that is waited for.
    const double SlowestBytesPerSecond = 4096;

    static readonly TimeSpan WatchEvery = TimeSpan.FromSeconds(5);

    readonly CancellationTokenSource _ended = new();
    readonly Lock _gate = new();

    // Guarded by _gate. In the order of sending, which is the one in which edgeHub acknowledges.
    readonly List<Flight> _flights = [];
    TaskCompletionSource? _drained;
    SessionEnd? _end;

    public IMqttClient Client => client;

    public HubTransport Transport => transport;

    /// <summary>Cancelled when the connection is over; stays usable after disposal.</summary>
    public CancellationToken Ended => _ended.Token;

    /// <summary>Why it ended; null while it lives.</summary>
    public SessionEnd? End
    {
        get { lock (_gate) return _end; }
    }

    /// <summary>Messages without an acknowledgement yet.</summary>
    public int UnderWay
    {
        get { lock (_gate) return _flights.Count; }
    }

    /// <summary>A message goes under way; null when the connection is over.</summary>
    public Flight? Begin(int bytes, bool fromLine)
    {
        lock (_gate)
        {
            if (_end is not null) return null;
            var flight = new Flight(this, bytes, fromLine) { Since = timeProvider.GetTimestamp() };
            _flights.Add(flight);
            return flight;
        }
    }

    /// <summary>A message has arrived, or is given up.</summary>
    public void Done(Flight flight, bool acknowledged)
    {
        lock (_gate)
        {
            var index = _flights.IndexOf(flight);
            _flights.RemoveAt(index);

            // The next one was behind it; the earlier ones gain nothing: theirs may be lost for good.
            if (index < _flights.Count)
            {
                var since = acknowledged ? timeProvider.GetTimestamp() : flight.Since;
                _flights[index].Since = Math.Max(_flights[index].Since, since);
            }

            if (_flights.Count == 0) _drained?.TrySetResult();
        }
    }

    /// <summary>The connection is over. The first reason counts.</summary>
    public void Finish(SessionEnd end)
    {
        lock (_gate)
        {
            if (_end is not null) return;
            _end = end;
        }

        // On another thread: what waits for the end may close the client, whose own thread this can be.
        _ = Task.Run(_ended.Cancel);
    }

    /// <summary>Looks for overdue acknowledgements until the end. Pings may still be answered while one is lost for
    /// good: only a new connection gets out of that.</summary>
    public async Task WatchAsync()
    {
        while (!Ended.IsCancellationRequested)
        {
            await Task.Delay(WatchEvery, timeProvider, Ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (MarkOverdue()) Finish(new($"no acknowledgement within {AcknowledgeTimeout.TotalSeconds:0} s"));
        }
    }

    /// <summary>Waits until nothing is under way, the connection is over, or the patience is.</summary>
    public async Task DrainAsync(TimeSpan patience)
    {
        Task drained;
        lock (_gate)
        {
            if (_flights.Count == 0 || _end is not null) return;
            _drained ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
            drained = _drained.Task;
        }

        try
        {
            await drained.WaitAsync(patience, timeProvider, Ended);
        }
        catch (Exception exception) when (exception is TimeoutException or OperationCanceledException)
        {
            // What is still under way is sent again over the next connection.
        }
    }

    /// <summary>Says good-bye and frees the connection. Everything that still waits on it comes to an end.</summary>
    public async Task CloseAsync()
    {
        try
        {
            // Bounded from outside: over a dead WebSocket the client waits longer than its token says.
            if (client.IsConnected)
                await client.DisconnectAsync(new MqttClientDisconnectOptions(), Ended)
                    .WaitAsync(GoodbyeTimeout, timeProvider);
        }
        catch (Exception)
        {
            // Good-bye is a courtesy: the connection ends with the client's disposal in any case.
        }

        Finish(new("closed"));
        Dispose();
    }

    // _ended has neither timer nor wait handle, and others may still ask for its token: it needs no disposal.
    public void Dispose() => client.Dispose();

    bool MarkOverdue()
    {
        lock (_gate)
        {
            var (bytes, since, any) = (0L, long.MinValue, false);
            foreach (var flight in _flights)
            {
                bytes += flight.Bytes;
                since = Math.Max(since, flight.Since);
                var patience = AcknowledgeTimeout + TimeSpan.FromSeconds(bytes / SlowestBytesPerSecond);
                flight.Overdue = timeProvider.GetElapsedTime(since) > patience;
                any |= flight.Overdue;
            }

            return any;
        }
    }
}
