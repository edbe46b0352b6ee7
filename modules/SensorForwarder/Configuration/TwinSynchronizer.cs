using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Configuration;

/// <summary>
/// Follows the module twin: the whole of it after each connection, then patch by patch as long as the versions follow
/// one another, and the whole again when one is missing. Every change is acknowledged in the reported properties.
/// </summary>
internal sealed class TwinSynchronizer(
    IEdgeHubClient client, SettingsStore store, ILogger<TwinSynchronizer> logger) : BackgroundService
{
    const string VersionKey = "$version";
    const int MaxWaitingPatches = 1000;

    readonly Channel<(long? Version, ReadOnlyMemory<byte> Patch)> _patches =
        Channel.CreateBounded<(long?, ReadOnlyMemory<byte>)>(
            new BoundedChannelOptions(MaxWaitingPatches) { FullMode = BoundedChannelFullMode.DropOldest });

    readonly SemaphoreSlim _turn = new(1);
    JsonObject _desired = [];
    JsonObject _reported = [];
    long _version;

    /// <summary>Version of the desired properties in force; 0 before the first.</summary>
    public long Version => Interlocked.Read(ref _version);

    /// <summary>Gets the whole twin and puts it into force. Called after each connection.</summary>
    public async Task SynchronizeAsync(CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            await GetAsync(cancellationToken);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Takes a patch of the desired properties; returns at once.</summary>
    public void Offer(long? version, ReadOnlyMemory<byte> patch) => _patches.Writer.TryWrite((version, patch));

    public override void Dispose()
    {
        _turn.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await foreach (var (version, patch) in _patches.Reader.ReadAllAsync(stoppingToken))
        {
            await _turn.WaitAsync(stoppingToken);
            try
            {
                await TakePatchAsync(version, patch, stoppingToken);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                Log.TwinFailed(logger, exception);
            }
            finally
            {
                _turn.Release();
            }
        }
    }

    async Task GetAsync(CancellationToken cancellationToken)
    {
        var answer = await client.GetTwinAsync(cancellationToken);
        if (!answer.IsSuccess)
        {
            Log.TwinNotRead(logger, answer.Status);
            return;
        }

        if (Parse(answer.Body) is not { } twin || twin["desired"] is not JsonObject desired)
        {
            Log.TwinUnreadable(logger);
            return;
        }

        // An edgeHub that is offline and has never seen the twin answers with an empty one without version: that is not
        // the wish to return to the defaults.
        if (Integer(desired[VersionKey]) is not { } version)
        {
            Log.TwinEmpty(logger);
            return;
        }

        _desired = desired;
        _reported = twin["reported"] as JsonObject ?? [];
        await ApplyAsync(version, cancellationToken);
    }

    async Task TakePatchAsync(long? topicVersion, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var patch = Parse(bytes);
        var version = topicVersion ?? Integer(patch?[VersionKey]);
        if (version <= _version) return; // seen already: edgeHub pushes the whole after the first get

        // A missing or unreadable link in the chain: ask for the whole.
        if (patch is null || version is null || version > _version + 1)
        {
            await GetAsync(cancellationToken);
            return;
        }

        MergePatch(_desired, patch);
        await ApplyAsync(version.Value, cancellationToken);
    }

    async Task ApplyAsync(long version, CancellationToken cancellationToken)
    {
        Interlocked.Exchange(ref _version, version);
        var document = _desired.DeepClone().AsObject();
        document.Remove(VersionKey);
        var parsed = await store.OfferTwinAsync(document, cancellationToken);
        Log.TwinApplied(logger, version);

        var patch = TwinReport.Patch(parsed, version, _reported);
        if (patch.Count == 0) return;
        var answer = await client.PatchReportedAsync(Encoding.UTF8.GetBytes(patch.ToJsonString()), cancellationToken);
        if (answer.IsSuccess) MergePatch(_reported, patch);
        else Log.ReportFailed(logger, answer.Status); // the next connection gets the twin and reports what differs
    }

    /// <summary>JSON merge patch (RFC 7396).</summary>
    static void MergePatch(JsonObject target, JsonObject patch)
    {
        foreach (var (key, value) in patch)
        {
            switch (value)
            {
                case null:
                    target.Remove(key);
                    break;
                case JsonObject inner:
                    if (target[key] is not JsonObject existing) target[key] = existing = [];
                    MergePatch(existing, inner);
                    break;
                default:
                    target[key] = value.DeepClone();
                    break;
            }
        }
    }

    static JsonObject? Parse(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            return JsonNode.Parse(bytes.Span, documentOptions: new() { AllowDuplicateProperties = false }) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    static long? Integer(JsonNode? node) =>
        node is JsonValue value && value.TryGetValue<long>(out var number) ? number : null;
}
