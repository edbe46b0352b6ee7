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

    readonly Channel<Errand> _errands = Channel.CreateBounded<Errand>(
        new BoundedChannelOptions(MaxWaitingPatches) { FullMode = BoundedChannelFullMode.DropOldest });

    readonly SemaphoreSlim _turn = new(1);
    JsonObject _desired = [];
    JsonObject _reported = [];
    volatile JsonObject _reportedAtGet = [];
    long _version;

    /// <summary>Version of the desired properties in force; 0 before the first.</summary>
    public long Version => Interlocked.Read(ref _version);

    /// <summary>A section of the reported properties as the last get had it; empty when there was none.</summary>
    public JsonObject ReportedBefore(string section) => _reportedAtGet[section]?.DeepClone() as JsonObject ?? [];

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
    public void Offer(long? version, ReadOnlyMemory<byte> patch) =>
        _errands.Writer.TryWrite(new(ErrandKind.Patch, version, patch));

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        store.Changed += ReportSoon;
        return base.StartAsync(cancellationToken);
    }

    public override void Dispose()
    {
        store.Changed -= ReportSoon;
        _turn.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var failures = 0;
        await foreach (var errand in _errands.Reader.ReadAllAsync(stoppingToken))
        {
            var known = true;
            await _turn.WaitAsync(stoppingToken);
            try
            {
                known = await RunAsync(errand, stoppingToken);
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

    void AskAgain() => _errands.Writer.TryWrite(new(ErrandKind.Get));

    void ReportSoon() => _errands.Writer.TryWrite(new(ErrandKind.Report));

    /// <summary>False when the hub did not give the twin and may do so later.</summary>
    async Task<bool> RunAsync(Errand errand, CancellationToken cancellationToken)
    {
        switch (errand.Kind)
        {
            case ErrandKind.Patch:
                return await TakePatchAsync(errand.Version, errand.Patch, cancellationToken);
            case ErrandKind.Get:
                return await GetAsync(cancellationToken);
            default:
                // Before the first get, what is reported already is not known; then that reports.
                if (_version > 0 && store.Current is { } parsed) Report(parsed);
                return true;
        }
    }

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

        if (DocumentReader.Read(answer.Body.Span, out var problem) is not { } twin || twin["desired"] is not JsonObject desired)
        {
            Log.TwinUnreadable(logger, problem ?? "it has no desired properties");
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
        _reportedAtGet = _reported.DeepClone().AsObject();
        await ApplyAsync(version, cancellationToken);
        return true;
    }

    async Task<bool> TakePatchAsync(long? topicVersion, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var patch = DocumentReader.Read(bytes.Span, out _);
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
        var parsed = await store.OfferTwinAsync(document, version, cancellationToken);
        Interlocked.Exchange(ref _version, version);
        Log.TwinApplied(logger, version);
        Report(parsed);
    }

    void Report(ParsedSettings parsed)
    {
        var patch = TwinReport.Patch(parsed, _reported);
        if (patch.Count == 0) return;

        // From here it is on its way, however long that takes; the next get shows what arrived.
        reportedProperties.Report(patch);
        MergePatch.Apply(_reported, patch);
    }

    static long? Integer(JsonNode? node) =>
        node is JsonValue value && value.TryGetValue<long>(out var number) ? number : null;

    enum ErrandKind
    {
        /// <summary>A patch of the desired properties came.</summary>
        Patch,

        /// <summary>The whole twin is wanted.</summary>
        Get,

        /// <summary>The settings were changed by something else than the twin.</summary>
        Report,
    }

    readonly record struct Errand(ErrandKind Kind, long? Version = null, ReadOnlyMemory<byte> Patch = default);
}
