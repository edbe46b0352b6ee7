namespace SensorForwarder.EdgeHub;

/// <summary>Why a connection ended.</summary>
/// <param name="Reason">The reason in words.</param>
/// <param name="ByPeer">Whether the other side or the line ended it, not this module.</param>
internal sealed record SessionEnd(string Reason, bool ByPeer = false);

/// <summary>One message in flight.</summary>
internal sealed class Flight(Session session, int bytes, bool fromLine)
{
    public Session Session => session;

    public int Bytes => bytes;

    /// <summary>Whether the message waited in the line of <see cref="SendGate"/>.</summary>
    public bool FromLine => fromLine;

    /// <summary>Monotonic time at which the wait for the acknowledgement begins: when this message was sent, or the
    /// previous one was acknowledged, whichever is later. Guarded by the session.</summary>
    public long Since { get; set; }

    /// <summary>Whether the acknowledgement is overdue.</summary>
    public bool Overdue { get; set; }
}

/// <summary>
/// One connection to the hub from its start to its end, with its messages in flight. Ends the connection when an
/// acknowledgement is overdue. Derived classes add the protocol. Thread-safe.
/// </summary>
internal abstract class Session(HubTransport transport, TimeProvider timeProvider) : IDisposable
{
    /// <summary>Long enough for a twin request that stalls edgeHub, and everything after it on the connection, for 20
    /// s.</summary>
    public static readonly TimeSpan AcknowledgeTimeout = TimeSpan.FromSeconds(60);

    /// <summary>How long a DISCONNECT may take.</summary>
    public static readonly TimeSpan GoodbyeTimeout = TimeSpan.FromSeconds(1);

    // The timeout is extended by the time that the message takes at 32 kbit/s, the slowest supported line.
    const double SlowestBytesPerSecond = 4096;

    static readonly TimeSpan WatchEvery = TimeSpan.FromSeconds(5);

    readonly CancellationTokenSource _ended = new();
    readonly Lock _gate = new();

    // Guarded by _gate. In the order of sending, which is also the order in which edgeHub acknowledges.
    readonly List<Flight> _flights = [];
    TaskCompletionSource? _drained;
    SessionEnd? _end;

    public HubTransport Transport => transport;

    /// <summary>Cancelled when the connection has ended; usable after disposal.</summary>
    public CancellationToken Ended => _ended.Token;

    /// <summary>Why the connection ended; null: it has not.</summary>
    public SessionEnd? End
    {
        get { lock (_gate) return _end; }
    }

    /// <summary>Messages in flight.</summary>
    public int UnderWay
    {
        get { lock (_gate) return _flights.Count; }
    }

    /// <summary>Sends one message and waits for the acknowledgement. Messages are sent in the order of the calls, so
    /// the call returns when the position of the message is fixed. Throws when the connection is lost.</summary>
    /// <param name="topic">The topic of the message, with its properties.</param>
    public abstract Task SendAsync(string topic, HubMessage message);

    /// <summary>As <see cref="IEdgeHubClient.GetTwinAsync"/>.</summary>
    public abstract Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken);

    /// <summary>As <see cref="IEdgeHubClient.PatchReportedAsync"/>, without its limit.</summary>
    public abstract Task<HubAnswer> PatchReportedAsync(
        ReadOnlyMemory<byte> patch, CancellationToken cancellationToken);

    /// <summary>Adds a message in flight; null: the connection has ended.</summary>
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

    /// <summary>Removes a message that was acknowledged or has failed.</summary>
    public void Done(Flight flight, bool acknowledged)
    {
        lock (_gate)
        {
            var index = _flights.IndexOf(flight);
            _flights.RemoveAt(index);

            // The next message gets more time; earlier ones do not, because their acknowledgements may never arrive.
            if (index < _flights.Count)
            {
                var since = acknowledged ? timeProvider.GetTimestamp() : flight.Since;
                _flights[index].Since = Math.Max(_flights[index].Since, since);
            }

            if (_flights.Count == 0) _drained?.TrySetResult();
        }
    }

    /// <summary>Ends the connection; only the first call has an effect.</summary>
    public void Finish(SessionEnd end)
    {
        lock (_gate)
        {
            if (_end is not null) return;
            _end = end;
        }

        // On another thread: a callback of the token may close the client, and this may be the client's own thread.
        _ = Task.Run(_ended.Cancel);
    }

    /// <summary>Ends the connection when an acknowledgement is overdue: pings may still be answered while a PUBACK is
    /// lost, and then only a new connection helps. Completes when the connection has ended.</summary>
    public async Task WatchAsync()
    {
        while (!Ended.IsCancellationRequested)
        {
            await Task.Delay(WatchEvery, timeProvider, Ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (MarkOverdue()) Finish(new($"no acknowledgement within {AcknowledgeTimeout.TotalSeconds:0} s"));
        }
    }

    /// <summary>Waits until no message is in flight, the connection has ended, or the time is over.</summary>
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
            // The forwarder sends the remaining messages again over the next connection.
        }
    }

    /// <summary>Disconnects and disposes the client, which ends all sends in flight.</summary>
    public async Task CloseAsync()
    {
        try
        {
            // An outer timeout: over a dead line, a client can ignore its token for a while.
            await DisconnectAsync().WaitAsync(GoodbyeTimeout, timeProvider, CancellationToken.None);
        }
        catch (Exception)
        {
            // A failed DISCONNECT does not matter: disposing the client closes the connection in any case.
        }

        Finish(new("closed"));
        Dispose();
    }

    /// <summary>Closes the connection without disconnecting.</summary>
    // _ended has neither timer nor wait handle, so it needs no disposal, and others may still use its token.
    public abstract void Dispose();

    /// <summary>Tells the hub that the connection ends.</summary>
    protected abstract Task DisconnectAsync();

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
