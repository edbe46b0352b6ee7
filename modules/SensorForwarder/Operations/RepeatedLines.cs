using System.Globalization;
using Microsoft.Extensions.Logging;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.Operations;

/// <summary>
/// Collapses repeated log lines before any log provider gets them. Of a repeated warning the first line is written,
/// then a count every <see cref="Period"/> and when its condition ends. Lines are the same if their event, strings and
/// exceptions are equal; numbers may differ. A condition ends with the next information line of its category:
/// "Connected" after "No connection". A condition that begins and ends repeatedly is written
/// <see cref="LinesInPeriod"/> times in a period, then counted; with many sensors, once for each. Memory is bounded.
/// Thread-safe.
/// </summary>
internal sealed class RepeatedLines : ILoggerFactory
{
    public const int LinesInPeriod = 5;

    /// <summary>Number of different lines of one event and one sensor that are counted separately; all others are
    /// counted together. For example, a receiver may name a different reading in each answer.</summary>
    public const int KindsOfEvent = 20;

    // Enough for the maximum number of sensors with a line each for start, failure and recovery, and all other lines.
    const int MaxKinds = 2000;

    public static readonly TimeSpan Period = TimeSpan.FromMinutes(5);

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(10);

    readonly ILoggerFactory _inner;
    readonly TimeProvider _timeProvider;
    readonly ITimer _timer;
    readonly Lock _gate = new();

    // Guarded by _gate.
    readonly Dictionary<Kind, Run> _runs = [];

    public RepeatedLines(ILoggerFactory inner, TimeProvider timeProvider)
    {
        (_inner, _timeProvider) = (inner, timeProvider);
        _timer = timeProvider.CreateTimer(
            _ => EndPeriods(), null, AlignedTimer.UntilNext(LookEvery, timeProvider), LookEvery);
    }

    public ILogger CreateLogger(string categoryName) =>
        new CollapsingLogger(this, categoryName, _inner.CreateLogger(categoryName));

    public void AddProvider(ILoggerProvider provider) => _inner.AddProvider(provider);

    /// <summary>Writes the remaining counts.</summary>
    public void Dispose()
    {
        _timer.Dispose();
        lock (_gate)
        {
            foreach (var run in _runs.Values) WriteCount(run);
            _runs.Clear();
        }

        _inner.Dispose();
    }

    /// <summary>Whether a line is written now; if not, it is counted.</summary>
    bool ShouldWrite(ILogger logger, Kind kind, LogLevel level, string text)
    {
        lock (_gate)
        {
            if (level == LogLevel.Information) EndConditions(kind.Category);
            if (!_runs.ContainsKey(kind)
                && _runs.Keys.Count(other => other.IsOfEvent(kind) && other.Name == kind.Name) >= KindsOfEvent)
                kind = kind with { Texts = "" };
            if (!_runs.TryGetValue(kind, out var run))
            {
                MakeRoom();
                _runs[kind] = run = new(logger, kind.Event, Moment.Now(_timeProvider));
            }

            (run.Level, run.Text) = (level, text);
            if (run.IsOpen || run.Lines >= LinesInPeriod || (run.Lines > 0 && IsCrowded(kind)))
            {
                run.HeldBack++;
                return false;
            }

            run.WrittenAt = Moment.Now(_timeProvider);
            if (run.HeldBack == 0) run.FirstAt = run.WrittenAt;
            run.Lines++;
            run.IsOpen = level > LogLevel.Information;
            return true;
        }
    }

    bool IsCrowded(Kind kind) => _runs.Keys.Count(other => other.IsOfEvent(kind)) > KindsOfEvent;

    void EndConditions(string category)
    {
        foreach (var (kind, run) in _runs)
        {
            if (kind.Category != category || !run.IsOpen) continue;
            if (run.Lines < LinesInPeriod) WriteCount(run);
            run.IsOpen = false;
        }
    }

