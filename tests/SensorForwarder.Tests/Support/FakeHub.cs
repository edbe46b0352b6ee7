using System.Text;
using System.Text.Json.Nodes;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Tests.Support;

/// <summary>An edgeHub client with a twin in memory and no network. Records telemetry and patches.
/// Thread-safe.</summary>
internal sealed class FakeHub : IEdgeHubClient
{
    readonly List<JsonObject> _patches = [];
    readonly List<HubMessage> _sent = [];
    int _gets;

    public string Host => "hub";

    public HubStatus Status { get; } = new(HubState.Connected, default, null, 0);

    public HubCounters Counters => default;

    public IEdgeHubHandler? Handler { get; set; }

    /// <summary>The twin document returned by a get.</summary>
    public string Twin { get; set; } = """{"desired":{"$version":1},"reported":{}}""";

    /// <summary>Statuses of the next patches, then 204 for all. 0: no response.</summary>
    public System.Collections.Concurrent.ConcurrentQueue<int> PatchStatuses { get; } = new();

    /// <summary>Statuses of the next gets, then 200 with the twin. -1: never completes.</summary>
    public System.Collections.Concurrent.ConcurrentQueue<int> GetStatuses { get; } = new();

    public int Gets => Volatile.Read(ref _gets);

    public IReadOnlyList<JsonObject> Patches
    {
        get { lock (_patches) return [.. _patches]; }
    }

    /// <summary>The reported properties after all patches.</summary>
    public JsonObject Reported
    {
        get
        {
            var reported = new JsonObject();
            foreach (var patch in Patches) MergePatch.Apply(reported, patch);
            return reported;
        }
    }

    public void SetDesired(string desired) => Twin =
        new JsonObject { ["desired"] = JsonNode.Parse(desired), ["reported"] = Reported }.ToJsonString();

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task WaitUntilConnectedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>The telemetry messages sent so far.</summary>
    public IReadOnlyList<HubMessage> Sent
    {
        get { lock (_sent) return [.. _sent]; }
    }

    public Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken)
    {
        lock (_sent) _sent.Add(message);
        return Task.FromResult(new HubSendResult(HubSendStatus.Accepted, ""));
    }

    public async Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _gets);
        if (GetStatuses.TryDequeue(out var status))
        {
            if (status < 0) await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken);
            return new HubAnswer(status, ReadOnlyMemory<byte>.Empty);
        }

        // The twin includes the properties reported since.
        var twin = Twin;
        try
        {
            if (JsonNode.Parse(twin) is JsonObject whole && whole["desired"] is JsonObject)
            {
                whole["reported"] = Reported;
                twin = whole.ToJsonString();
            }
        }
        catch (System.Text.Json.JsonException)
        {
            // The test returns invalid JSON on purpose.
        }

        return new HubAnswer(200, Encoding.UTF8.GetBytes(twin));
    }

    public Task<HubAnswer> PatchReportedAsync(ReadOnlyMemory<byte> patch, CancellationToken cancellationToken)
    {
        var status = PatchStatuses.TryDequeue(out var next) ? next : 204;
        if (status < 300 && status > 0)
        {
            lock (_patches) _patches.Add(JsonNode.Parse(patch.Span)!.AsObject());
        }

        return Task.FromResult(new HubAnswer(status, ReadOnlyMemory<byte>.Empty));
    }
}
