using MQTTnet;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// One MQTT connection from CONNECT to its end. Counts the sends that are under way, so that a renewal of the token
/// waits for their acknowledgements instead of causing duplicates. Thread-safe.
/// </summary>
internal sealed class Session(IMqttClient client) : IDisposable
{
    private readonly CancellationTokenSource _ended = new();
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guarded by _gate.
    private int _sends;
    private bool _closing;
    private string _reason = "";

    public IMqttClient Client => client;

    /// <summary>Cancelled when the connection is over.</summary>
    public CancellationToken Ended => _ended.Token;

    /// <summary>Why it ended; empty while it lives or when this side closes it.</summary>
    public string Reason
    {
        get { lock (_gate) return _reason; }
    }

    /// <summary>A send begins; false when the session takes no more.</summary>
    public bool TryEnter()
    {
        lock (_gate)
        {
            if (_closing) return false;
            _sends++;
            return true;
        }
    }

    public void Leave()
    {
        lock (_gate)
        {
            if (--_sends == 0 && _closing) _idle.TrySetResult();
        }
    }

    /// <summary>The connection is lost, or no longer worth keeping.</summary>
    public void End(string reason)
    {
        lock (_gate)
        {
            if (_closing || _reason.Length > 0) return;
            _reason = reason;
        }

        // On another thread: what waits for the end may close the client, whose own thread this can be.
        _ = Task.Run(_ended.Cancel);
    }

    /// <summary>Takes no more sends, waits until those under way are acknowledged, and says good-bye.</summary>
    public async Task CloseAsync(TimeSpan patience, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        bool wait;
        lock (_gate)
        {
            _closing = true;
            wait = _sends > 0 && _reason.Length == 0;
        }

        if (wait)
        {
            await Task.WhenAny(_idle.Task, Task.Delay(patience, timeProvider, cancellationToken));
        }

        try
        {
            using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(1), timeProvider);
            if (client.IsConnected) await client.DisconnectAsync(new MqttClientDisconnectOptions(), deadline.Token);
        }
        catch (Exception)
        {
            // Good-bye is a courtesy: the connection ends with the client's disposal in any case.
        }

        await _ended.CancelAsync();
    }

    public void Dispose()
    {
        client.Dispose();
        _ended.Dispose();
    }
}
