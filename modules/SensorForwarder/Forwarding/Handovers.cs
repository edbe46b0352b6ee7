using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>
/// The readings that edgeHub has accepted and that are not known to be in the cloud. Passes sent and accepted batches
/// to <see cref="Custody"/>, reads edgeHub's metrics page when it is due, and logs what the page shows. Used by the
/// forwarder's loop only.
/// </summary>
/// <param name="module">This module's name in the deployment.</param>
/// <param name="pageUrl">The URL of the metrics page, for log lines; null: none is configured.</param>
/// <param name="readPage">Reads the page; null when it is not usable. Must not throw.</param>
internal sealed class Handovers(
    string module, string? pageUrl, Func<CancellationToken, Task<MetricsPage?>> readPage, TimeProvider timeProvider,
    ILogger logger)
{
    readonly long _start = timeProvider.GetTimestamp();
    Custody _custody = new(TimeSpan.Zero);
    Task<MetricsPage?>? _pageRead;
    TimeSpan _readAt;
    bool? _hasPage;
    bool _isHolding;
    long _lost;
    long _returned; // readings of the lost messages
    long? _queue;
    HashSet<string> _unrouted = []; // outputs already logged

    /// <summary>Whether edgeHub has no connection to the cloud: readings are held in the local buffer.</summary>
    public bool IsHolding => _custody.IsHolding;

    /// <summary>Whether no batch may be sent: edgeHub's counters show what has arrived only while nothing is in
    /// transit.</summary>
    public bool IsPausing => _custody.IsPausing;

    /// <summary>The state that must survive a restart of the module.</summary>
    public string Books => _custody.ToString();

    /// <summary>All readings in the books, including those on outputs without a route.</summary>
    public IdSet Known => _custody.Unrouted.Values.Aggregate(_custody.HandedOver, (all, ids) => all.Union(ids));

    TimeSpan Now => timeProvider.GetElapsedTime(_start);

    // Earlier than Custody.NextScrape if a batch was accepted since the last read.
    TimeSpan NextRead
    {
        get
        {
            if (_custody.HandedOverSince is not { } since) return _custody.NextScrape;
            var soon = (since > _readAt ? since : _readAt) + Custody.ScrapeIntervalWhileHandedOver;
            return soon < _custody.NextScrape ? soon : _custody.NextScrape;
        }
    }

    /// <summary>Loads the books of the last run. Handed-over readings that are not in the books must be sent again.
    /// </summary>
    public void Restore(string books) => _custody = Custody.TryParse(books, Now) ?? new(Now);

    /// <summary>Whether edgeHub has no route for a lane's messages.</summary>
    public bool IsUnrouted(Lane lane) => _custody.Unrouted.ContainsKey(Batch.NameOf(lane));

    public void Sent(Batch batch) => _custody.Sent(batch.Id, batch.Output, batch.Ids);

    /// <summary>Records that edgeHub has accepted a batch.</summary>
    /// <returns>Whether the batch counts as delivered, because there is no page to confirm it.</returns>
    public bool IsDelivered(Batch batch) => !_custody.Acknowledged(batch.Id, Now).IsEmpty;

    public void Failed(Batch batch) => _custody.Abandoned(batch.Id);

    /// <summary>Evaluates a completed read of the page, and starts the next when it is due.</summary>
    /// <param name="isCurrent">Whether batches are sent to this edgeHub now.</param>
    /// <param name="isConnected">Whether edgeHub has accepted our connection.</param>
    /// <param name="wake">Called when a read has completed.</param>
    /// <returns>What the page proved, and the time until the next read; null: none is due.</returns>
    public (Verdict Verdict, TimeSpan? Wait) Step(
        bool isCurrent, bool isConnected, Action wake, CancellationToken cancellationToken)
    {
        var verdict = Verdict.Nothing;
        if (_pageRead is { IsCompleted: true })
        {
            // A read that was cancelled by a stop proves nothing about the page.
            var page = _pageRead.IsCompletedSuccessfully ? _pageRead.Result : null;
            _pageRead = null;
            if (cancellationToken.IsCancellationRequested) return (verdict, null);
            verdict = _custody.Scraped(page, Now);
            LogChanges(page, verdict);
        }

        if (_pageRead is not null || cancellationToken.IsCancellationRequested) return (verdict, null);
        if (!isCurrent && _custody.HandedOverSince is null && _custody.Unrouted.Count == 0) return (verdict, null);
        if (NextRead - Now is var wait && wait > TimeSpan.Zero) return (verdict, wait);
        _custody.ScrapeRequested(isConnected);
        _readAt = Now;
        _pageRead = readPage(cancellationToken);
        _ = _pageRead.ContinueWith(
            _ => wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return (verdict, null);
    }

    public CustodyStatus Describe() => new()
    {
        Holder = _custody.ConfirmsCloud ? CustodyHolder.Cloud : CustodyHolder.EdgeHub,
        HandedOver = Known.Count,
        Since = _custody.HandedOverSince is { } since
            ? new(_start + (long)(since.TotalSeconds * timeProvider.TimestampFrequency))
            : null,
        LostMessages = _lost,
        ReturnedReadings = _returned,
        QueuedMessages = _queue,
        Unrouted = [.. _custody.Unrouted.Keys.Order(StringComparer.Ordinal)],
    };

    void LogChanges(MetricsPage? page, Verdict verdict)
    {
        _queue = page?.Queue;
        if (_hasPage != page is not null)
        {
            if (page is not null) ForwardingLog.UpstreamPage(logger, pageUrl ?? "");
            else if (_custody.ConfirmsCloud) ForwardingLog.UpstreamPageGone(logger, pageUrl ?? "");
            else if (pageUrl is not null) ForwardingLog.NoUpstreamPage(logger, pageUrl);
            _hasPage = page is not null;
        }

        _lost += verdict.Lost;
        _returned += verdict.Lost > 0 ? verdict.Returned.Count : 0;
        if (verdict.Lost > 0) ForwardingLog.UpstreamLost(logger, verdict.Lost, verdict.Returned.Count);
        else if (!verdict.Returned.IsEmpty) ForwardingLog.HandedOverAgain(logger, verdict.Returned.Count);
        foreach (var output in _custody.Unrouted.Keys.Where(output => !_unrouted.Contains(output)))
            ForwardingLog.NoRoute(logger, output, module);
        _unrouted = [.. _custody.Unrouted.Keys];
        if (_isHolding == IsHolding) return;
        _isHolding = IsHolding;
        if (_isHolding) ForwardingLog.UpstreamHeld(logger, _queue ?? 0);
        else ForwardingLog.UpstreamReleased(logger);
    }
}
