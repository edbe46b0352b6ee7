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
    IEdgeHubClient client,
    ReportedProperties reportedProperties,
    SettingsStore store,
    TimeProvider timeProvider,
    Random random,
    ILogger<TwinSynchronizer> logger) : BackgroundService
{
    const string VersionKey = "$version";
    const int MaxWaitingPatches = 1000;
    static readonly TimeSpan BackoffBase = TimeSpan.FromSeconds(5);
    static readonly TimeSpan BackoffMax = TimeSpan.FromMinutes(5);

    readonly Channel<(long? Version, ReadOnlyMemory<byte> Patch)> _patches =
        Channel.CreateBounded<(long?, ReadOnlyMemory<byte>)>(
            new BoundedChannelOptions(MaxWaitingPatches) { FullMode = BoundedChannelFullMode.DropOldest });

    readonly SemaphoreSlim _turn = new(1);
    JsonObject _desired = [];
    JsonObject _reported = [];
    long _version;

    /// <summary>Version of the desired properties in force; 0 before the first.</summary>
    public long Version => Interlocked.Read(ref _version);

    /// <summary>Gets the whole twin and puts it into force. Called after each connection. When the hub does not give it,
    /// it is asked again later: telemetry does not wait for that.</summary>
    public async Task SynchronizeAsync(CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            if (!await GetAsync(cancellationToken)) AskAgain();
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
        var failures = 0;
        await foreach (var (version, patch) in _patches.Reader.ReadAllAsync(stoppingToken))
        {
            var known = true;
            await _turn.WaitAsync(stoppingToken);
            try
            {
                known = await TakePatchAsync(version, patch, stoppingToken);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                Log.TwinFailed(logger, exception);
            }
            finally
            {
                _turn.Release();
            }

            failures = known ? 0 : failures + 1;
            if (known) continue;
            await Task.Delay(Backoff.Next(failures, BackoffBase, BackoffMax, random.NextDouble()), timeProvider, stoppingToken);
            AskAgain();
        }
    }

    /// <summary>A patch without version and content: the whole twin is wanted.</summary>
    void AskAgain() => Offer(null, ReadOnlyMemory<byte>.Empty);

    /// <summary>False when the hub did not give it and may do so later.</summary>
    async Task<bool> GetAsync(CancellationToken cancellationToken)
    {
        if (client.Status.State == HubState.Disconnected) return true; // the next connection begins with it
        var answer = await client.GetTwinAsync(cancellationToken);
        if (!answer.IsSuccess)
        {
            Log.TwinNotRead(logger, answer.Status);
            return false;
        }

        if (Parse(answer.Body) is not { } twin || twin["desired"] is not JsonObject desired)
        {
            Log.TwinUnreadable(logger);
            return true;
        }

        // An edgeHub that is offline and has never seen the twin answers with an empty one without version: that is not
        // the wish to return to the defaults. When it has the twin, it pushes the whole.
        if (Integer(desired[VersionKey]) is not { } version)
        {
            Log.TwinEmpty(logger);
            return true;
        }

        _desired = desired;
        _reported = twin["reported"] as JsonObject ?? [];
        await ApplyAsync(version, cancellationToken);
        return true;
    }

    async Task<bool> TakePatchAsync(long? topicVersion, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var patch = bytes.IsEmpty ? null : Parse(bytes);
        var version = topicVersion ?? Integer(patch?[VersionKey]);
        if (version <= _version) return true; // seen already: edgeHub pushes the whole after the first get

        // A missing or unreadable link in the chain: ask for the whole.
        if (patch is null || version is null || version > _version + 1) return await GetAsync(cancellationToken);

        MergePatch.Apply(_desired, patch);
        await ApplyAsync(version.Value, cancellationToken);
        return true;
    }

    async Task ApplyAsync(long version, CancellationToken cancellationToken)
    {
        var document = _desired.DeepClone().AsObject();
        document.Remove(VersionKey);
        var parsed = await store.OfferTwinAsync(document, cancellationToken);
        Interlocked.Exchange(ref _version, version);
        Log.TwinApplied(logger, version);

        var patch = TwinReport.Patch(parsed, version, _reported);
        if (patch.Count == 0) return;

        // From here it is on its way, however long that takes; the next get shows what arrived.
        reportedProperties.Report(patch);
        MergePatch.Apply(_reported, patch);
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
