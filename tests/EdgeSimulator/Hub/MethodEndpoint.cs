using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Metrics;

namespace EdgeSimulator.Hub;

/// <summary>Result of a direct method call.</summary>
internal enum MethodOutcome
{
    /// <summary>The module responded; status and payload are from the response.</summary>
    Answered,

    /// <summary>The module is not connected or not subscribed to methods.</summary>
    NotConnected,

    TimedOut,
}

internal sealed record MethodResult(MethodOutcome Outcome, int Status, JsonNode? Payload);

/// <summary>Calls direct methods over MQTT. Calls may run in parallel; late and unknown responses are ignored.
/// Thread-safe.</summary>
internal sealed class MethodEndpoint(HubMetrics metrics, TimeProvider time, SendToModule send)
{
    public const string Filter = "$iothub/methods/POST/#";

    readonly ConcurrentDictionary<string, TaskCompletionSource<MethodResult>> _pending = new(StringComparer.OrdinalIgnoreCase);

    public async Task<MethodResult> InvokeAsync(string name, JsonNode? payload, TimeSpan timeout, CancellationToken cancellationToken)
    {
        var requestId = Guid.NewGuid().ToString("D");
        var answer = new TaskCompletionSource<MethodResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        _pending[requestId] = answer;
        try
        {
            var body = payload is null ? "null"u8.ToArray() : JsonSerializer.SerializeToUtf8Bytes(payload);
            if (!send(Filter, $"$iothub/methods/POST/{name}/?$rid={requestId}", body))
            {
                return new MethodResult(MethodOutcome.NotConnected, 404, null);
            }

            metrics.MethodCalled();
            return await answer.Task.WaitAsync(timeout, time, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return new MethodResult(MethodOutcome.TimedOut, 504, null);
        }
        finally
        {
            _pending.TryRemove(requestId, out _);
        }
    }

    public void Complete(string? requestId, int status, ReadOnlyMemory<byte> payload)
    {
        if (requestId is not null && _pending.TryGetValue(requestId, out var answer))
        {
            answer.TrySetResult(new MethodResult(MethodOutcome.Answered, status, Parse(payload)));
        }
    }

    /// <summary>The payload as JSON, or as text if it is not JSON: edgeHub forwards any payload unchanged.</summary>
    static JsonNode? Parse(ReadOnlyMemory<byte> payload)
    {
        if (payload.IsEmpty)
        {
            return null;
        }

        try
        {
            return JsonNode.Parse(payload.Span);
        }
        catch (JsonException)
        {
            return JsonValue.Create(System.Text.Encoding.UTF8.GetString(payload.Span));
        }
    }
}
