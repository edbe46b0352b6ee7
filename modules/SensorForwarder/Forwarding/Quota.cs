using System.Globalization;
using System.Text;
using SensorForwarder.Buffer;
using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>The part of the daily limit that a batch may use at this time of the day.</summary>
internal enum QuotaShare
{
    /// <summary>The part of the limit that matches the part of the day that has passed: the rest stays available for
    /// new readings.</summary>
    Backlog,

    /// <summary>As <see cref="Backlog"/>, plus an eighth of the limit ahead of time.</summary>
    Live,

    /// <summary>The whole limit.</summary>
    Everything,
}

/// <summary>
/// Counts the chunks of 4 KB that IoT Hub bills in a UTC day, and decides how many more may be sent. The count survives
/// restarts and kills: chunks are reserved in the database before they are sent, in blocks, to save writes. Days follow
/// the wall clock; when it is corrected, chunks that may have been sent on the corrected date count for that date, too.
/// Used by the forwarder's loop only.
/// </summary>
internal sealed class Quota(
    TelemetryBuffer buffer, TimeProvider timeProvider, Action wake, Func<KernelTime>? kernelTime = null)
{
    public const int ChunkBytes = 4_096;

    /// <summary>The most bytes that the properties of a message take, without tags; IoT Hub bills them.</summary>
    public const int PropertyBytes = 256;

    public const string Document = "forwarding.quota";

    // A kill wastes at most one block, 1/100 of the daily limit.
    const int BlocksInDay = 100;
    const double LiveAhead = 1.0 / 8;
    const int DaysKept = 4;
    const int HoursKept = 25;

    static readonly TimeSpan Day = TimeSpan.FromDays(1);

    // If the wall clock moved this much relative to the uptime, it was set. The uptime includes suspends.
    static readonly TimeSpan Step = TimeSpan.FromMinutes(5);
    static readonly TimeSpan SaveAgain = TimeSpan.FromSeconds(10);

    // A wait is recalculated this often, because the wall clock can be set meanwhile.
    static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(1);

    readonly Func<KernelTime> _kernelTime = kernelTime ?? KernelTime.For(timeProvider);
    readonly List<DayCount> _days = [];

    // Chunks sent on the current date, by hour of uptime. When the clock is set to another date, only the chunks of the
    // hours since midnight of that date count for it.
    readonly List<(long Hour, long Chunks)> _recent = [];
    DayCount? _today;
    DateTimeOffset _seenAt;
    TimeSpan _seenUptime;
    volatile bool _isSaving;

    /// <summary>Chunks that were or may have been sent today.</summary>
    public long Used => Today().Used;

    /// <summary>Completes when the last reservation is saved or has failed. Never fails.</summary>
    public Task Reserving { get; private set; } = Task.CompletedTask;

    /// <summary>The number of chunks that are billed for a batch.</summary>
    public static int Chunks(Batch batch, ForwardingSettings settings) =>
        Chunks(batch.BodyFor(settings).Length + batch.Tags.Bytes);

    public static int Chunks(int bodyBytes) => (bodyBytes + PropertyBytes + ChunkBytes - 1) / ChunkBytes;

    /// <summary>The daily limit in chunks; 0: none.</summary>
    public static int LimitOf(ISink sink, ForwardingSettings settings) =>
        sink.IsMetered ? settings.DailyMessageLimit : 0;

    /// <summary>Why a batch can never be sent: it exceeds the daily limit; null: it does not.</summary>
    public static string? Objection(Batch batch, ISink sink, ForwardingSettings settings) =>
        LimitOf(sink, settings) is var limit and > 0
            && Chunks(batch, settings) is var chunks && chunks > limit
            ? $"the batch is billed as {chunks} messages, and dailyMessageLimit is {limit}: raise the limit"
            : null;

    /// <summary>The largest body of at most this size that fills whole chunks; negative: this size fills
    /// none.</summary>
    public static int WholeChunkBytes(int bodyBytes) =>
        ((bodyBytes + PropertyBytes) / ChunkBytes * ChunkBytes) - PropertyBytes;

    /// <summary>Chunks that may be sent now.</summary>
    public long Allowance(int limit, QuotaShare share)
    {
        var used = Today().Used;
        return Math.Min(limit - used, (long)Math.Floor(Line(limit, share, timeProvider.GetUtcNow().TimeOfDay)) - used);
    }

    /// <summary>When this many chunks may be sent; the start of tomorrow if not today.</summary>
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

    /// <summary>The hold of a lane that waits to send this many chunks.</summary>
    public Hold Hold(int limit, QuotaShare share, int chunks)
    {
        var until = Until(limit, share, chunks);
        return new(WaitFor(until), until, share == QuotaShare.Backlog);
    }

    /// <summary>Time until a moment, at most <see cref="LongestWait"/>.</summary>
    public TimeSpan WaitFor(DateTimeOffset moment)
    {
        var wait = moment - timeProvider.GetUtcNow();
        return TimeSpan.FromTicks(Math.Clamp(wait.Ticks, 0, LongestWait.Ticks));
    }

    /// <summary>Counts chunks, also without a limit, in case one is set later in the day. The count is saved with the
    /// next reservation and at the stop.</summary>
    public void Count(int chunks)
    {
        Today().Used += chunks;
        var hour = (long)_seenUptime.TotalHours;
        if (_recent.Count > 0 && _recent[^1].Hour == hour) _recent[^1] = (hour, _recent[^1].Chunks + chunks);
        else _recent.Add((hour, chunks));
        if (_recent.Count > HoursKept) _recent.RemoveAt(0);
    }

    /// <summary>Counts chunks if they are reserved on the medium. If not, starts to reserve a block, and wakes the
    /// forwarder when the reservation has completed.</summary>
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

    /// <summary>Releases reserved chunks that were not sent. Call this when nothing more is sent in this run.</summary>
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
        _ => (limit * (timeOfDay / Day)) + 1, // one ahead: the last one would be due at midnight, which is tomorrow
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

    // After a kill it is unknown how many reserved chunks were sent: all of them count as sent.
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
        public DateOnly Date { get; } = date;

        public long Used { get; set; }

        /// <summary>On the medium. Set on the thread that completed the save, read by the loop.</summary>
        public long Reserved
        {
            get => Volatile.Read(ref field);
            set => Volatile.Write(ref field, value);
        }
    }
}
