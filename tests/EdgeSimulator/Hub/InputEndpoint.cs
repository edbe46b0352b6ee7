using System.Threading.Channels;
using EdgeSimulator.Display;
using MQTTnet.Protocol;

namespace EdgeSimulator.Hub;

/// <summary>
/// Sends messages to the module's inputs, as edgeHub does (DeviceMessageHandler.cs): one at a time, the next one only
/// after the PUBACK, and the same one again if no PUBACK arrives or the connection is lost. Messages wait in a queue
/// until the module subscribes. Thread-safe.
/// </summary>
internal sealed class InputEndpoint(
    ModuleIdentity identity, Subscriptions subscriptions, TimeProvider time, RunLog log, SendToModule send)
{
    /// <summary>Limit of the queue. edgeHub stores them on disk instead.</summary>
    public const int WaitingMax = 1000;

    static readonly TimeSpan AcknowledgementTimeout = TimeSpan.FromSeconds(30);
    static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(200);

    readonly Channel<(string Topic, byte[] Body)> _queue = Channel.CreateBounded<(string, byte[])>(WaitingMax);
    readonly string _prefix = $"devices/{identity.DeviceId}/modules/{identity.ModuleId}/";
    readonly Lock _lock = new();

    // The one message in flight. Set before sending, since the PUBACK may arrive before TryDeliverAsync waits for it.
    TaskCompletionSource? _acknowledged;
    ushort _packetId;

    /// <summary>Enqueues a message with a route to <c>/modules/M/inputs/IN</c>. Ignores routes to other
    /// modules.</summary>
    public void Route(string path, RoutedMessage message)
    {
        if (path.Split('/', StringSplitOptions.RemoveEmptyEntries) is ["modules", var module, "inputs", var input] &&
            module == identity.ModuleId &&
            !TryEnqueue(
                input, message.Properties.Where(property => property.Key != "$.on"), message.From.DeviceId, message.From.ModuleId, message.Body))
        {
            log.Write($"dropped a message to input '{input}': {WaitingMax} messages are already queued");
        }
    }

    /// <summary>Called with the topic and body of each message that the module has acknowledged.</summary>
    public Action<string, byte[]>? Delivered { get; set; }

    /// <summary>Enqueues a message of another module for the inputs that its routes name; waits while the queue is full.
    /// Returns false if they name none.</summary>
    public async Task<bool> RouteAsync(IReadOnlyList<string> paths, RoutedMessage message, CancellationToken cancellationToken)
    {
        var isRouted = false;
        foreach (var path in paths)
        {
            if (path.Split('/', StringSplitOptions.RemoveEmptyEntries) is ["modules", var module, "inputs", var input] && module == identity.ModuleId)
            {
                isRouted = true;
                var properties = message.Properties.Where(property => property.Key != "$.on");
                await _queue.Writer.WriteAsync(
                    (Topic(input, properties, message.From.DeviceId, message.From.ModuleId), message.Body), cancellationToken)
                    .ConfigureAwait(false);
            }
        }

        return isRouted;
    }

    /// <summary>Enqueues a message for an input. Returns false if the queue is full.</summary>
    public bool TryEnqueue(
        string input, IEnumerable<KeyValuePair<string, string?>> properties, string fromDevice, string fromModule, byte[] body) =>
        _queue.Writer.TryWrite((Topic(input, properties, fromDevice, fromModule), body));

    string Topic(string input, IEnumerable<KeyValuePair<string, string?>> properties, string fromDevice, string fromModule)
    {
        KeyValuePair<string, string?>[] bag = [.. properties, new("$.cdid", fromDevice), new("$.cmid", fromModule)];
        var escaped = string.Join('&', bag.Select(property => property.Value is null
            ? Uri.EscapeDataString(property.Key)
            : $"{Uri.EscapeDataString(property.Key)}={Uri.EscapeDataString(property.Value)}"));
        return $"{_prefix}inputs/{input}/{escaped}";
    }

    /// <summary>Delivers queued messages until cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var (topic, body) in _queue.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
            {
                while (!await TryDeliverAsync(topic, body, cancellationToken).ConfigureAwait(false))
                {
                    await Task.Delay(Retry, time, cancellationToken).ConfigureAwait(false);
                }

                Delivered?.Invoke(topic, body);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
    }

    /// <summary>Records the packet id of a message that is about to be sent. Ignores topics that are not
    /// inputs.</summary>
    public void Leaving(string topic, ushort packetId)
    {
        if (topic.StartsWith(_prefix, StringComparison.Ordinal))
        {
            lock (_lock)
            {
                _packetId = packetId;
            }
        }
    }

    /// <summary>The module's connection was lost: the message in flight is sent again over the next one.</summary>
    public void Disconnected()
    {
        lock (_lock)
        {
            _acknowledged?.TrySetCanceled();
        }
    }

    /// <summary>The module has acknowledged a message.</summary>
    public void Acknowledged(ushort packetId)
    {
        lock (_lock)
        {
            if (packetId == _packetId)
            {
                _acknowledged?.TrySetResult();
            }
        }
    }

    async Task<bool> TryDeliverAsync(string topic, byte[] body, CancellationToken cancellationToken)
    {
        // edgeHub supports only these two filters; a subscription to a single input receives nothing.
        var filter = new[] { _prefix + "inputs/#", _prefix + "#" }.FirstOrDefault(filter => subscriptions.QualityOf(filter) is not null);
        if (filter is null)
        {
            return false;
        }

        var acknowledged = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            _acknowledged = acknowledged;
        }

        if (!send(filter, topic, body))
        {
            return false;
        }

        if (subscriptions.QualityOf(filter) == MqttQualityOfServiceLevel.AtMostOnce)
        {
            return true;
        }

        try
        {
            await acknowledged.Task.WaitAsync(AcknowledgementTimeout, time, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
        catch (TimeoutException)
        {
            log.Write($"input not acknowledged within {AcknowledgementTimeout.TotalSeconds} s, sending again: {topic}");
            return false;
        }
    }
}
