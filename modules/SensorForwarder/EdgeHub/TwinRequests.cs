using System.Collections.Concurrent;
using MQTTnet;

namespace SensorForwarder.EdgeHub;

/// <summary>Sends twin requests and matches the answers to them by request id. Requests are QoS 0, so a lost request
/// shows only as a timeout. Thread-safe.</summary>
internal sealed class TwinRequests(TimeProvider timeProvider)
{
    static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(60);

    readonly ConcurrentDictionary<string, TaskCompletionSource<HubAnswer>> _waiting = new();

    /// <summary>Requests without an answer yet.</summary>
    public int Waiting => _waiting.Count;

    /// <summary>Sends a request and waits for the answer; status 0: none within 60 s.</summary>
    /// <param name="session">The connection to ask over.</param>
    /// <param name="topic">Makes the topic from the request id.</param>
    /// <param name="body">UTF-8 JSON, or empty.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    public async Task<HubAnswer> AskAsync(
        MqttSession session, Func<string, string> topic, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        var requestId = Guid.NewGuid().ToString();
        var answer = new TaskCompletionSource<HubAnswer>(TaskCreationOptions.RunContinuationsAsynchronously);
        _waiting[requestId] = answer;
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, session.Ended);
        await using var timer = timeProvider.CreateTimer(
            static state =>
                ((CancellationTokenSource)state!).Cancel(), deadline, AnswerTimeout, Timeout.InfiniteTimeSpan);
        try
        {
            // The timeout covers sending too: a half-open connection accepts bytes until its buffer is full.
            await session.Client.PublishAsync(
                new MqttApplicationMessage { Topic = topic(requestId), Payload = new(body) }, deadline.Token);
            return await answer.Task.WaitAsync(deadline.Token);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            // The caller only needs to know that there is no answer. The session reports the end of the connection.
            return default;
        }
        finally
        {
            _waiting.TryRemove(requestId, out _);
        }
    }

    /// <summary>Completes the request that waits for this answer, if there is one.</summary>
    public void Answer(string requestId, HubAnswer answer)
    {
        if (_waiting.TryGetValue(requestId, out var request)) request.TrySetResult(answer);
    }
}
