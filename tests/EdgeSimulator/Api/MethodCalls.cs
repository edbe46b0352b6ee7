using System.Text.Json.Nodes;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Api;

/// <summary>Invokes direct methods for the REST API. The request has IoT Hub's shape:
/// <c>{"methodName","payload","connectTimeoutInSeconds","responseTimeoutInSeconds"}</c>.</summary>
internal sealed class MethodCalls(EdgeHubServer hub, TimeProvider time)
{
    const int ResponseTimeoutSeconds = 30;
    const int TimeoutMaxSeconds = 300;
    static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(50);

    /// <summary>Returns the module's response as <c>{"status","payload"}</c>.</summary>
    /// <exception cref="Problem">The request is invalid, or the module is not connected or times out.</exception>
    public async Task<JsonObject> InvokeAsync(JsonObject request, CancellationToken cancellationToken)
    {
        if (request["methodName"] is not JsonValue value || !value.TryGetValue<string>(out var name) || name.Length == 0 ||
            name.AsSpan().IndexOfAny('/', '+', '#') >= 0)
        {
            throw Problem.BadRequest("methodName: expected a name without / + #");
        }

        var responseTimeout = Seconds(request, "responseTimeoutInSeconds", ResponseTimeoutSeconds);
        var connectTimeout = Seconds(request, "connectTimeoutInSeconds", 0);
        var start = time.GetTimestamp();
        while (!hub.IsReachable && time.GetElapsedTime(start) < connectTimeout)
        {
            await Task.Delay(Poll, time, cancellationToken).ConfigureAwait(false);
        }

        var result = await hub.Methods.InvokeAsync(name, request["payload"]?.DeepClone(), responseTimeout, cancellationToken)
            .ConfigureAwait(false);
        return result.Outcome switch
        {
            MethodOutcome.Answered => new JsonObject { ["status"] = result.Status, ["payload"] = result.Payload },
            MethodOutcome.NotConnected => throw new Problem(
                404, "Not Found", "the module is not connected or has not subscribed to direct methods"),
            MethodOutcome.TimedOut => throw new Problem(
                504, "Gateway Timeout", $"the module did not answer '{name}' within {responseTimeout.TotalSeconds} s"),
            var other => throw new System.Diagnostics.UnreachableException($"method outcome {other}"),
        };
    }

    static TimeSpan Seconds(JsonObject request, string name, int defaultSeconds)
    {
        if (request[name] is not { } node)
        {
            return TimeSpan.FromSeconds(defaultSeconds);
        }

        return node is JsonValue value && value.TryGetValue<double>(out var seconds) && seconds >= 0 && seconds <= TimeoutMaxSeconds
            ? TimeSpan.FromSeconds(seconds)
            : throw Problem.BadRequest($"{name}: {node.ToJsonString()} is not a number from 0 to {TimeoutMaxSeconds}");
    }
}
