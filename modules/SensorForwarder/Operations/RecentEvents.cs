using Microsoft.Extensions.Logging;
using SensorForwarder.Text;

namespace SensorForwarder.Operations;

/// <summary>A log line, as the page shows it.</summary>
internal sealed record RecentEvent(DateTimeOffset Time, LogLevel Level, string Text);

/// <summary>Keeps the last log lines for the page. Thread-safe.</summary>
internal sealed class RecentEvents(TimeProvider timeProvider) : ILoggerProvider
{
    public const int MaxEvents = 100;

    /// <summary>Longest text of an event. A message ends with what to do, which should not be cut off.</summary>
    public const int MaxTextLength = 500;

    readonly Lock _gate = new();
    readonly Queue<RecentEvent> _events = new(MaxEvents);
    long _revision;

    /// <summary>Number of events so far.</summary>
    public long Revision
    {
        get { lock (_gate) return _revision; }
    }

    /// <summary>The last events, newest first.</summary>
    public IReadOnlyList<RecentEvent> Newest()
    {
        lock (_gate) return [.. _events.Reverse()];
    }

    public ILogger CreateLogger(string categoryName) => new Recorder(this);

    public void Dispose()
    {
        // Nothing to release.
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
