using System.Collections.Concurrent;
using MQTTnet;

namespace SensorForwarder.EdgeHub;

/// <summary>Twin requests that wait for their answers. Requests are QoS 0: a lost one is found by time only.
/// Thread-safe.</summary>
internal sealed class TwinRequests(TimeProvider timeProvider)
{
    private static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(60);

    private readonly ConcurrentDictionary<string, TaskCompletionSource<HubAnswer>> _waiting = new();

    /// <summary>Sends a request and waits for its answer; status 0 when none came.</summary>
    /// <param name="session">The connection to ask over.</param>
    /// <param name="topic">Makes the topic from the request id.</param>
    /// <param name="body">UTF-8 JSON, or empty.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<HubAnswer> AskAsync(
        Session session, Func<string, string> topic, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        var requestId = Guid.NewGuid().ToString("N");
        var answer = new TaskCompletionSource<HubAnswer>(TaskCreationOptions.RunContinuationsAsynchronously);
        _waiting[requestId] = answer;
        try
        {
            await session.Client.PublishAsync(
                new MqttApplicationMessage { Topic = topic(requestId), Payload = new(body) }, cancellationToken);
            return await answer.Task.WaitAsync(AnswerTimeout, timeProvider, cancellationToken);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested
            && (HubDialer.IsNetwork(exception) || exception is TimeoutException))
        {
            return default;
        }
        finally
        {
            _waiting.TryRemove(requestId, out _);
        }
    }

    public void Answer(string requestId, HubAnswer answer)
    {
        if (_waiting.TryGetValue(requestId, out var request)) request.TrySetResult(answer);
    }

    /// <summary>The connection is gone: no answer will come.</summary>
    public void Abandon()
    {
        foreach (var request in _waiting.Values) request.TrySetResult(default);
    }
}
