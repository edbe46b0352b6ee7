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

    // Guarded by _turn. Gets in a row that failed: while there are some, another get comes, and with it the whole.
    int _failedGets;
    ITimer? _nextGet;
    JsonObject _desired = [];
    JsonObject _reported = [];
    volatile JsonObject _reportedAtGet = [];
    long _version;

    /// <summary>Version of the desired properties in force; 0 before the first.</summary>
    public long Version => Interlocked.Read(ref _version);

    /// <summary>A section of the reported properties as the last get had it; empty when there was none.</summary>
    public JsonObject ReportedBefore(string section) => _reportedAtGet[section]?.DeepClone() as JsonObject ?? [];

    /// <summary>Gets the whole twin and puts it into force. Called after each connection. When the hub does not give
    /// it, it is asked again later: telemetry does not wait for that.</summary>
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
        _nextGet?.Dispose();
        _turn.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await foreach (var errand in _errands.Reader.ReadAllAsync(stoppingToken))
        {
            await _turn.WaitAsync(stoppingToken);
            try
            {
                await RunAsync(errand, stoppingToken);
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

    /// <summary>Asks for the whole again after a while. Patches and reports do not wait for that.</summary>
    void AskLater()
    {
        var delay = Backoff.Next(++_failedGets, BackoffBase, BackoffMax, random.NextDouble());
        _nextGet?.Dispose();
        _nextGet = timeProvider.CreateTimer(
            _ => _errands.Writer.TryWrite(new(ErrandKind.Get)), null, delay, Timeout.InfiniteTimeSpan);
    }

    void ReportSoon() => _errands.Writer.TryWrite(new(ErrandKind.Report));

    async Task RunAsync(Errand errand, CancellationToken cancellationToken)
    {
        switch (errand.Kind)
        {
            case ErrandKind.Patch:
                await TakePatchAsync(errand.Version, errand.Patch, cancellationToken);
                break;
            case ErrandKind.Get:
                await GetAsync(cancellationToken);
                break;
            default:
                // Before the first get, what is reported already is not known; then that reports.
                if (_version > 0 && store.Current is { } parsed) Report(parsed);
                break;
        }
    }

    async Task GetAsync(CancellationToken cancellationToken)
    {
        if (client.Status.State == HubState.Disconnected) return; // the next connection begins with it
        HubAnswer answer;
        try
        {
            answer = await client.GetTwinAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // The connection does not wait any longer for its first get.
            AskLater();
            throw;
        }

        if (!answer.IsSuccess)
        {
            Log.TwinNotRead(logger, answer.Status);
            AskLater();
            return;
        }

        _failedGets = 0;
        _nextGet?.Dispose();
        if (DocumentReader.Read(answer.Body.Span, out var problem) is not { } twin
            || twin["desired"] is not JsonObject desired)
        {
            Log.TwinUnreadable(logger, problem ?? "it has no desired properties");
            return;
        }

        // An edgeHub that is offline and has never seen the twin answers with an empty one without version: that is not
        // the wish to return to the defaults. When it has the twin, it pushes the whole.
        if (Integer(desired[VersionKey]) is not { } version)
        {
            Log.TwinEmpty(logger);
            return;
        }

        _desired = desired;
        _reported = twin["reported"] as JsonObject ?? [];
        _reportedAtGet = _reported.DeepClone().AsObject();
        await ApplyAsync(version, cancellationToken);
    }

    async Task TakePatchAsync(long? topicVersion, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var patch = DocumentReader.Read(bytes.Span, out _);
        var version = topicVersion ?? Integer(patch?[VersionKey]);
        if (version <= _version) return; // seen already: edgeHub pushes the whole after the first get

        // A missing or unreadable link in the chain: ask for the whole.
        if (patch is null || version is null || version > _version + 1)
        {
            if (_failedGets == 0) await GetAsync(cancellationToken);
            return;
        }

        MergePatch.Apply(_desired, patch);
        await ApplyAsync(version.Value, cancellationToken);
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
