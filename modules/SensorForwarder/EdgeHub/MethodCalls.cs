using Microsoft.Extensions.Logging;
using MQTTnet;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Takes calls of direct methods and sends the answers. Calls run concurrently, up to a limit; further calls wait in a
/// queue. Neither delays telemetry or received messages. An answer is sent over the connection that is open when the
/// method completes: the connection of the call may have been replaced to renew the token. Thread-safe.
/// </summary>
internal sealed class MethodCalls(
    Func<IEdgeHubHandler?> handler,
    Func<MqttSession?> session,
    Func<CancellationToken, Task> connected,
    TimeProvider timeProvider,
    ILogger logger)
{
    const int WaitingMax = 1000;

    // After this time the caller has most likely stopped waiting.
    static readonly TimeSpan ReconnectPatience = TimeSpan.FromSeconds(30);

    readonly MethodRuns _runs = new(handler, timeProvider, logger);
    int _open;
    long _calls;

    /// <summary>Calls that have no answer yet.</summary>
    public int Open => Volatile.Read(ref _open);

    /// <summary>Calls since the start.</summary>
    public long Calls => Interlocked.Read(ref _calls);

    /// <summary>Starts or queues a call; returns at once.</summary>
    public void Take(string name, string requestId, byte[] payload, CancellationToken stoppingToken)
    {
        Interlocked.Increment(ref _calls);
        if (Interlocked.Increment(ref _open) > MethodRuns.AtOnceMax + WaitingMax)
        {
            _ = Task.Run(() => AnswerAsync(
                requestId, MethodRuns.Error(429, "too many direct methods at once; retry")), CancellationToken.None);
            return;
        }

        _ = Task.Run(() => CallAsync(name, requestId, payload, stoppingToken), CancellationToken.None);
    }

    async Task CallAsync(string name, string requestId, byte[] payload, CancellationToken stoppingToken) =>
        await AnswerAsync(requestId, await _runs.RunAsync(name, payload, stoppingToken));

    async Task AnswerAsync(string requestId, MethodAnswer answer)
    {
        try
        {
            if (await TryAnswerAsync(requestId, answer)) return;

            // There may be no connection for a moment, for example while the token is renewed: the caller still waits.
            using var patience = new CancellationTokenSource(ReconnectPatience, timeProvider);
            await connected(patience.Token);
            if (await TryAnswerAsync(requestId, answer)) return;
        }
        catch (OperationCanceledException)
        {
        }
        finally
        {
            Interlocked.Decrement(ref _open);
        }

        EdgeHubLog.MethodNotAnswered(logger, answer.Status);
    }

    async Task<bool> TryAnswerAsync(string requestId, MethodAnswer answer)
    {
        try
        {
            if (session() is not { } current) return false;
            await current.Client.PublishAsync(
                new() { Topic = HubTopics.MethodAnswer(answer.Status, requestId), Payload = new(answer.Body) },
                current.Ended);
            return true;
        }
        catch (Exception)
        {
            // Which exception MQTTnet throws for a lost connection depends on timing. The session reports the loss.
            return false;
        }
    }
}
