using System.Text.Json;
using System.Text.Unicode;
using Microsoft.Extensions.Logging;
using MQTTnet;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Runs direct methods and sends their answers. Calls run concurrently, up to a limit; further calls wait in a queue.
/// Neither delays telemetry or received messages. An answer is sent over the connection that is open when the method
/// completes: the one that the call came over may have been replaced to renew the token. Thread-safe.
/// </summary>
// _slots needs no disposal: it has no wait handle, and a call may complete after everything else was disposed.
#pragma warning disable CA1001
internal sealed class MethodCalls(
#pragma warning restore CA1001
    Func<IEdgeHubHandler?> handler,
    Func<Session?> session,
    Func<CancellationToken, Task> connected,
    TimeProvider timeProvider,
    ILogger logger)
{
    const int AtOnceMax = 64;
    const int WaitingMax = 1000;

    // The hub closes the connection after a larger answer.
    const int AnswerMaxBytes = 128 << 10;

    // The largest responseTimeoutInSeconds: no caller waits longer.
    static readonly TimeSpan HandlerTimeout = TimeSpan.FromSeconds(300);

    // Later, the caller has most likely stopped waiting.
    static readonly TimeSpan ReconnectPatience = TimeSpan.FromSeconds(30);

    readonly SemaphoreSlim _slots = new(AtOnceMax);
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
        if (Interlocked.Increment(ref _open) > AtOnceMax + WaitingMax)
        {
            _ = Task.Run(() => AnswerAsync(
                requestId, Error(429, "too many direct methods at once; retry")), CancellationToken.None);
            return;
        }

        _ = Task.Run(() => CallAsync(name, requestId, payload, stoppingToken), CancellationToken.None);
    }

    async Task CallAsync(string name, string requestId, byte[] payload, CancellationToken stoppingToken)
    {
        MethodAnswer answer;
        try
        {
            await _slots.WaitAsync(stoppingToken);
            try
            {
                answer = await InvokeAsync(name, payload, stoppingToken);
            }
            finally
            {
                _slots.Release();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            answer = Error(503, "the module is stopping");
        }
        catch (TimeoutException)
        {
            EdgeHubLog.MethodTooSlow(logger, LogText.Clean(name), HandlerTimeout.TotalSeconds);
            answer = Error(500, "the method did not complete in time");
        }
        catch (Exception exception)
        {
            EdgeHubLog.MethodFailed(logger, LogText.Clean(name), exception);
            answer = Error(500, "the method failed; see the module's log");
        }

        await AnswerAsync(requestId, answer);
    }

    async Task<MethodAnswer> InvokeAsync(string name, byte[] payload, CancellationToken stoppingToken)
    {
        if (!IsJson(payload)) return Error(400, "the payload is not JSON");
        if (handler() is not { } called) return Error(501, "this module has no direct methods");
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
        try
        {
            var answer = await called.OnMethodAsync(name, payload, deadline.Token)
                .WaitAsync(HandlerTimeout, timeProvider, stoppingToken);
            return answer.Body.Length <= AnswerMaxBytes
                ? answer
                : Error(500, $"the answer has {answer.Body.Length} bytes, more than the hub accepts");
        }
        finally
        {
            await deadline.CancelAsync();
        }
    }

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
                new MqttApplicationMessage
                {
                    Topic = HubTopics.MethodAnswer(
                    answer.Status, requestId),
                    Payload = new(answer.Body)
                },
                current.Ended);
            return true;
        }
        catch (Exception)
        {
            // Which exception MQTTnet throws for a lost connection depends on timing. The session reports the loss.
            return false;
        }
    }

    /// <summary>Whether the payload is empty or one JSON value in valid UTF-8. The reader alone does not validate the
    /// UTF-8 of strings.</summary>
    static bool IsJson(ReadOnlySpan<byte> payload)
    {
        if (payload.IsEmpty) return true;
        if (!Utf8.IsValid(payload)) return false;
        try
        {
            var reader = new Utf8JsonReader(payload);
            while (reader.Read())
            {
            }

            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    // The texts are constants of this file without characters to escape.
    static MethodAnswer Error(int status, string text) =>
        new(status, System.Text.Encoding.UTF8.GetBytes($$"""{"error":"{{text}}"}"""));
}
