using System.Text.Json;
using System.Text.Unicode;
using Microsoft.Extensions.Logging;
using MQTTnet;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Direct methods, from the call to its answer. Each runs by itself, beside telemetry and beside what is received; so
/// many at once that a caller does not notice, and the rest in line. An answer goes over the connection that there is
/// when it is ready: the token may have been renewed meanwhile. Thread-safe.
/// </summary>
// A call may end after everything else: what it waits on has no handle and needs no disposal.
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

    // What the hub takes; more would make it close the connection.
    const int AnswerMaxBytes = 128 << 10;

    // No caller waits longer (responseTimeoutInSeconds).
    static readonly TimeSpan HandlerTimeout = TimeSpan.FromSeconds(300);

    // After that the caller has given up, most likely.
    static readonly TimeSpan ReconnectPatience = TimeSpan.FromSeconds(30);

    readonly SemaphoreSlim _slots = new(AtOnceMax);
    int _open;
    long _calls;

    /// <summary>Calls without an answer yet.</summary>
    public int Open => Volatile.Read(ref _open);

    /// <summary>Calls since the start.</summary>
    public long Calls => Interlocked.Read(ref _calls);

    /// <summary>Takes a call; returns at once.</summary>
    public void Take(string name, string requestId, byte[] payload, CancellationToken stoppingToken)
    {
        Interlocked.Increment(ref _calls);
        if (Interlocked.Increment(ref _open) > AtOnceMax + WaitingMax)
        {
            _ = Task.Run(() => AnswerAsync(
                requestId, Error(429, "too many methods at once; try again")), CancellationToken.None);
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
            answer = Error(503, "the module stops");
        }
        catch (TimeoutException)
        {
            Log.MethodTooSlow(logger, LogText.Clean(name), HandlerTimeout.TotalSeconds);
            answer = Error(500, "the method did not end in time");
        }
        catch (Exception exception)
        {
            Log.MethodFailed(logger, LogText.Clean(name), exception);
            answer = Error(500, "the method failed; see the module's log");
        }

        await AnswerAsync(requestId, answer);
    }

    async Task<MethodAnswer> InvokeAsync(string name, byte[] payload, CancellationToken stoppingToken)
    {
        if (!IsJson(payload)) return Error(400, "the payload is not JSON");
        if (handler() is not { } called) return Error(501, "this module takes no methods");
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
        try
        {
            var answer = await called.OnMethodAsync(name, payload, deadline.Token)
                .WaitAsync(HandlerTimeout, timeProvider, stoppingToken);
            return answer.Body.Length <= AnswerMaxBytes
                ? answer
                : Error(500, $"the answer of {answer.Body.Length} bytes is larger than the hub takes");
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

            // Between two connections, while the token is renewed, say: the caller still waits.
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

        Log.MethodNotAnswered(logger, answer.Status);
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
            // What MQTTnet throws for a connection that is gone depends on the moment; its end is told elsewhere.
            return false;
        }
    }

    /// <summary>Empty, or one JSON value in UTF-8 all through: strings are not looked at
    /// before they are used.</summary>
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

    // Texts of this module's own: no escaping needed.
    static MethodAnswer Error(int status, string text) =>
        new(status, System.Text.Encoding.UTF8.GetBytes($$"""{"error":"{{text}}"}"""));
}
