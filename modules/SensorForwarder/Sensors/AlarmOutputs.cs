using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Sensors;

/// <summary>
/// Sets the GPIO lines that show alarms, in its own task, so that a line that fails or blocks delays nothing else. The
/// task starts with the first such line. A line is released when no alarm uses it any more, and when the module stops.
/// </summary>
internal sealed class AlarmOutputs(SensorWorld world, TimeProvider timeProvider, ILogger logger) : IDisposable
{
    static readonly TimeSpan RetryAfter = TimeSpan.FromSeconds(10);

    readonly Channel<bool> _wake =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    // The alarms by the line that shows them. Replaced as a whole by Apply, read by the loop.
    volatile ILookup<AlarmOutput, (string Entry, string Alarm)> _watched =
        Array.Empty<(AlarmOutput, (string, string))>().ToLookup(pair => pair.Item1, pair => pair.Item2);

    // Used by the loop only.
    readonly Dictionary<AlarmOutput, (OutputLine Line, bool IsActive)> _lines = [];
    readonly Dictionary<AlarmOutput, string> _problems = [];
    Task? _loop; // started by the first Apply that has outputs

    /// <summary>Takes the lines of these sensors' alarms. Not called concurrently.</summary>
    public void Apply(IEnumerable<SensorSettings> sensors)
    {
        _watched = (from sensor in sensors
                    from rule in sensor.Get(CommonOptions.Alarms)
                    where rule.Output is not null
                    select (rule.Output, Alarm: (sensor.Name, rule.Name)))
            .ToLookup(pair => pair.Output, pair => pair.Alarm);
        if (_loop is null && _watched.Count == 0) return;
        if (_loop is null) world.Alarms.Changed += Wake;
        _loop ??= Task.Run(RunAsync);
        Wake();
    }

    /// <summary>Releases the lines; does not wait for one that blocks.</summary>
    public void Dispose()
    {
        world.Alarms.Changed -= Wake;
        _wake.Writer.TryComplete();
    }

    void Wake() => _wake.Writer.TryWrite(true);

    async Task RunAsync()
    {
        using var retry = timeProvider.CreateTimer(
            _ => Wake(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        while (await _wake.Reader.WaitToReadAsync(CancellationToken.None))
        {
            while (_wake.Reader.TryRead(out _))
            {
                // All pending signals cause one pass.
            }

            var watched = _watched;
            foreach (var (output, _) in _lines.Where(line => !watched.Contains(line.Key)).ToList()) Release(output);
            foreach (var output in _problems.Keys.Where(output => !watched.Contains(output)).ToList())
                _problems.Remove(output);
            foreach (var alarms in watched)
                Show(alarms.Key, alarms.Any(alarm => world.Alarms.IsRaised(alarm.Entry, alarm.Alarm)));
            retry.Change(_problems.Count > 0 ? RetryAfter : Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }

        foreach (var output in _lines.Keys.ToList()) Release(output);
    }

    void Show(AlarmOutput output, bool isActive)
    {
        try
        {
            if (!_lines.TryGetValue(output, out var line))
                _lines[output] = (world.OpenOutput(output, isActive), isActive);
            else if (line.IsActive != isActive)
            {
                line.Line.Set(isActive);
                _lines[output] = (line.Line, isActive);
            }

            if (_problems.Remove(output)) SensorsLog.OutputRecovered(logger, output.ToString());
        }
        catch (Exception exception)
        {
            var problem = $"{output}: {exception.Message}";
            if (_problems.GetValueOrDefault(output) != problem)
                SensorsLog.OutputFails(logger, problem, RetryAfter.TotalSeconds);
            _problems[output] = problem;
            Release(output);
        }
    }

    void Release(AlarmOutput output)
    {
        if (_lines.Remove(output, out var line)) line.Line.Taken.Dispose();
    }
}
