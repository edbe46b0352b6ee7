using System.Threading.Channels;
using EdgeSimulator.Display;
using MQTTnet.Protocol;

namespace EdgeSimulator.Hub;

/// <summary>
/// Messages to the module's inputs, one at a time: the next one only after the PUBACK, and the same one again if that does not come
/// (DeviceMessageHandler.cs). They wait for the module as long as it takes.
/// </summary>
internal sealed class InputEndpoint(
    ModuleIdentity identity, Subscriptions subscriptions, TimeProvider time, RunLog log, SendToModule send)
{
    /// <summary>How many may wait; edgeHub keeps them on its disk.</summary>
    public const int WaitingMax = 1000;

    static readonly TimeSpan AcknowledgementTimeout = TimeSpan.FromSeconds(30);
    static readonly TimeSpan Retry = TimeSpan.FromMilliseconds(200);

    readonly Channel<(string Topic, byte[] Body)> _queue = Channel.CreateBounded<(string, byte[])>(WaitingMax);
    readonly string _prefix = $"devices/{identity.DeviceId}/modules/{identity.ModuleId}/";
    readonly Lock _lock = new();

    // The one message in flight. A PUBACK may come before whoever sent it waits for it.
    TaskCompletionSource? _acknowledged;
    ushort _packetId;

    /// <summary>Takes a message that a route leads to <c>/modules/M/inputs/IN</c>. What is for another module is none of this one's.</summary>
    public void Route(string path, RoutedMessage message)
    {
        if (path.Split('/', StringSplitOptions.RemoveEmptyEntries) is ["modules", var module, "inputs", var input] &&
            module == identity.ModuleId &&
            !TryEnqueue(
                input, message.Properties.Where(property => property.Key != "$.on"), message.From.DeviceId, message.From.ModuleId, message.Body))
        {
            log.Write($"a message to the input '{input}' is dropped: {WaitingMax} wait already");
        }
    }

    /// <summary>Takes a message for an input, if not too many wait.</summary>
    public bool TryEnqueue(
        string input, IEnumerable<KeyValuePair<string, string?>> properties, string fromDevice, string fromModule, byte[] body)
    {
        KeyValuePair<string, string?>[] bag = [.. properties, new("$.cdid", fromDevice), new("$.cmid", fromModule)];
        var escaped = string.Join('&', bag.Select(property => property.Value is null
            ? Uri.EscapeDataString(property.Key)
            : $"{Uri.EscapeDataString(property.Key)}={Uri.EscapeDataString(property.Value)}"));
        return _queue.Writer.TryWrite(($"{_prefix}inputs/{input}/{escaped}", body));
    }

    /// <summary>Delivers until cancelled.</summary>
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
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
    }

    /// <summary>A message is about to go out.</summary>
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
        // edgeHub knows these two; a filter for one input alone gets nothing.
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
        catch (TimeoutException)
        {
            log.Write($"an input message was not acknowledged within {AcknowledgementTimeout.TotalSeconds} s and goes out again: {topic}");
            return false;
        }
    }
}
