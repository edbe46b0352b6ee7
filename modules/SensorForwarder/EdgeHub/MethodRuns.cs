using System.Text.Json;
using System.Text.Unicode;
using Microsoft.Extensions.Logging;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>Runs direct methods, up to a limit at once. Every failure becomes an answer. Thread-safe.</summary>
// _slots needs no disposal: it has no wait handle, and a call may complete after the module was disposed.
#pragma warning disable CA1001
internal sealed class MethodRuns(Func<IEdgeHubHandler?> handler, TimeProvider timeProvider, ILogger logger)
#pragma warning restore CA1001
{
    /// <summary>The most calls that run at once; further calls wait.</summary>
    public const int AtOnceMax = 64;

    // The hub closes the connection after a larger answer.
    const int AnswerMaxBytes = 128 << 10;

    // The largest responseTimeoutInSeconds: no caller waits longer.
    static readonly TimeSpan HandlerTimeout = TimeSpan.FromSeconds(300);

    readonly SemaphoreSlim _slots = new(AtOnceMax);

    /// <summary>An answer that reports an error.</summary>
    /// <param name="text">Must not contain characters that JSON escapes.</param>
    public static MethodAnswer Error(int status, string text) =>
        new(status, System.Text.Encoding.UTF8.GetBytes($$"""{"error":"{{text}}"}"""));

    /// <summary>Runs a method. Never throws.</summary>
    public async Task<MethodAnswer> RunAsync(string name, byte[] payload, CancellationToken stoppingToken)
    {
        try
        {
            await _slots.WaitAsync(stoppingToken);
            try
            {
                return await InvokeAsync(name, payload, stoppingToken);
            }
            finally
            {
                _slots.Release();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            return Error(503, "the module is stopping");
        }
        catch (TimeoutException)
        {
            EdgeHubLog.MethodTooSlow(logger, LogText.Clean(name), HandlerTimeout.TotalSeconds);
            return Error(500, "the method did not complete in time");
        }
        catch (Exception exception)
        {
            EdgeHubLog.MethodFailed(logger, LogText.Clean(name), exception);
            return Error(500, "the method failed; see the module's log");
        }
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
}
