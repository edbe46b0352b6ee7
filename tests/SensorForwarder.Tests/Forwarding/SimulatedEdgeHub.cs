using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>How fast edgeHub gets rid of what it has.</summary>
internal enum Uplink
{
    Fast,

    /// <summary>A message every two seconds.</summary>
    Slow,

    /// <summary>It has no cloud, and goes on acknowledging.</summary>
    Away,
}

/// <summary>
/// edgeHub in a <see cref="MonthSimulation"/>: it acknowledges what it stores, and says on its metrics page what becomes of that.
/// The module's own <see cref="UpstreamWatch"/> looks at the page, as often as it wants to.
/// </summary>
internal sealed class SimulatedEdgeHub
{
    // Two looks, ten seconds apart, the first of them up to ten seconds after something waits.
    static readonly TimeSpan NoticedAfter = TimeSpan.FromSeconds(20);

    // A page that was missing is looked for once a minute.
    static readonly TimeSpan PageNoticedAfter = TimeSpan.FromMinutes(1);

    UpstreamWatch _watch = NewWatch();
    Uplink _uplink;
    bool _hasPage = true;
    double _stored;
    double _sent;
    TimeSpan _now;
    TimeSpan _nextLook;
    TimeSpan? _stuckSince;
    TimeSpan? _emptySince;

    public bool IsHolding => _watch.IsHolding;

    public bool IsFast => _uplink == Uplink.Fast;

    /// <summary>Whatever it gets would only wait in it, and the module has had the time to see that.</summary>
    public bool IsKnownToBeStuck => _stuckSince is { } since && _now - since > NoticedAfter;

    /// <summary>Nothing waits in it, and the module has had the time to see that.</summary>
    public bool IsHeldInVain => IsHolding && _emptySince is { } since && _now - since > NoticedAfter;

    /// <summary>The next moment at which a look may show something else; null: there is none.</summary>
    public TimeSpan? NextChange
    {
        get
        {
            var isStill = _stored == 0 && !IsHolding;
            var staysHeld = _uplink == Uplink.Away && IsHolding && _hasPage;
            return isStill || staysHeld ? null : _nextLook;
        }
    }

    /// <summary>The module was started anew: what it saw is forgotten.</summary>
    public void OnRestart()
    {
        _watch = NewWatch();
        _nextLook = _now;
        Notice(TimeSpan.Zero);
    }

    /// <summary>Other modules have left something in it, too.</summary>
    public void Become(Uplink uplink, int messagesOfOthers)
    {
        _uplink = uplink;
        _stored += messagesOfOthers;
        Advance(_now);
    }

    public void TurnPage(bool isThere)
    {
        _hasPage = isThere;
        Notice(PageNoticedAfter);
    }

    public void Take()
    {
        _stored++;
        Advance(_now);
    }

    public void Advance(TimeSpan now)
    {
        var perSecond = _uplink switch { Uplink.Fast => double.PositiveInfinity, Uplink.Slow => 0.5, _ => 0 };
        var leaves = _uplink == Uplink.Fast ? _stored : Math.Min(_stored, (now - _now).TotalSeconds * perSecond);
        (_stored, _sent, _now) = (_stored - leaves, _sent + leaves, now);
        var isStuck = _hasPage && ((_uplink == Uplink.Away && _stored > 0) || _stored > 501);
        if (!isStuck) _stuckSince = null;
        else _stuckSince ??= now;
        if (_stored > 0) _emptySince = null;
        else _emptySince ??= now;
        if (now < _nextLook) return;
        _watch.Look(_hasPage ? Page() : null);
        _nextLook = now + _watch.UntilNextLook;
    }

    static UpstreamWatch NewWatch() => new(new(null), TimeProvider.System, NullLogger<UpstreamWatch>.Instance);

    void Notice(TimeSpan later)
    {
        Advance(_now);
        if (_stuckSince is not null) _stuckSince = _now + later;
    }

    string Page() => string.Create(CultureInfo.InvariantCulture, $$"""
        edgehub_messages_sent_total{from="pi/module",to="upstream",priority="0"} {{Math.Floor(_sent)}}
        edgehub_queue_length{endpoint="iothub",priority="0"} {{Math.Ceiling(_stored)}}
        """);
}
