using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Faults;

namespace EdgeSimulator.Api;

/// <summary>The faults that POST /faults can set, each with its description and allowed values.</summary>
internal static class FaultTable
{
    public sealed record Entry(
        string Name, string Allowed, string Text, Func<FaultSettings, JsonNode> Get, Func<FaultSettings, JsonElement, FaultSettings?> Set);

    public static IReadOnlyList<Entry> Entries { get; } =
    [
        Switch("blackout", "connections are refused and open ones reset; the workload socket stays open",
            f => f.Blackout, (f, on) => f with { Blackout = on }),
        Switch("mqttPortBlocked", "port 8883 refuses connections, like a firewall; WebSocket on 443 still works",
            f => f.MqttPortBlocked, (f, on) => f with { MqttPortBlocked = on }),
        Number("latencyMilliseconds", 0, 600_000, "delay of everything sent to the module",
            f => f.LatencyMilliseconds, (f, n) => f with { LatencyMilliseconds = n }),
        Number("bandwidthBytesPerSecond", 0, int.MaxValue, "how fast the gateway reads from the module; 0: no limit",
            f => f.BandwidthBytesPerSecond, (f, n) => f with { BandwidthBytesPerSecond = n }),
        Switch("halfOpen", "MQTT connections, new and open, stay open without any data from edgeHub",
            f => f.HalfOpen, (f, on) => f with { HalfOpen = on }),
        Number("connack", 0, 5, "return code of CONNACK: 3 unavailable, 5 not authorized...; 0: no fault",
            f => f.Connack, (f, n) => f with { Connack = n }),
        Switch("noConnack", "CONNECT is never answered",
            f => f.NoConnack, (f, on) => f with { NoConnack = on }),
        Choice("certificate", "the server certificate that the gateway presents to new connections",
            f => f.Certificate, (f, choice) => f with { Certificate = choice }),
        Number("losePubacks", 0, int.MaxValue, "number of messages that are accepted without sending their PUBACK",
            f => f.LosePubacks, (f, n) => f with { LosePubacks = n }),
        Number("dropAcknowledged", 0, int.MaxValue,
            "number of messages that edgeHub loses after their PUBACK; its metrics do not show the loss",
            f => f.DropAcknowledged, (f, n) => f with { DropAcknowledged = n }),
        Choice("cloud", "edgeHub's connection to the cloud; if not reachable, edgeHub acknowledges and stores messages "
                + "and serves its copy of the twin. refusing: after discardAfterSeconds, it discards 100 every 10 s; "
                + "stalled: nothing is acknowledged; swallowing: every 10 s one message arrives unacknowledged",
            f => f.Cloud, (f, choice) => f with { Cloud = choice }),
        Switch("upstreamOffline", "true: same as cloud unreachable; false: same as cloud reachable",
            f => f.Cloud == Cloud.Unreachable, (f, on) => f with { Cloud = on ? Cloud.Unreachable : Cloud.Reachable }),
        Number("discardAfterSeconds", 0, int.MaxValue, "with cloud refusing: time until edgeHub discards messages",
            f => f.DiscardAfterSeconds, (f, n) => f with { DiscardAfterSeconds = n }),
        Number("cloudLatencyMilliseconds", 0, 600_000, "round trip to the cloud for a group of up to ten messages",
            f => f.CloudLatencyMilliseconds, (f, n) => f with { CloudLatencyMilliseconds = n }),
        Switch("hubStopped", "edgeHub is stopped: no MQTT, no metrics; keeps its store, loses its counters",
            f => f.HubStopped, (f, on) => f with { HubStopped = on }),
        Number("loseQueued", 0, int.MaxValue, "number of queued messages lost once the cloud is reachable again",
            f => f.LoseQueued, (f, n) => f with { LoseQueued = n }),
        Number("timeToLive", 0, int.MaxValue, "seconds until a queued message expires; 0: as the routes say",
            f => (int)f.TimeToLive.TotalSeconds, (f, n) => f with { TimeToLive = TimeSpan.FromSeconds(n) }),
        Output("noRoute", "this output has no route: its messages are acknowledged, counted and dropped",
            f => f.NoRoute, (f, output) => f with { NoRoute = output }),
        Switch("storeFull", "edgeHub's store is full: it closes the connection without a PUBACK",
            f => f.StoreFull, (f, on) => f with { StoreFull = on }),
        Switch("overConnectionLimit", "edgeHub sends only acknowledgements: no twin, methods or input messages",
            f => f.OverConnectionLimit, (f, on) => f with { OverConnectionLimit = on }),
        Switch("emptyTwin", "twin requests get 200 and an empty twin, as from an edgeHub that never had it",
            f => f.EmptyTwin, (f, on) => f with { EmptyTwin = on }),
        Number("swapPubacks", 0, int.MaxValue,
            "number of PUBACK pairs sent in reverse order (requires two messages in flight)",
            f => f.SwapPubacks, (f, n) => f with { SwapPubacks = n }),
        Number("pubackDelayMilliseconds", 0, 600_000, "processing time of each message, one at a time: throttling",
            f => f.PubackDelayMilliseconds, (f, n) => f with { PubackDelayMilliseconds = n }),
        Number("twinDelayMilliseconds", 0, 600_000,
            "duration of a twin request, during which later packets wait; 20000 as without cloud",
            f => f.TwinDelayMilliseconds, (f, n) => f with { TwinDelayMilliseconds = n }),
        Number("twinStatus", 0, 599, "status of responses to twin requests: 429, 500...; 0: no fault",
            f => f.TwinStatus, (f, n) => f with { TwinStatus = n }),
        Number("tokenClockSkewSeconds", -1_000_000_000, 1_000_000_000, "lead of edgeHub's clock when it checks tokens",
            f => f.TokenClockSkewSeconds, (f, n) => f with { TokenClockSkewSeconds = n }),
        Number("workloadStatus", 0, 599, "status of the workload API's responses: 403, 404, 500...; 0: no fault",
            f => f.WorkloadStatus, (f, n) => f with { WorkloadStatus = n }),
        Switch("workloadCloses", "the workload API closes connections without a response",
            f => f.WorkloadCloses, (f, on) => f with { WorkloadCloses = on }),
        Number("httpStatus", 0, 599, "status of the HTTP endpoint's responses: 413, 429, 503...; 0: no fault",
            f => f.HttpStatus, (f, n) => f with { HttpStatus = n }),
        Number("httpRetryAfterSeconds", 0, 86_400, "Retry-After header sent with httpStatus; 0: no header",
            f => f.HttpRetryAfterSeconds, (f, n) => f with { HttpRetryAfterSeconds = n }),
    ];

