namespace SensorForwarder.EdgeHub;

/// <summary>
/// Admits messages to the connection, in the order of the calls. While the token is renewed they wait in line; without
/// a connection they fail at once. Thread-safe.
/// </summary>
internal sealed class SendGate
{
    readonly Lock _lock = new();

    // Guarded by _lock.
    readonly Queue<Waiter> _line = new();
    Session? _session;
    bool _paused;
    bool _passing;

    /// <summary>Waits until the connection admits a message. The caller of a flight that waited
    /// (<see cref="Flight.FromLine"/>) must call <see cref="Passed"/> once its message is handed to MQTTnet.</summary>
    /// <returns>Null when there is no connection.</returns>
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

    /// <summary>Admits the next message in line.</summary>
    public void Passed()
    {
        lock (_lock)
        {
            _passing = false;
            AdmitNext();
        }
    }

    /// <summary>Admits messages to this connection from now on.</summary>
    public void Open(Session session)
    {
        lock (_lock)
        {
            (_session, _paused) = (session, false);
            if (!_passing) AdmitNext();
        }
    }

    /// <summary>Makes messages wait until <see cref="Open"/> or <see cref="Close"/>, which follows soon.</summary>
    public void Pause()
    {
        lock (_lock) (_session, _paused) = (null, true);
    }

    /// <summary>Rejects messages, those in line included: there is no connection.</summary>
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
                // The connection has ended already: the message is rejected, and the next one is tried.
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
