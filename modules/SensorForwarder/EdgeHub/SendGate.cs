namespace SensorForwarder.EdgeHub;

/// <summary>
/// Lets messages onto the connection. While the token is renewed they wait in line, and go on in the order in which
/// they came: a renewal is no failure. Without a connection nobody waits. Thread-safe.
/// </summary>
internal sealed class SendGate
{
    readonly Lock _lock = new();

    // Guarded by _lock.
    readonly Queue<Waiter> _line = new();
    Session? _session;
    bool _paused;
    bool _passing;

    /// <summary>A place on the connection; null when there is none. Whoever came from the line
    /// (<see cref="Flight.FromLine"/>) calls <see cref="Passed"/> as soon as its message is handed over.</summary>
    public ValueTask<Flight?> EnterAsync(int bytes, CancellationToken cancellationToken)
    {
        Waiter waiter;
        lock (_lock)
        {
            if (_session is not null && _line.Count == 0 && !_passing) return new(
                _session.Begin(bytes, fromLine: false));
            if (_session is null && !_paused) return new((Flight?)null);
            waiter = new(bytes);
            _line.Enqueue(waiter);
        }

        return new(waiter.WaitAsync(cancellationToken));
    }

    /// <summary>The next in line.</summary>
    public void Passed()
    {
        lock (_lock)
        {
            _passing = false;
            AdmitNext();
        }
    }

    /// <summary>Sends go over this connection from now on.</summary>
    public void Open(Session session)
    {
        lock (_lock)
        {
            (_session, _paused) = (session, false);
            if (!_passing) AdmitNext();
        }
    }

    /// <summary>No sends until the next <see cref="Open"/> or <see cref="Close"/>, which is soon.</summary>
    public void Pause()
    {
        lock (_lock) (_session, _paused) = (null, true);
    }

    /// <summary>There is no connection.</summary>
    public void Close()
    {
        lock (_lock)
        {
            (_session, _paused) = (null, false);
            while (_line.TryDequeue(out var waiter)) waiter.TrySetResult(null);
        }
    }

    void AdmitNext()
    {
        while (_session is not null && _line.TryPeek(out var waiter))
        {
            var flight = _session.Begin(waiter.Bytes, fromLine: true);
            _line.Dequeue();
            if (waiter.TrySetResult(flight))
            {
                // A connection that is over already admits everybody to nothing.
                if (flight is null) continue;
                _passing = true;
                return;
            }

            if (flight is not null) _session.Done(flight, acknowledged: false);
        }
    }

    sealed class Waiter(int bytes) : TaskCompletionSource<Flight?>(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        public int Bytes => bytes;

        public async Task<Flight?> WaitAsync(CancellationToken cancellationToken)
        {
            await using var registration = cancellationToken.UnsafeRegister(
                static (waiter, token) => ((Waiter)waiter!).TrySetCanceled(token), this);
            return await Task;
        }
    }
}