    void EndPeriods()
    {
        lock (_gate)
        {
            foreach (var (kind, run) in _runs)
            {
                if (_timeProvider.GetElapsedTime(run.PeriodBegan) < Period) continue;

                // A line that was not repeated in a whole period counts as new the next time.
                if (run.HeldBack == 0) _runs.Remove(kind);
                WriteCount(run);
                (run.Lines, run.PeriodBegan) = (0, _timeProvider.GetTimestamp());
            }
        }
    }

    void MakeRoom()
    {
        if (_runs.Count < MaxKinds) return;
        var (kind, oldest) = _runs.MinBy(pair => pair.Value.PeriodBegan);
        WriteCount(oldest);
        _runs.Remove(kind);
    }

    void WriteCount(Run run)
    {
        if (run.HeldBack == 0) return;
        if (run.Logger.IsEnabled(run.Level))
        {
            var times = run.HeldBack == 1
                ? "once"
                : string.Create(CultureInfo.InvariantCulture, $"{run.HeldBack} times");
            var first = run.WrittenAt == run.FirstAt
                ? ""
                : $", first at {LogText.Show(run.FirstAt.Time(_timeProvider))}";
            var count = $"Again {times} since {LogText.Show(run.WrittenAt.Time(_timeProvider))}{first}: {run.Text}";
            run.Logger.Log(run.Level, run.Event, count, null, static (text, _) => text);
        }

        (run.HeldBack, run.WrittenAt) = (0, Moment.Now(_timeProvider));
    }

    /// <summary>Identifies lines that count as the same.</summary>
    /// <param name="Name">The name of its sensor; empty: none. The settings bound the number of names.</param>
    /// <param name="Texts">All strings of the line.</param>
    readonly record struct Kind(string Category, EventId Event, string Name, string Texts)
    {
        const string NameOfSensor = "Name";

        // A string that identifies one batch, so it is ignored like a number.
        const string BatchName = "Batch";

        public static Kind Of<TState>(string category, EventId eventId, TState state, string text, string? exception)
        {
            if (state is not IReadOnlyList<KeyValuePair<string, object?>> parts) return new(
                category, eventId, "", $"{text}\n{exception}");
            var texts = parts.Where(part => part is { Key: not BatchName, Value: string or Enum })
                .Select(part => part.Value).Append(exception);
            return new(category, eventId, parts.FirstOrDefault(part => part.Key == NameOfSensor).Value as string
                ?? "", string.Join('\n', texts));
        }

        public bool IsOfEvent(Kind other) => Category == other.Category && Event == other.Event;
    }

    /// <summary>The repetitions of one kind of line.</summary>
    sealed class Run(ILogger logger, EventId eventId, Moment firstAt)
    {
        public ILogger Logger => logger;

        public EventId Event => eventId;

        /// <summary>When the condition began.</summary>
        public Moment FirstAt { get; set; } = firstAt;

        public long PeriodBegan { get; set; } = firstAt.Timestamp;

        /// <summary>When a line or a count was last written.</summary>
        public Moment WrittenAt { get; set; } = firstAt;

        /// <summary>The condition has not ended.</summary>
        public bool IsOpen { get; set; }

        /// <summary>Lines written in this period.</summary>
        public int Lines { get; set; }

        /// <summary>Lines not written since <see cref="WrittenAt"/>.</summary>
        public long HeldBack { get; set; }

        public LogLevel Level { get; set; }

        public string Text { get; set; } = "";
    }

    sealed class CollapsingLogger(RepeatedLines lines, string category, ILogger inner) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => inner.BeginScope(state);

        public bool IsEnabled(LogLevel logLevel) => inner.IsEnabled(logLevel);

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            if (!inner.IsEnabled(logLevel)) return;
            if (logLevel >= LogLevel.Information)
            {
                var text = formatter(state, exception);
                var fault = exception is null ? null : $"{exception.GetType().Name}: {exception.Message}";
                var kind = Kind.Of(category, eventId, state, text, fault);
                if (!lines.ShouldWrite(inner, kind, logLevel, fault is null ? text : $"{text} {fault}")) return;
            }

            inner.Log(logLevel, eventId, state, exception, formatter);
        }
    }
}
