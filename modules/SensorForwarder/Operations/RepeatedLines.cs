using System.Globalization;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Operations;

/// <summary>
/// Sums up what repeats, in front of everything that takes log lines: a warning is told once, and then how often it
/// came again and since when, every <see cref="Period"/> and when its state ends. Lines are the same when their event,
/// their texts and their exceptions are; numbers in them may differ. A state ends with the next line of information of
/// its category: "Connected" after "No connection". What goes to and fro is told <see cref="LinesInPeriod"/> times in a
/// period, and then summed up, too; of many sensors once each. Memory is bounded. Thread-safe.
/// </summary>
internal sealed class RepeatedLines : ILoggerFactory
{
    public const int LinesInPeriod = 5;

    /// <summary>Different lines of one event, and of one sensor, that are told apart; of a receiver that names a
    /// reading in each answer, say.</summary>
    public const int KindsOfEvent = 20;

    // As many sensors as there may be with a line each of their start, their failure and their recovery,
    // and what else there is.
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
        _timer = timeProvider.CreateTimer(_ => EndPeriods(), null, LookEvery, LookEvery);
    }

    public ILogger CreateLogger(string categoryName) =>
        new Summing(this, categoryName, _inner.CreateLogger(categoryName));

    public void AddProvider(ILoggerProvider provider) => _inner.AddProvider(provider);

    /// <summary>Tells the sums that are left.</summary>
    public void Dispose()
    {
        _timer.Dispose();
        lock (_gate)
        {
            foreach (var run in _runs.Values) Tell(run);
            _runs.Clear();
        }

        _inner.Dispose();
    }

    /// <summary>Whether a line is told now; if not, it is counted.</summary>
    bool ShouldTell(ILogger logger, Kind kind, LogLevel level, string text)
    {
        lock (_gate)
        {
            if (level == LogLevel.Information) EndStates(kind.Category);
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

            run.ToldAt = Moment.Now(_timeProvider);
            if (run.HeldBack == 0) run.FirstAt = run.ToldAt;
            run.Lines++;
            run.IsOpen = level > LogLevel.Information;
            return true;
        }
    }

    bool IsCrowded(Kind kind) => _runs.Keys.Count(other => other.IsOfEvent(kind)) > KindsOfEvent;

    void EndStates(string category)
    {
        foreach (var (kind, run) in _runs)
        {
            if (kind.Category != category || !run.IsOpen) continue;
            if (run.Lines < LinesInPeriod) Tell(run);
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

                // What did not come again in a whole period is new when it comes.
                if (run.HeldBack == 0) _runs.Remove(kind);
                Tell(run);
                (run.Lines, run.PeriodBegan) = (0, _timeProvider.GetTimestamp());
            }
        }
    }

    void MakeRoom()
    {
        if (_runs.Count < MaxKinds) return;
        var (kind, oldest) = _runs.MinBy(pair => pair.Value.PeriodBegan);
        Tell(oldest);
        _runs.Remove(kind);
    }

    void Tell(Run run)
    {
        if (run.HeldBack == 0) return;
        if (run.Logger.IsEnabled(run.Level))
        {
            var times = run.HeldBack == 1
                ? "once"
                : string.Create(CultureInfo.InvariantCulture, $"{run.HeldBack} times");
            var first = run.ToldAt == run.FirstAt ? "" : $", first at {LogText.Show(run.FirstAt.Time(_timeProvider))}";
            var sum = $"Again {times} since {LogText.Show(run.ToldAt.Time(_timeProvider))}{first}: {run.Text}";
            run.Logger.Log(run.Level, run.Event, sum, null, static (text, _) => text);
        }

        (run.HeldBack, run.ToldAt) = (0, Moment.Now(_timeProvider));
    }

    /// <summary>What makes lines the same.</summary>
    /// <param name="Category">Of the logger.</param>
    /// <param name="Event">Of the line.</param>
    /// <param name="Name">Of the sensor that it tells of; settings have a bounded number of them.</param>
    /// <param name="Texts">All its texts.</param>
    readonly record struct Kind(string Category, EventId Event, string Name, string Texts)
    {
        const string NameOfSensor = "Name";

        // Names one batch, as a number would.
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

    /// <summary>One kind of line.</summary>
    sealed class Run(ILogger logger, EventId eventId, Moment firstAt)
    {
        public ILogger Logger => logger;

        public EventId Event => eventId;

        /// <summary>When the state began.</summary>
        public Moment FirstAt { get; set; } = firstAt;

        public long PeriodBegan { get; set; } = firstAt.Timestamp;

        public Moment ToldAt { get; set; } = firstAt;

        /// <summary>The state that it tells of has not ended.</summary>
        public bool IsOpen { get; set; }

        public int Lines { get; set; }

        public long HeldBack { get; set; }

        public LogLevel Level { get; set; }

        public string Text { get; set; } = "";
    }

    sealed class Summing(RepeatedLines lines, string category, ILogger inner) : ILogger
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
                if (!lines.ShouldTell(inner, kind, logLevel, fault is null ? text : $"{text} {fault}")) return;
            }

            inner.Log(logLevel, eventId, state, exception, formatter);
        }
    }
}
