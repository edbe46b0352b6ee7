using System.Globalization;
using System.Text;
using SensorForwarder.Readings;

namespace SensorForwarder.EdgeHub.Upstream;

/// <summary>
/// Decides which readings that edgeHub has acknowledged are in the cloud and which are lost. edgeHub acknowledges a
/// message once it has stored it, and can lose it afterwards; the counters on its metrics page show what has reached
/// the cloud. The forwarder's loop reports what it sent, what was acknowledged and every page it read, and carries out
/// the verdicts. No I/O; all times are monotonic. Not thread-safe: used by the forwarder's loop only.
/// </summary>
/// <remarks>
/// <para>The equation: an instance of edgeHub received R messages from our module, sent S to the cloud and had no route
/// for N. R - S - N (<see cref="MetricsPage.Missing"/>) is the number of messages in transit, plus those lost so far,
/// minus those that an earlier instance received and this one sent. Its value while none of our messages is in the
/// store is the base (-B in the design). While R - S - N equals the base, no message that R counts is in transit or was
/// lost since the base was set: all of them have arrived.</para>
/// <para>A base that is too high confirms messages that were lost; a base that is too low only causes duplicates. So
/// the base is set only while none of our messages is in the store (idle), and in doubt everything is sent
/// again.</para>
/// <para>A page is not a snapshot: edgeHub reads its counters one after the other. So a page proves something only if
/// none of our messages was on the way to edgeHub while it was read (R was constant), and only two pages with the same
/// counters prove that it is idle. Continuous traffic may leave no such moment: then <see cref="IsPausing"/> asks the
/// forwarder to stop sending.</para></remarks>
internal sealed class Custody
{
    public static readonly TimeSpan IdleTime = TimeSpan.FromSeconds(10);
    public static readonly TimeSpan ScrapeInterval = TimeSpan.FromSeconds(60);
    public static readonly TimeSpan ScrapeIntervalWhileHandedOver = TimeSpan.FromSeconds(10);
    public static readonly TimeSpan ScrapeIntervalInPause = TimeSpan.FromSeconds(2);
    public static readonly TimeSpan PauseAfter = TimeSpan.FromMinutes(5);
    public static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(1);
    public static readonly TimeSpan FallBackAfter = TimeSpan.FromHours(1);

    // An acknowledgement within this time shows that edgeHub is running.
    static readonly TimeSpan RecentTime = TimeSpan.FromMinutes(5);

    // A longer queue shows that edgeHub is slower than this module: more messages would only wait in edgeHub.
    const long LongQueue = 500;

    // How long after a restart of edgeHub its queue gauge is 1 too high: edgeHub cleans its store every 1,800 s.
    static readonly TimeSpan ExcessTime = TimeSpan.FromMinutes(29);

    // After this many increases of S with the same Missing, a loss is likely: a pause can prove it.
    const int StableForPause = 2;

    // After this many, a loss is proven, even if the queue is not empty.
    const int StableForLoss = 5;

    static readonly IReadOnlyDictionary<string, long> None = new Dictionary<string, long>();

    // Sent and not acknowledged yet, by message id; the other two by output.
    readonly Dictionary<string, (string Output, IdSet Ids)> _outstanding = [];
    readonly Dictionary<string, IdSet> _handedOver = [];
    readonly Dictionary<string, IdSet> _unrouted = [];

    // Whether there is a page. Both flags are false until the first read.
    bool _wasSeen;
    bool _isAbsent;
    TimeSpan? _missedSince; // the first of the failed reads in a row
    TimeSpan _acknowledgedAt;

    // The instance of edgeHub. The base is null until the first idle time; _dropped is N by output at the last verdict.
    string _instance = "";
    long? _base;
    TimeSpan _excessUntil;
    bool _hasSent; // S has increased in this instance
    IReadOnlyDictionary<string, long> _dropped = None;

    // Earlier pages of this instance: the last; the first with the present counters (_still); the first with the
    // present Missing (_stable), with the number of increases of S since. Since _stalledSince our messages are in
    // edgeHub and no message of any module has left it.
    MetricsPage? _before;
    TimeSpan _beforeAt;
    TimeSpan? _stalledSince;
    (MetricsPage Page, TimeSpan Time)? _still;
    MetricsPage? _stable;
    int _increases;

    // None of our messages has been on the way to edgeHub since the page was requested.
    bool _isQuiet;

    // edgeHub had accepted our connection when the page was requested; IsNew was true for the page before.
    bool _isServed;
    bool _wasNew;

