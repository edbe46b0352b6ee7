using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Operations;

namespace SensorForwarder.Tests.Support;

/// <summary>Collects log messages in the format that the module writes. Thread-safe.</summary>
internal sealed class LogLines
{
    readonly LogLineFormatter _formatter = new(TimeProvider.System);
    readonly ConcurrentQueue<string> _lines = [];

    public IEnumerable<string> All => _lines;

    public bool Has(string part) => _lines.Any(line => line.Contains(part, StringComparison.Ordinal));

    /// <summary>The numbers of seconds that follow these words in the log, in order.</summary>
    public IReadOnlyList<double> Seconds(string words) => [.. All.Where(line => line.Contains(words, StringComparison.Ordinal))
        .Select(line => double.Parse(line.Split(words)[1].Split(' ')[0], CultureInfo.InvariantCulture))];

    public Task Waits(string part) => Until.True(() => Has(part));

    public ILogger<T> For<T>() => Factory().CreateLogger<T>();

    public ILoggerFactory Factory() => new Writers(this);

    sealed class Writers(LogLines log) : ILoggerFactory
    {
        public ILogger CreateLogger(string categoryName) => new Writer(log, categoryName);

        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

        public void Dispose()
        {
            // Nothing to dispose.
        }
    }

    sealed class Writer(LogLines log, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            var text = new StringWriter();
            log._formatter.Write(new LogEntry<TState>(logLevel, category, eventId, state, exception, formatter), null, text);
            log._lines.Enqueue(text.ToString().TrimEnd('\n'));
        }
    }
}
