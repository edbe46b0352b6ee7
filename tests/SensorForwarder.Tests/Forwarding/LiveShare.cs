using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>
/// Models the promise of <c>dailyMessageLimit</c> to new readings in a <see cref="MonthSimulation"/>: whatever the
/// backlog uses, new readings are not delayed if they alone fit a bucket that fills evenly with the daily limit and
/// holds an eighth of it. Exceptions: a day whose limit was used up under other settings, and the end of the day.
/// </summary>
internal sealed class LiveShare
{
    // The most chunks in a batch of new readings here.
    const double Enough = 6;

    static readonly TimeSpan Day = TimeSpan.FromDays(1);

    DateTimeOffset _date;
    TimeSpan _now;
    int _limit;
    double? _level;
    bool _isUsedUp;

    /// <summary>When the bucket last held fewer chunks than a batch of new readings may need.</summary>
    public TimeSpan TightAt { get; private set; }

    /// <summary>Discards the level of the bucket after an event that may have used chunks or changed the
    /// limit.</summary>
    public void Forget() => _level = null;

    public void OnSend(Batch batch)
    {
        if (batch.Lane == Lane.Live) _level -= Quota.Chunks(batch.Body.Length);
    }

    /// <summary>Fills the bucket. The forwarder's own count is used only if the level is unknown: after the clock was
    /// set back, it includes messages of the same day before.</summary>
    public void Advance(TimeSpan now, DateTimeOffset wallClock, ForwardingSettings settings, ForwardingStatus status)
    {
        var date = new DateTimeOffset(wallClock.UtcDateTime.Date, TimeSpan.Zero);
        var holds = Math.Max(1, settings.DailyMessageLimit / 8.0) - 1; // the backlog may be one chunk ahead
        var hasLittle = status.MessagesToday + Enough > settings.DailyMessageLimit;
        var isLate = wallClock - date > Day * (7 / 8.0); // no share of the next day may be used ahead
        if (_level is null || date != _date) _isUsedUp = hasLittle;
        if (settings.DailyMessageLimit != _limit || settings.DailyMessageLimit == 0 || status.DailyMessageLimit != settings.DailyMessageLimit) _level = null;
        else if (_level is { } level && date == _date) _level = Math.Min(holds, level + (_limit * ((now - _now) / Day)));
        else _level = Math.Min(holds, (_limit * ((wallClock - date) / Day)) + holds - status.MessagesToday);
        (_now, _date, _limit) = (now, date, settings.DailyMessageLimit);
        if (_level is null or < Enough || _isUsedUp || (isLate && hasLittle)) TightAt = now;
    }
}
