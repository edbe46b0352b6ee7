using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>
/// What <c>dailyMessageLimit</c> promises to new readings in a <see cref="MonthSimulation"/>: whatever the backlog takes, they wait for
/// nothing as long as they, alone, fit a bucket that fills evenly with a day's limit and holds an eighth of it. A day that other
/// settings had used up before has nothing left for them, and nobody can run ahead of its end.
/// </summary>
internal sealed class LiveShare
{
    // What a batch of new readings takes at most here.
    const double Enough = 6;

    static readonly TimeSpan Day = TimeSpan.FromDays(1);

    DateTimeOffset _date;
    TimeSpan _now;
    int _limit;
    double? _level;
    bool _isUsedUp;

    /// <summary>When new readings last had less left than any batch of them takes.</summary>
    public TimeSpan TightAt { get; private set; }

    /// <summary>Something happened that takes messages, or the room for them.</summary>
    public void Forget() => _level = null;

    public void OnSend(Batch batch)
    {
        if (batch.Lane == Lane.Live) _level -= Quota.Chunks(batch.Body.Length);
    }

    /// <summary>Time passes. The count of a forwarder is believed only where nothing is known from before:
    /// a clock that was set back brings a day again.</summary>
    public void Advance(TimeSpan now, DateTimeOffset wallClock, ForwardingSettings settings, ForwardingStatus status)
    {
        var date = new DateTimeOffset(wallClock.UtcDateTime.Date, TimeSpan.Zero);
        var holds = Math.Max(1, settings.DailyMessageLimit / 8.0) - 1; // the backlog's line is one ahead
        var hasLittle = status.MessagesToday + Enough > settings.DailyMessageLimit;
        var isLate = wallClock - date > Day * (7 / 8.0); // what is ahead of the line ends with the day
        if (_level is null || date != _date) _isUsedUp = hasLittle;
        if (settings.DailyMessageLimit != _limit || settings.DailyMessageLimit == 0 || status.DailyMessageLimit != settings.DailyMessageLimit) _level = null;
        else if (_level is { } level && date == _date) _level = Math.Min(holds, level + (_limit * ((now - _now) / Day)));
        else _level = Math.Min(holds, (_limit * ((wallClock - date) / Day)) + holds - status.MessagesToday);
        (_now, _date, _limit) = (now, date, settings.DailyMessageLimit);
        if (_level is null or < Enough || _isUsedUp || (isLate && hasLittle)) TightAt = now;
    }
}