    TimeSpan? _pausingSince;
    TimeSpan _pauseDue; // the time of a pause without another reason
    TimeSpan _pauseNotBefore;
    TimeSpan _handedOverSince;

    public Custody(TimeSpan now) => (NextScrape, _pauseDue) = (now, now + PauseAfter);

    /// <summary>Whether delivered means in the cloud; otherwise it means stored by edgeHub, because there is no page.
    /// </summary>
    public bool ConfirmsCloud => _wasSeen;

    /// <summary>Readings that edgeHub has acknowledged and that are neither delivered nor returned, without those of
    /// <see cref="Unrouted"/>.</summary>
    public IdSet HandedOver => Union(_handedOver.Values);

    /// <summary>When the oldest of <see cref="HandedOver"/> was acknowledged; null when there are none.</summary>
    public TimeSpan? HandedOverSince => _handedOver.Count == 0 ? null : _handedOverSince;

    /// <summary>Readings that edgeHub may have dropped because no route matches their output, by output. They return
    /// once a later message of that output has arrived; the forwarder tries one batch a minute.</summary>
    public IReadOnlyDictionary<string, IdSet> Unrouted => _unrouted;

    /// <summary>Whether edgeHub has no connection to the cloud, or is too slow: send it one batch a minute.</summary>
    public bool IsHolding { get; private set; }

    /// <summary>Whether to send no batch: only a moment without traffic can show what has arrived.</summary>
    public bool IsPausing => _pausingSince is not null;

    /// <summary>When to read the page again.</summary>
    public TimeSpan NextScrape { get; private set; }

    /// <summary>A batch is being sent; a repeat has the message id of the batch it repeats.</summary>
    public void Sent(string messageId, string output, IdSet ids)
    {
        _isQuiet = false;
        _outstanding[messageId] = (output, ids);
    }

    /// <summary>edgeHub acknowledged a message.</summary>
    /// <returns>The readings that are delivered by this; none unless the metrics page is absent.</returns>
    public IdSet Acknowledged(string messageId, TimeSpan now)
    {
        if (!_outstanding.Remove(messageId, out var batch)) return IdSet.Empty;
        _acknowledgedAt = now;
        if (_isAbsent) return batch.Ids;
        if (_handedOver.Count == 0) _handedOverSince = now;
        Add(_handedOver, batch.Output, batch.Ids);
        return IdSet.Empty;
    }

    /// <summary>The send of a message failed before edgeHub acknowledged it: its readings are waiting again.</summary>
    public void Abandoned(string messageId) => _outstanding.Remove(messageId);

    /// <summary>The page will be read. Called before the request is sent.</summary>
    /// <param name="isConnected">Whether edgeHub has accepted our connection, which it does only after it has loaded
    /// its store.</param>
    public void ScrapeRequested(bool isConnected) =>
        (_isQuiet, _isServed) = (_outstanding.Count == 0, isConnected);

    /// <summary>The page was read.</summary>
    /// <param name="page">Null when there is no usable page.</param>
    /// <param name="now">The time at which the answer was received.</param>
    public Verdict Scraped(MetricsPage? page, TimeSpan now)
    {
        var verdict = page is null ? Missed(now) : Seen(page, now);
        NextScrape = now + (IsPausing ? ScrapeIntervalInPause
            : _wasSeen && (IsHolding || _handedOver.Count > 0) ? ScrapeIntervalWhileHandedOver
            : ScrapeInterval);
        return verdict;
    }

    /// <summary>The state that must survive a restart of the module. Handed-over readings that it does not contain must
    /// be sent again.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        Line("custody", "1", _wasSeen ? "seen" : "", _instance, Text(_base));
        foreach (var (output, ids) in _handedOver) Line("handed", ids.ToString(), output);
        foreach (var (output, ids) in _unrouted) Line("unrouted", ids.ToString(), output);
        foreach (var (output, count) in _dropped) Line("dropped", Text(count), output);
        return text.ToString();