    static Entry Switch(
        string name, string text, Func<FaultSettings, bool> get, Func<FaultSettings, bool, FaultSettings> with) => new(
            name, "true, false", text, f => JsonValue.Create(get(f)),
            (f, value) => value.ValueKind is JsonValueKind.True or JsonValueKind.False ? with(f, value.GetBoolean()) : null);

    static Entry Number(
        string name, int min, int max, string text, Func<FaultSettings, int> get, Func<FaultSettings, int, FaultSettings> with) => new(
            name, $"{min}..{max}", text, f => JsonValue.Create(get(f)),
            (f, value) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= min && number <= max
                ? with(f, number)
                : null);

    static Entry Output(
        string name, string text, Func<FaultSettings, string> get, Func<FaultSettings, string, FaultSettings> with) => new(
            name, "an output name, * for all outputs, empty for none", text, f => JsonValue.Create(get(f)),
            (f, value) => value.ValueKind == JsonValueKind.String ? with(f, value.GetString()!) : null);

    static Entry Choice<T>(
        string name, string text, Func<FaultSettings, T> get, Func<FaultSettings, T, FaultSettings> with)
        where T : struct, Enum => new(
            name, string.Join(", ", Enum.GetValues<T>().Select(Name)), text, f => JsonValue.Create(Name(get(f))),
            (f, value) => value.ValueKind == JsonValueKind.String && value.GetString() is { } wanted &&
                Enum.GetValues<T>().Where(choice => Name(choice) == wanted).ToList() is [var known]
                    ? with(f, known)
                    : null);

    static string Name<T>(T choice)
        where T : struct, Enum => JsonNamingPolicy.CamelCase.ConvertName(choice.ToString());
}
