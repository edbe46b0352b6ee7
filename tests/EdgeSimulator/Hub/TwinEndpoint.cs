using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Metrics;
using EdgeSimulator.Twins;

namespace EdgeSimulator.Hub;

/// <summary>Sends a message to the module. Returns false if it is not connected or not subscribed to the
/// filter.</summary>
internal delegate bool SendToModule(string filter, string topic, byte[] payload);

/// <summary>The twin over MQTT: get, reported patch, desired push.</summary>
internal sealed class TwinEndpoint
{
    public const string ResponseFilter = "$iothub/twin/res/#";
    public const string DesiredFilter = "$iothub/twin/PATCH/properties/desired/#";

    readonly ModuleTwin _twin;
    readonly FaultSwitches _faults;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly SendToModule _send;
    readonly HubMetrics _metrics;
    readonly Lock _lock = new();

    // While the cloud is not reachable: edgeHub's copy of the desired properties, and the changes since. Null
    // otherwise.
    JsonObject? _stored;
    JsonObject? _missed;

    public TwinEndpoint(ModuleTwin twin, FaultSwitches faults, TimeProvider time, RunLog log, HubMetrics metrics, SendToModule send)
    {
        _twin = twin;
        _faults = faults;
        _time = time;
        _log = log;
        _metrics = metrics;
        _send = send;
        _twin.DesiredChanged += OnDesiredChanged;
        faults.Changed += OnFaultsChanged;
    }

    public async Task GetAsync(string requestId, CancellationToken cancellationToken)
    {
        await StallAsync(cancellationToken).ConfigureAwait(false);
        if (_faults.Current.TwinStatus is not 0 and var status)
        {
            Answer(status, requestId, []);
            return;
        }

        _metrics.TwinGot(_faults.Current.IsCloudAway);
        Answer(200, requestId, JsonSerializer.SerializeToUtf8Bytes(_faults.Current.EmptyTwin ? Empty() : Document()));
    }

    public async Task PatchAsync(string requestId, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        await StallAsync(cancellationToken).ConfigureAwait(false);
        if (_faults.Current.TwinStatus is not 0 and var status)
        {
            Answer(status, requestId, []);
            return;
        }

        // edgeHub responds with 500 to invalid JSON and with 400 to invalid reported properties.
        JsonNode? patch;
        try
        {
            patch = JsonNode.Parse(payload.Span);
        }
        catch (JsonException exception)
        {
            _log.Write($"reported properties refused with 500: not JSON: {exception.Message}");
            Answer(500, requestId, []);
            return;
        }

        if (ReportedProperties.Objection(patch) is { } objection)
        {
            _log.Write($"reported properties refused with 400: {objection}");
            Answer(400, requestId, Encoding.UTF8.GetBytes(objection));
            return;
        }

        _twin.PatchReported(patch!.AsObject());
        _metrics.Reported();

        // Unlike IoT Hub, edgeHub does not include $version in this response.
        Answer(204, requestId, []);
    }

    static JsonObject Empty() => new() { ["desired"] = new JsonObject(), ["reported"] = new JsonObject() };

    JsonObject Document()
    {
        var document = _twin.Document();
        lock (_lock)
        {
            if (_stored is not null)
            {
                document["desired"] = _stored.DeepClone();
            }
        }

        return document;
    }

    /// <summary>Pushes the changes made while the cloud was not reachable as one patch when it is reachable
    /// again.</summary>
    void OnFaultsChanged(FaultSettings before, FaultSettings after)
    {
        if (before.IsCloudAway == after.IsCloudAway)
        {
            return;
        }

        // Read before taking this lock: the twin calls OnDesiredChanged under its own lock.
        var copy = after.IsCloudAway ? _twin.Document()["desired"]!.DeepClone().AsObject() : null;
        JsonObject? missed;
        lock (_lock)
        {
            (_stored, missed, _missed) = (copy, _missed, null);
        }

        if (missed is not null)
        {
            Push(missed);
        }
    }

    void OnDesiredChanged(JsonObject patch)
    {
        lock (_lock)
        {
            if (_stored is not null)
            {
                _missed ??= [];
                MergePatch.Combine(_missed, patch);
                _log.Write(
                    $"desired properties changed; edgeHub gets them when it reaches the cloud: {patch.ToJsonString()}");
                return;
            }
        }

        Push(patch);
    }

    void Push(JsonObject patch)
    {
        var topic = $"$iothub/twin/PATCH/properties/desired/?$version={patch["$version"]}";
        if (_send(DesiredFilter, topic, JsonSerializer.SerializeToUtf8Bytes(patch)))
        {
            _log.Write($"desired properties pushed: {patch.ToJsonString()}");
        }
        else
        {
            _log.Write($"desired properties changed; the module gets them when it connects: {patch.ToJsonString()}");
        }
    }

    void Answer(int status, string requestId, byte[] payload) =>
        _send(ResponseFilter, $"$iothub/twin/res/{status}/?$rid={requestId}", payload);

    Task StallAsync(CancellationToken cancellationToken)
    {
        var delay = _faults.Current.TwinDelayMilliseconds;
        return delay > 0 ? Task.Delay(TimeSpan.FromMilliseconds(delay), _time, cancellationToken) : Task.CompletedTask;
    }
}
