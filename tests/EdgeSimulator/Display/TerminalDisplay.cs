using System.Globalization;
using Spectre.Console;

namespace EdgeSimulator.Display;

/// <summary>Live display for a terminal: connection, figures, rates, latest events and latest lines of the
/// module.</summary>
internal sealed class TerminalDisplay : IAsyncDisposable
{
    const int EventsMax = 10;
    const int ModuleLinesMax = 8;
    const int RateSamples = 20;

    static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    readonly IAnsiConsole _console;
    readonly RunLog _log;
    readonly Func<Figures> _figures;
    readonly TimeProvider _time;
    readonly Lock _lock = new();
    readonly Queue<string> _events = new();
    readonly Queue<string> _moduleLines = new();
    readonly Queue<Figures> _samples = new();
    readonly CancellationTokenSource _stop = new();
    readonly Task _loop;

    public TerminalDisplay(IAnsiConsole console, RunLog log, Func<Figures> figures, TimeProvider time)
    {
        _console = console;
        _log = log;
        _figures = figures;
        _time = time;
        log.Written += OnEvent;
        log.ModuleWrote += OnModuleLine;
        _loop = RunAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (!_stop.IsCancellationRequested)
        {
            await _stop.CancelAsync().ConfigureAwait(false);
            await _loop.ConfigureAwait(false);
            _log.Written -= OnEvent;
            _log.ModuleWrote -= OnModuleLine;
        }
    }

    Task RunAsync() => _console.Live(Screen()).StartAsync(async context =>
    {
        using var timer = new PeriodicTimer(Interval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
            {
                context.UpdateTarget(Screen());
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            context.UpdateTarget(Screen());
        }
    });

    Rows Screen()
    {
        lock (_lock)
        {
            var now = _figures();
            _samples.Enqueue(now);
            if (_samples.Count > RateSamples)
            {
                _samples.Dequeue();
            }

            return new Rows(
                FigureTable(now),
                Box("events", _events),
                Box("module", _moduleLines.Select(line => $"[dim]{line}[/]")));
        }
    }

    Table FigureTable(Figures now)
    {
        var seconds = Math.Max(1, _samples.Count - 1) * Interval.TotalSeconds;
        var first = _samples.Peek();
        var table = new Table().Border(TableBorder.Rounded).HideHeaders().AddColumn("name").AddColumn("value");
        table.AddRow("connection", Connection(now));
        table.AddRow("elapsed", Text($"{_log.Elapsed.TotalSeconds:0} s"));
        var readings = (now.Unique - first.Unique) / seconds;
        var messages = (now.Messages - first.Messages) / seconds;
        table.AddRow(
            "readings", Text($"{now.Unique} arrived, {readings:0.0}/s, {now.Received - now.Unique} duplicates"));
        table.AddRow("messages", Text($"{now.Messages}, {messages:0.0}/s, {now.Bytes / 1024} KiB"));
        table.AddRow("last batch", now.Last is { } last
            ? Text($"ids {last.FirstId} to {last.LastId}, {last.Bytes} bytes{last.DelayText}")
            : "none");
        table.AddRow("twin", Text($"desired version {now.TwinVersion}"));
        table.AddRow("restarts", Text($"{now.Restarts}"));
        return table;
    }

    static string Connection(Figures now) => now.Blackout
        ? $"[black on red] {now.Connection} [/]"
        : now.Connected ? $"[green]{now.Connection}[/]" : $"[yellow]{now.Connection}[/]";

    static Panel Box(string title, IEnumerable<string> lines) =>
        new Panel(new Markup(string.Join('\n', lines))).Header(title).Expand();

    static string Text(FormattableString text) => Markup.Escape(text.ToString(CultureInfo.InvariantCulture));

    void OnEvent(TimeSpan at, string text) => Keep(_events, EventsMax, Text($"{at.TotalSeconds,7:0.0} s  {text}"));

    void OnModuleLine(string line) => Keep(_moduleLines, ModuleLinesMax, Markup.Escape(line));

    void Keep(Queue<string> lines, int max, string line)
    {
        lock (_lock)
        {
            lines.Enqueue(line);
            if (lines.Count > max)
            {
                lines.Dequeue();
            }
        }
    }
}
