using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>How fast edgeHub sends to the cloud.</summary>
internal enum Uplink
{
    Fast,

    /// <summary>One message every two seconds.</summary>
    Slow,

    /// <summary>No connection to the cloud; messages are still acknowledged.</summary>
    Away,
}

/// <summary>
/// edgeHub in a <see cref="MonthSimulation"/>: acknowledges what it stores, and has a metrics page. The product's
/// <see cref="Handovers"/> read the page.
/// </summary>
internal sealed class SimulatedEdgeHub
{
    // Two reads of the page, ten seconds apart, the first up to ten seconds after a message is stored.
    static readonly TimeSpan NoticedAfter = TimeSpan.FromSeconds(30);

    // A missing page is requested once a minute.
    static readonly TimeSpan PageNoticedAfter = TimeSpan.FromMinutes(2);

    readonly Queue<bool> _stored = []; // whether the message is ours
    Uplink _uplink;
    bool _hasPage = true;
    double _sentPart;
    long _received;
    long _sent;
    long _sentByAll;
    int _oursInStore;
    TimeSpan _now;
    TimeSpan? _stuckSince;
    TimeSpan? _emptySince;

    public Handovers? Handovers { get; set; }

    public bool IsHolding => Handovers?.IsHolding == true;

    public bool IsFast => _uplink == Uplink.Fast;

    /// <summary>edgeHub sends nothing, and the module has had time to notice.</summary>
    public bool IsKnownToBeStuck => _stuckSince is { } since && _now - since > NoticedAfter;

    /// <summary>The module holds readings although edgeHub's store is empty and it has had time to notice.</summary>
    public bool IsHeldInVain => IsHolding && _hasPage && _emptySince is { } since && _now - since > NoticedAfter;

    /// <summary>The module was restarted and has not read the page yet.</summary>
    public void OnRestart() => Notice(TimeSpan.Zero);

    /// <summary>Changes the uplink, and adds messages of other modules to the store.</summary>
    public void Become(Uplink uplink, int messagesOfOthers)
    {
        _uplink = uplink;
        for (var i = 0; i < messagesOfOthers; i++) _stored.Enqueue(false);
        Advance(_now);
    }

    public void TurnPage(bool isThere)
    {
        _hasPage = isThere;
        Notice(PageNoticedAfter);
    }

    public void Take()
    {
        _stored.Enqueue(true);
        _received++;
        _oursInStore++;
        Advance(_now);
    }

    public void Advance(TimeSpan now)
    {
        _sentPart += _uplink switch { Uplink.Fast => _stored.Count, Uplink.Slow => (now - _now).TotalSeconds * 0.5, _ => 0 };
        for (; _sentPart >= 1 && _stored.TryDequeue(out var isOurs); _sentPart--)
        {
            _sentByAll++;
            if (!isOurs) continue;
            _sent++;
            _oursInStore--;
        }

        if (_stored.Count == 0) _sentPart = 0;
        _now = now;

        // A single message could be the gauge that is 1 too high. Messages that the module's books do not contain, for
        // example after a restart, do not hold readings.
        var isStuck = _hasPage && _uplink == Uplink.Away && _oursInStore > 1 && Handovers?.Known.IsEmpty == false;
        if (!isStuck) _stuckSince = null;
        else _stuckSince ??= now;
        if (_stored.Count > 0 || !_hasPage) _emptySince = null;
        else _emptySince ??= now;
    }

    public MetricsPage? Look() => _hasPage
        ? new(
            "one", _received, _sent, new Dictionary<string, long>(), new Dictionary<string, long> { ["0"] = _sentByAll },
            new Dictionary<string, long> { ["0"] = _stored.Count })
        : null;

    void Notice(TimeSpan later)
    {
        Advance(_now);
        if (_stuckSince is not null) _stuckSince = _now + later;
        _emptySince = _stored.Count == 0 ? _now + later : null;
    }
}
