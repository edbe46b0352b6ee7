using System.Globalization;
using System.Text;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>What of the day's messages something may take.</summary>
internal enum QuotaShare
{
    /// <summary>What the part of the day that has passed would have had, if the messages were spread evenly: what is
    /// left always has its even part for new readings.</summary>
    Backlog,

    /// <summary>That, and an eighth of the day ahead of it.</summary>
    Live,

    /// <summary>All that is left of the day.</summary>
    Everything,
}

/// <summary>
/// Counts what IoT Hub bills, chunks of 4 KB in a day of UTC, and says what may still go. The count survives restarts
/// and kills: what is sent was reserved in the buffer's file before, in blocks, so that it is not a write a message.
/// Days are those of the module's clock; when that is set, what may have been sent on the right date counts for it too.
/// Used by the forwarder's loop only.
/// </summary>
internal sealed class Quota(
    TelemetryBuffer buffer, TimeProvider timeProvider, Action wake, Func<KernelTime>? kernelTime = null)
{
    public const int ChunkBytes = 4_096;

    /// <summary>What the properties of a message take at most; IoT Hub counts them.</summary>
    public const int PropertyBytes = 256;

    public const string Document = "forwarding.quota";

    // A kill can cost so much of a day's messages.
    const int BlocksInDay = 100;
    const double LiveAhead = 1.0 / 8;
    const int DaysKept = 4;
    const int HoursKept = 25;

    static readonly TimeSpan Day = TimeSpan.FromDays(1);

    // Where the wall clock moved this much against the uptime, which runs on in a suspended system, it was set.
    static readonly TimeSpan Step = TimeSpan.FromMinutes(5);
    static readonly TimeSpan SaveAgain = TimeSpan.FromSeconds(10);

    // So often the wait is calculated anew: the clock can be set meanwhile.
    static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(1);

    readonly Func<KernelTime> _kernelTime = kernelTime ?? KernelTime.For(timeProvider);
    readonly List<DayCount> _days = [];

    // What went on this date, by the hour of uptime in which it went: of a clock that is set later, only the end may
    // have been of the day that it is set to.
    readonly List<(long Hour, long Chunks)> _recent = [];
    DayCount? _today;
    DateTimeOffset _seenAt;
    TimeSpan _seenUptime;
    volatile bool _isSaving;

    /// <summary>Chunks that were sent today, or may have been.</summary>
    public long Used => Today().Used;

    /// <summary>Ends when what was to be reserved is, or could not be.</summary>
    public Task Reserving { get; private set; } = Task.CompletedTask;

    public static int Chunks(int bodyBytes) => (bodyBytes + PropertyBytes + ChunkBytes - 1) / ChunkBytes;

    /// <summary>Chunks that may go now.</summary>
    public long Allowance(int limit, QuotaShare share)
    {
        var used = Today().Used;
        return Math.Min(limit - used, (long)Math.Floor(Line(limit, share, timeProvider.GetUtcNow().TimeOfDay)) - used);
    }

    /// <summary>When so many chunks may go; the start of tomorrow when not today.</summary>
    public DateTimeOffset Until(int limit, QuotaShare share, int chunks)
    {
        var today = Today();
        var now = timeProvider.GetUtcNow();
        var midnight = new DateTimeOffset(now.UtcDateTime.Date, TimeSpan.Zero) + Day;
        if (today.Used + chunks > limit) return midnight;
        var missing = today.Used + chunks - Line(limit, share, TimeSpan.Zero);
        var at = midnight - Day + TimeSpan.FromSeconds((missing / limit * Day.TotalSeconds) + 0.001);
        return at < midnight ? at : midnight;
    }

    /// <summary>How long to wait for a moment at most before asking again.</summary>
    public TimeSpan WaitFor(DateTimeOffset moment)
    {
        var wait = moment - timeProvider.GetUtcNow();
        return TimeSpan.FromTicks(Math.Clamp(wait.Ticks, 0, LongestWait.Ticks));
    }

    /// <summary>Counts what goes while there is no limit: one that is set later in the day has to know. It is written
    /// when a limit reserves, and at the stop.</summary>
    public void Count(int chunks)
    {
        Today().Used += chunks;
        var hour = (long)_seenUptime.TotalHours;
        if (_recent.Count > 0 && _recent[^1].Hour == hour) _recent[^1] = (hour, _recent[^1].Chunks + chunks);
        else _recent.Add((hour, chunks));
        if (_recent.Count > HoursKept) _recent.RemoveAt(0);
    }

    /// <summary>Takes so many chunks, if they are reserved on the medium; if not, begins to reserve them, and wakes
    /// when that is done.</summary>
    public bool TryTake(int limit, int chunks, out TimeSpan? wait)
    {
        var today = Today();
        wait = null;
        if (today.Used + chunks <= today.Reserved)
        {
            Count(chunks);
            return true;
        }

        wait = SaveAgain;
        if (!_isSaving) Reserving = ReserveAsync(
            today, Math.Max(today.Used + chunks, Math.Min(limit, today.Used + chunks + (limit / BlocksInDay))));
        return false;
    }

    /// <summary>Gives back what is reserved and was not taken: nothing is sent any more in this run.</summary>
    public Task CloseAsync(CancellationToken cancellationToken)
    {
        if (_today is null || _days.All(day => day.Reserved == day.Used)) return Task.CompletedTask;
        foreach (var day in _days) day.Reserved = day.Used;
        return buffer.SaveDocumentAsync(Document, Write(null, 0), cancellationToken);
    }

    static double Line(int limit, QuotaShare share, TimeSpan timeOfDay) => share switch
    {
        QuotaShare.Everything => limit,
        QuotaShare.Live => (limit * (timeOfDay / Day)) + Math.Max(1, limit * LiveAhead),
        _ => (limit * (timeOfDay / Day)) + 1, // or the last one would be due at midnight, which is tomorrow
    };

    async Task ReserveAsync(DayCount day, long reserve)
    {
        _isSaving = true;
        var saving = buffer.SaveDocumentAsync(Document, Write(day, reserve), CancellationToken.None);
        await saving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (saving.IsCompletedSuccessfully) day.Reserved = reserve;
        _isSaving = false;
        wake();
    }

    DayCount Today()
    {
        var (now, uptime) = (timeProvider.GetUtcNow(), _kernelTime().Uptime);
        var date = DateOnly.FromDateTime(now.UtcDateTime);
        if (_today is null) Load();
        if (_today?.Date != date)
        {
            var moved = now - _seenAt - (uptime - _seenUptime);
            var wasSet = _today is not null && moved.Duration() > Step;
            var day = _days.Find(day => day.Date == date) ?? new DayCount(date);
            if (wasSet) day.Used += _recent.Where(part => TimeSpan.FromHours(part.Hour + 1) > uptime - now.TimeOfDay)
                .Sum(part => part.Chunks);
            _recent.Clear();
            _days.Remove(day);
            _days.Add(day);
            if (_days.Count > DaysKept) _days.RemoveAt(0);
            _today = day;
        }

        (_seenAt, _seenUptime) = (now, uptime);
        return _today;
    }

    ReadOnlyMemory<byte> Write(DayCount? reserving, long reserve) =>
        Encoding.ASCII.GetBytes(string.Join('\n', _days.Select(day =>
        string.Create(CultureInfo.InvariantCulture, $"{day.Date:yyyy-MM-dd} {(
            day == reserving ? reserve : day.Reserved)}"))));

    // All that was reserved counts as sent: nobody knows how much of it was.
    void Load()
    {
        if (buffer.LoadDocument(Document) is not { } document) return;
        foreach (var line in Encoding.ASCII.GetString(document.Span).Split('\n'))
        {
            if (line.Split(' ') is [var date, var count]
                && DateOnly.TryParseExact(
                    date, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var day)
                && long.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var chunks))
            {
                _days.Add(new(day) { Used = chunks, Reserved = chunks });
            }
        }
    }

    sealed class DayCount(DateOnly date)
    {
        // On the medium. Set by whoever saved it, read by the loop.
        long _reserved;

        public DateOnly Date { get; } = date;

        public long Used { get; set; }

        public long Reserved
        {
            get => Volatile.Read(ref _reserved);
            set => Volatile.Write(ref _reserved, value);
        }
    }
}