        void Line(params ReadOnlySpan<string> fields) => text.AppendJoin('\t', fields).Append('\n');
        static string Text(long? number) => number?.ToString(CultureInfo.InvariantCulture) ?? "";
    }

    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
    /// <returns>Null when the text is damaged: then all handed-over readings must be sent again.</returns>
    public static Custody? TryParse(string saved, TimeSpan now)
    {
        var custody = new Custody(now) { _handedOverSince = now };
        var dropped = new Dictionary<string, long>();
        custody._dropped = dropped;
        var lines = saved.Split('\n');
        if (lines[^1].Length > 0 || !custody.TryHeader(lines[0].Split('\t'))) return null;
        foreach (var line in lines[1..^1])
        {
            if (line.Split('\t') is not [var kind, var value, var output]) return null;
            if (kind == "dropped" && TryNumber(value, out var count)) dropped[output] = count;
            else if (kind == "handed" && IdSet.TryParse(value) is { } handed) custody._handedOver[output] = handed;
            else if (kind == "unrouted" && IdSet.TryParse(value) is { } ids) custody._unrouted[output] = ids;
            else return null;
        }

        return custody;
    }

    bool TryHeader(string[] fields)
    {
        if (fields is not ["custody", "1", var seen, var instance, var number]) return false;
        (_wasSeen, _instance) = (seen == "seen", instance);
        if (number.Length == 0) return true;
        var isNumber = TryNumber(number, out var known);
        _base = known;
        return isNumber;
    }

    static bool TryNumber(string text, out long number) =>
        long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out number);

    Verdict Missed(TimeSpan now)
    {
        _pausingSince = null;
        if (!_wasSeen)
        {
            _isAbsent = true;
            return Verdict.Nothing with { Delivered = TakeHandedOver() };
        }

        // edgeHub may be restarting, or the device is slow: a missing page confirms nothing. Only when edgeHub has
        // acknowledged messages for an hour without a page is the page considered removed.
        _missedSince ??= now;
        if (now - _missedSince < FallBackAfter || now - _acknowledgedAt > RecentTime) return Verdict.Nothing;
        (_wasSeen, _isAbsent, IsHolding) = (false, true, false);
        BeginInstance("");
        var unrouted = Union(_unrouted.Values);
        _unrouted.Clear();
        return Verdict.Nothing with { Returned = TakeHandedOver().Union(unrouted) };
    }

    Verdict Seen(MetricsPage page, TimeSpan now)
    {
        (_wasSeen, _isAbsent, _missedSince) = (true, false, null);
        if (page.Instance != _instance) BeginInstance(page);
        if (page.Queue == 0) _excessUntil = TimeSpan.Zero;
        _hasSent |= _before is not null && page.Sent > _before.Sent;
        Hold(page, now);
        if (_isQuiet) Track(page, now);
        var verdict = _isQuiet ? Judge(page, now) : null;
        Pause(page, now, isSettled: verdict is not null);
        (_before, _beforeAt, _isQuiet, _wasNew) = (page, now, false, IsNew(page));
        return verdict ?? Verdict.Nothing;
    }

    void BeginInstance(MetricsPage page)
    {
        // If this module noticed the restart of edgeHub, the counters began at 0. At the first read, they are older.
        var isRestart = _instance.Length > 0;
        var excessUntil = _before is null ? TimeSpan.Zero : _beforeAt + ExcessTime;
        BeginInstance(page.Instance);
        _excessUntil = excessUntil;
        if (isRestart)
            _before = page with { Received = 0, Sent = 0, SentByAll = None, Queues = None };
        else
            _dropped = page.Unrouted;
    }

    void BeginInstance(string instance)
    {
        (_instance, _base, _excessUntil, _hasSent) = (instance, null, TimeSpan.Zero, false);
        (_before, _still, _stable, _increases, _stalledSince) = (null, null, null, 0, null);
        (_dropped, _wasNew) = (None, false);
    }

    // Only an increase of S ends the hold: a queue that shrinks without one is edgeHub discarding messages. A queue of
    // 1 counts as empty, see ExcessTime.
    void Hold(MetricsPage page, TimeSpan now)
    {
        var hasLeft = _before is not null && page.AllSent > _before.AllSent;
        var isWaiting = _handedOver.Count > 0 && (_base is { } known ? page.Missing > known : page.Queue > 1);
        if (hasLeft) IsHolding = false;
        if (hasLeft || !isWaiting) _stalledSince = null;
        if (isWaiting) _stalledSince ??= now;
        if (now - _stalledSince >= IdleTime) IsHolding = true;
        if (page.Queue > LongQueue && (!hasLeft || page.Queue > _before?.Queue)) IsHolding = true;
    }

    void Track(MetricsPage page, TimeSpan now)
    {
        if (_still is not { } still || !HasSameCounters(still.Page, page) || !(page.Queue >= still.Page.Queue))
            _still = (page, now);

        if (_stable is null || _stable.Missing != page.Missing) (_stable, _increases) = (page, 0);
        else if (page.Sent > _before!.Sent) _increases++;
    }

    // Null: the page proves nothing.
    Verdict? Judge(MetricsPage page, TimeSpan now)
    {
        if (page.Missing == _base) return Balance(page);

        // A message that counted as lost has arrived, and there may be more of them.
        if (page.Missing < _base) _base = null;
        if (!IsIdle(page, now)) return null;
        var lost = page.Missing - _base ?? 0;
        _base = page.Missing;
        return Settle(page) with { Lost = lost };
    }

    // Whether none of our messages is in the store. The proof: nothing is left of the queue of the first page with
    // these counters. Expired messages stay in the queue until edgeHub's cleanup; then earlier pages must show that
    // Missing stayed the same while the queue was sent (IsStable).
    bool IsIdle(MetricsPage page, TimeSpan now)
    {
        if (_wasNew && IsNew(page)) return true;
        if (_still is not var (still, since) || now - since < IdleTime) return false;
        return page.HasSentQueueOf(still)
            || (still.Queue == 1 && now < _excessUntil && _hasSent)
            || IsStable(page);
    }

    // Whether edgeHub started with an empty store (with a store its queue gauge is never 0 after a start) and has
    // received nothing from us. A single page is no proof: a message that an earlier instance received may be sent
    // while the page is read.
    bool IsNew(MetricsPage page) => _isServed && page is { Received: 0, Sent: 0, Queue: null or 0 };

    bool IsStable(MetricsPage page) => _increases >= StableForLoss && page.HasSentQueueOf(_stable!);

    Verdict Balance(MetricsPage page)
    {
        var (delivered, returned) = (IdSet.Empty, IdSet.Empty);
        foreach (var (output, ids) in Routed(page))
        {
            delivered = delivered.Union(ids);
            if (_unrouted.Remove(output, out var unrouted)) returned = returned.Union(unrouted);
        }

        return new(delivered, returned, 0);
    }

    Verdict Settle(MetricsPage page) =>
        Verdict.Nothing with { Returned = Union(Routed(page).Select(output => output.Value)) };

    // Takes everything that was handed over, by output. Readings of outputs whose N has increased move to _unrouted.
    List<KeyValuePair<string, IdSet>> Routed(MetricsPage page)
    {
        var routed = _handedOver.ToLookup(output =>
            page.Unrouted.GetValueOrDefault(output.Key) == _dropped.GetValueOrDefault(output.Key));
        foreach (var (output, ids) in routed[false]) Add(_unrouted, output, ids);
        var taken = routed[true].ToList();
        _handedOver.Clear();
        _dropped = page.Unrouted;
        return taken;
    }

    void Pause(MetricsPage page, TimeSpan now, bool isSettled)
    {
        // None of our messages is in the store, so the base can be set within seconds; messages sent before that would
        // have to be sent again. A page without a queue never proves that, except that of a new edgeHub.
        var isFirst = _handedOver.Count == 0 && _base is null
            && page is { Queue: 0 } or { Queue: null, Received: 0, Sent: 0 };
        if (isFirst)
        {
            _pausingSince ??= now;
        }
        else if (isSettled || _handedOver.Count == 0)
        {
            (_pausingSince, _pauseDue) = (null, now + PauseAfter);
        }
        else if (now - _pausingSince >= LongestPause)
        {
            // The pause showed nothing, for example because the cloud became unreachable meanwhile.
            _pausingSince = null;
            _pauseDue = _pauseNotBefore = now + PauseAfter;
        }
        else if (!IsHolding && (now >= _pauseDue || (IsWorthPause(page) && now >= _pauseNotBefore)))
        {
            _pausingSince ??= now;
        }
    }

    // Whether a pause can set the base or prove a loss. Until then everything that is handed over will be sent again.
    bool IsWorthPause(MetricsPage page) => _base is null
        ? _hasSent
        : page.Missing != _base && (IsStable(page) || (_increases >= StableForPause && page.Queue <= 1));

    IdSet TakeHandedOver()
    {
        var taken = HandedOver;
        _handedOver.Clear();
        return taken;
    }

    static bool HasSameCounters(MetricsPage a, MetricsPage b) =>
        a.Received == b.Received && a.Sent == b.Sent && a.Missing == b.Missing;

    static void Add(Dictionary<string, IdSet> sets, string output, IdSet ids) =>
        sets[output] = ids.Union(sets.GetValueOrDefault(output, IdSet.Empty));

    static IdSet Union(IEnumerable<IdSet> sets) => sets.Aggregate(IdSet.Empty, (all, ids) => all.Union(ids));
}
