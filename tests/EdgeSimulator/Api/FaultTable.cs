using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Faults;

namespace EdgeSimulator.Api;

/// <summary>The faults by the names that POST /faults knows, each with its text and its range.</summary>
internal static class FaultTable
{
    public sealed record Entry(
        string Name, string Allowed, string Text, Func<FaultSettings, JsonNode> Get, Func<FaultSettings, JsonElement, FaultSettings?> Set);

    public static IReadOnlyList<Entry> Entries { get; } =
    [
        Switch("blackout", "no connection is accepted, open ones are cut; the workload socket stays",
            f => f.Blackout, (f, on) => f with { Blackout = on }),
        Switch("mqttPortBlocked", "port 8883 accepts no connection, as behind a firewall; MQTT over WebSocket on 443 stays",
            f => f.MqttPortBlocked, (f, on) => f with { MqttPortBlocked = on }),
        Number("latencyMilliseconds", 0, 600_000, "added to everything that goes to the module",
            f => f.LatencyMilliseconds, (f, n) => f with { LatencyMilliseconds = n }),
        Number("bandwidthBytesPerSecond", 0, int.MaxValue, "how fast the gateway reads from the module; 0 is no limit",
            f => f.BandwidthBytesPerSecond, (f, n) => f with { BandwidthBytesPerSecond = n }),
        Switch("halfOpen", "MQTT connections are accepted and then stay silent, open ones too",
            f => f.HalfOpen, (f, on) => f with { HalfOpen = on }),
        Number("connack", 0, 5, "the return code of CONNACK: 3 unavailable, 5 not authorised...; 0 is as it should be",
            f => f.Connack, (f, n) => f with { Connack = n }),
        Switch("noConnack", "CONNECT is read and never answered",
            f => f.NoConnack, (f, on) => f with { NoConnack = on }),
        Choice("certificate", "what the gateway shows to new connections",
            f => f.Certificate, (f, choice) => f with { Certificate = choice }),
        Number("losePubacks", 0, int.MaxValue, "so many messages are taken, and their PUBACK is lost",
            f => f.LosePubacks, (f, n) => f with { LosePubacks = n }),
        Number("dropAcknowledged", 0, int.MaxValue, "so many messages are acknowledged and dropped, as edgeHub does without a route",
            f => f.DropAcknowledged, (f, n) => f with { DropAcknowledged = n }),
        Switch("upstreamOffline", "edgeHub has lost the cloud: it acknowledges and keeps what comes, and serves its copy of the twin",
            f => f.UpstreamOffline, (f, on) => f with { UpstreamOffline = on }),
        Number("loseQueued", 0, int.MaxValue, "so many of the messages that wait in edgeHub are lost when the cloud is back",
            f => f.LoseQueued, (f, n) => f with { LoseQueued = n }),
        Number("queueTimeToLiveSeconds", 0, int.MaxValue, "what has waited longer in edgeHub is dropped; 0 is as the routes say",
            f => f.QueueTimeToLiveSeconds, (f, n) => f with { QueueTimeToLiveSeconds = n }),
        Switch("storeFull", "edgeHub's store is full: no PUBACK, and the connection is closed",
            f => f.StoreFull, (f, on) => f with { StoreFull = on }),
        Switch("overConnectionLimit", "connections are accepted and get acknowledgements only: no twin, no method, no input",
            f => f.OverConnectionLimit, (f, on) => f with { OverConnectionLimit = on }),
        Switch("emptyTwin", "the twin is answered with 200, empty and without a version, as by an edgeHub that never had it",
            f => f.EmptyTwin, (f, on) => f with { EmptyTwin = on }),
        Number("swapPubacks", 0, int.MaxValue, "so many pairs of PUBACKs go out in the wrong order (needs two messages in flight)",
            f => f.SwapPubacks, (f, n) => f with { SwapPubacks = n }),
        Number("pubackDelayMilliseconds", 0, 600_000, "each message takes so long, one after the other: throttling",
            f => f.PubackDelayMilliseconds, (f, n) => f with { PubackDelayMilliseconds = n }),
        Number("twinDelayMilliseconds", 0, 600_000, "each twin request takes so long, and what is behind it waits; 20000 is edgeHub offline",
            f => f.TwinDelayMilliseconds, (f, n) => f with { TwinDelayMilliseconds = n }),
        Number("twinStatus", 0, 599, "the status of answers to twin requests: 429, 500...; 0 is as it should be",
            f => f.TwinStatus, (f, n) => f with { TwinStatus = n }),
        Number("tokenClockSkewSeconds", -1_000_000_000, 1_000_000_000, "how far the hub's clock is ahead when it checks tokens",
            f => f.TokenClockSkewSeconds, (f, n) => f with { TokenClockSkewSeconds = n }),
        Number("workloadStatus", 0, 599, "the status of the workload API's answers: 403, 404, 500...; 0 is as it should be",
            f => f.WorkloadStatus, (f, n) => f with { WorkloadStatus = n }),
        Switch("workloadCloses", "the workload API closes its socket without an answer",
            f => f.WorkloadCloses, (f, on) => f with { WorkloadCloses = on }),
        Number("httpStatus", 0, 599, "the status of the HTTP endpoint's answers: 413, 429, 503...; 0 is as it should be",
            f => f.HttpStatus, (f, n) => f with { HttpStatus = n }),
        Number("httpRetryAfterSeconds", 0, 86_400, "the Retry-After header that goes with httpStatus; 0 is none",
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

    static Entry Choice(
        string name, string text, Func<FaultSettings, CertificateFault> get,
        Func<FaultSettings, CertificateFault, FaultSettings> with) => new(
            name, string.Join(", ", Enum.GetValues<CertificateFault>().Select(Name)), text, f => JsonValue.Create(Name(get(f))),
            (f, value) => value.ValueKind == JsonValueKind.String && value.GetString() is { } wanted &&
                Enum.GetValues<CertificateFault>().Where(fault => Name(fault) == wanted).ToList() is [var known]
                    ? with(f, known)
                    : null);

    static string Name(CertificateFault fault) => JsonNamingPolicy.CamelCase.ConvertName(fault.ToString());
}
