using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;
using SensorForwarder.Time;

namespace SensorForwarder.Configuration;

/// <summary>
/// Keeps the settings in step with the module twin: gets the whole twin after each connection, then applies patches
/// while their versions are consecutive, and gets the whole twin again when one is missing. Acknowledges every change
/// in the reported properties. Thread-safe.
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

    // Pending patches, gets and reports, processed in order.
    readonly Channel<Func<CancellationToken, Task>> _work = Channel.CreateBounded<Func<CancellationToken, Task>>(
        new BoundedChannelOptions(MaxWaitingPatches) { FullMode = BoundedChannelFullMode.DropOldest });

    readonly SemaphoreSlim _turn = new(1);

    // Guarded by _turn.
    int _failedGets; // in a row; unless 0, _nextGet will get the whole twin
    ITimer? _nextGet;
    JsonObject _desired = [];
    JsonObject _reported = [];
    volatile JsonObject _reportedAtGet = [];
    long _version;

    /// <summary>Version of the desired properties in force; 0 before the first.</summary>
    public long Version => Interlocked.Read(ref _version);

    /// <summary>A section of the reported properties at the last get; empty: there was none.</summary>
    public JsonObject ReportedBefore(string section) => _reportedAtGet[section]?.DeepClone() as JsonObject ?? [];

    /// <summary>Gets the whole twin and puts it into force. Called after each connection. If the get fails, it is
    /// retried later; telemetry does not wait for it.</summary>
    public async Task SynchronizeAsync(CancellationToken cancellationToken)
    {
        using var turn = await Turn.TakeAsync(_turn, cancellationToken);
        await GetAsync(cancellationToken);
    }

    /// <summary>Queues a patch of the desired properties; returns at once.</summary>
    public void Offer(long? version, ReadOnlyMemory<byte> patch) =>
        _work.Writer.TryWrite(token => TakePatchAsync(version, patch, token));

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
        await foreach (var runAsync in _work.Reader.ReadAllAsync(stoppingToken))
        {
            using var turn = await Turn.TakeAsync(_turn, stoppingToken);
            try
            {
                await runAsync(stoppingToken);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                ConfigurationLog.TwinFailed(logger, exception);
            }
        }
    }

    /// <summary>Schedules another get, with backoff. Patches and reports do not wait for it.</summary>
    void GetLater()
    {
        var delay = Backoff.Next(++_failedGets, BackoffBase, BackoffMax, random.NextDouble());
        _nextGet?.Dispose();
        _nextGet = timeProvider.CreateTimer(
            _ => _work.Writer.TryWrite(GetAsync), null, delay, Timeout.InfiniteTimeSpan);
    }

    // Before the first get the reported properties are unknown; that get reports.
    void ReportSoon() => _work.Writer.TryWrite(_ =>
    {
        if (_version > 0 && store.Current is { } parsed) Report(parsed);
        return Task.CompletedTask;
    });

    async Task GetAsync(CancellationToken cancellationToken)
    {
        if (client.Status.State == HubState.Disconnected) return; // the next connection starts with a get
        HubAnswer answer;
        try
        {
            answer = await client.GetTwinAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // The connection stopped waiting for its first get.
            GetLater();
            throw;
        }

        if (!answer.IsSuccess)
        {
            ConfigurationLog.TwinNotRead(logger, answer.Status);
            GetLater();
            return;
        }

        _failedGets = 0;
        _nextGet?.Dispose();
        if (DocumentReader.Read(answer.Body.Span, out var problem) is not { } twin
            || twin["desired"] is not JsonObject desired)
        {
            ConfigurationLog.TwinUnreadable(logger, problem ?? "it has no desired properties");
            return;
        }

        // An edgeHub that is offline and has never received the twin answers with an empty one without a version. It
        // must not reset the settings to defaults. Once edgeHub has the twin, it pushes the whole of it.
        if (Integer(desired[VersionKey]) is not { } version)
        {
            ConfigurationLog.TwinEmpty(logger);
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
        if (version <= _version) return; // already applied: edgeHub pushes the whole twin after the first get

        // A patch is missing or unreadable: get the whole twin.
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
        ConfigurationLog.TwinApplied(logger, version);
        Report(parsed);
    }

    void Report(ParsedSettings parsed)
    {
        var patch = TwinReport.Patch(parsed, _reported);
        if (patch.Count == 0) return;

        // Counts as reported from here on, however long the delivery takes; the next get shows what arrived.
        reportedProperties.Report(patch);
        MergePatch.Apply(_reported, patch);
    }

    static long? Integer(JsonNode? node) =>
        node is JsonValue value && value.TryGetValue<long>(out var number) ? number : null;
}
