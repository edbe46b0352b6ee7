using Microsoft.Extensions.Logging;

namespace SensorForwarder.Operations;

/// <summary>A line of the log, as the page shows it.</summary>
internal sealed record RecentEvent(DateTimeOffset Time, LogLevel Level, string Text);

/// <summary>Keeps the last lines of the log, for the page. Thread-safe.</summary>
internal sealed class RecentEvents(TimeProvider timeProvider) : ILoggerProvider
{
    public const int MaxEvents = 100;

    /// <summary>Of the text of one. What to do is at the end.</summary>
    public const int MaxTextLength = 500;

    readonly Lock _gate = new();
    readonly Queue<RecentEvent> _events = new(MaxEvents);
    long _revision;

    /// <summary>Counts the events there ever were.</summary>
    public long Revision => Volatile.Read(ref _revision);

    /// <summary>The last ones, newest first.</summary>
    public IReadOnlyList<RecentEvent> Newest()
    {
        lock (_gate) return [.. _events.Reverse()];
    }

    public ILogger CreateLogger(string categoryName) => new Recorder(this);

    public void Dispose()
    {
        // It holds nothing but memory.
    }

    void Add(LogLevel level, string text)
    {
        var entry = new RecentEvent(timeProvider.GetUtcNow(), level, LogText.CleanSentences(text, MaxTextLength));
        lock (_gate)
        {
            if (_events.Count == MaxEvents) _events.Dequeue();
            _events.Enqueue(entry);
            _revision++;
        }
    }

    sealed class Recorder(RecentEvents events) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel)) events.Add(
                logLevel, exception is null ? formatter(state, null) : $"{formatter(state, null)} {exception.Message}");
        }
    }
}
