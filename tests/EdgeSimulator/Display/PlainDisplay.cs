using System.Globalization;

namespace EdgeSimulator.Display;

/// <summary>Writes plain lines to a file or a pipe: each event at once, the figures every five seconds.</summary>
internal sealed class PlainDisplay : IAsyncDisposable
{
    static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    readonly TextWriter _output;
    readonly RunLog _log;
    readonly Lock _lock = new();
    readonly ITimer _timer;

    public PlainDisplay(TextWriter output, RunLog log, Func<Figures> figures, TimeProvider time)
    {
        _output = output;
        _log = log;
        log.Written += WriteEvent;
        log.ModuleWrote += WriteModuleLine;
        Figures? before = null;
        _timer = time.CreateTimer(
            _ =>
            {
                var now = figures();
                WriteEvent(log.Elapsed, now.Line(before, Interval));
                before = now;
            },
            null, Interval, Interval);
    }

    public async ValueTask DisposeAsync()
    {
        await _timer.DisposeAsync().ConfigureAwait(false);
        _log.Written -= WriteEvent;
        _log.ModuleWrote -= WriteModuleLine;
    }

    void WriteEvent(TimeSpan at, string text) => Write(string.Create(CultureInfo.InvariantCulture, $"{at.TotalSeconds,7:0.0} s  {text}"));

    void WriteModuleLine(string line) => Write($"   module | {line}");

    void Write(string line)
    {
        lock (_lock)
        {
            _output.WriteLine(line);
        }
    }
}
