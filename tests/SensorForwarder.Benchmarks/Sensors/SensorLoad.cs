using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Sensors;

/// <summary>
/// Memory, CPU time, wake-ups and schedule accuracy of the whole module as a process, with simulated sensors and an
/// HTTP receiver in this process. Environment variables: SENSORFORWARDER_MODULE is the module to measure, such as the
/// native build; SENSORFORWARDER_BASELINE is an older build to measure in the same run; SENSORFORWARDER_SOAK_SECONDS is
/// the duration.
/// </summary>
internal static class SensorLoad
{
    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(8);

    static readonly TimeSpan Measured = TimeSpan.FromSeconds(
        double.TryParse(Environment.GetEnvironmentVariable("SENSORFORWARDER_SOAK_SECONDS"), CultureInfo.InvariantCulture, out var seconds) ? seconds : 30);

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        Of(sensors: 0, intervalSeconds: 1,
            ("memory.idleMegabytes", "MB", "goal 22", run => run.Megabytes),
            ("wakeups.idle", "1/s", "goal 5", run => run.WakeUpsPerSecond)),
        Of(sensors: 10, intervalSeconds: 1,
            ("sensors.10at1Hz.cpuPercent", "percent", "goal < 1 of a core", run => run.CpuPercent),
            ("wakeups.tenAt1Hz", "1/s", "goal 20", run => run.WakeUpsPerSecond)),
        Of(sensors: 200, intervalSeconds: 0.1,
            ("sensors.200at10Hz.missed", "turns", "goal 0", run => run.Missed),
            ("sensors.200at10Hz.scheduleErrorMilliseconds", "ms", "99th percentile", run => run.ScheduleError),
            ("sensors.200at10Hz.cpuPercent", "percent", "", run => run.CpuPercent),
            ("cpu.microsecondsPerReading", "us", "of CPU", run => run.CpuPercent * 10_000 / run.ReadingsPerSecond),
            ("memory.peakMegabytes", "MB", "goal 30", run => run.PeakMegabytes)),
    ];

    /// <summary>A benchmark of one load, with the rows calculated from its cost.</summary>
    static Benchmark Of(
        int sensors, double intervalSeconds, params (string Name, string Unit, string Goal, Func<Cost, double> Of)[] rows) =>
        new([.. rows.Select(row => row.Name)], async cancellationToken =>
        {
            var baseline = BaselinePath is null ? null : await RunAsync(BaselinePath, sensors, intervalSeconds, cancellationToken);
            var run = await RunAsync(ModulePath, sensors, intervalSeconds, cancellationToken);
            return [.. rows.Select(row => new BenchmarkRow(row.Name, row.Of(run), row.Unit, string.Join("; ",
                ((string[])[row.Goal, ModuleBuild, baseline is null ? "" : $"baseline build: {row.Of(baseline):0.##}"])
                    .Where(part => part.Length > 0))))];
        });

    static async Task<Cost> RunAsync(string modulePath, int sensors, double intervalSeconds, CancellationToken cancellationToken)
    {
        var directory = Directory.CreateTempSubdirectory("sensorforwarder-benchmark-");
        var (receiverPort, webPort) = (FreePort(), FreePort());
        using var receiver = new Receiver(receiverPort, intervalSeconds);
        var settings = Path.Combine(directory.FullName, "settings.json");
        await File.WriteAllTextAsync(settings, Settings(sensors, intervalSeconds).ToJsonString(), cancellationToken);
        var start = new ProcessStartInfo(modulePath) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["Settings__File"] = settings;
        start.Environment["Buffer__Directory"] = Path.Combine(directory.FullName, "data");
        start.Environment["Http__Endpoint"] = $"http://127.0.0.1:{receiverPort}/";
        start.Environment["Web__Port"] = webPort.ToString(CultureInfo.InvariantCulture);
        start.Environment["RuntimeLogLevel"] = "warning";
        using var module = Process.Start(start) ?? throw new InvalidOperationException($"cannot start {modulePath}");
        module.BeginErrorReadLine();
        module.BeginOutputReadLine();
        try
        {
            using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{webPort}") };
            await Task.Delay(WarmUp, TimeProvider.System, cancellationToken);
            receiver.Begin();

            // The status is requested outside the measured period.
            var missed = await MissedAsync(http, cancellationToken);
            module.Refresh();
            var (clock, cpu, wakeUps) = (Stopwatch.StartNew(), module.TotalProcessorTime, WakeUps(module.Id));
            await Task.Delay(Measured, TimeProvider.System, cancellationToken);
            module.Refresh();
            var (seconds, used, after) = (clock.Elapsed.TotalSeconds, module.TotalProcessorTime - cpu, WakeUps(module.Id));
            return new(
                Megabytes: module.WorkingSet64 / 1048576.0,
                PeakMegabytes: module.PeakWorkingSet64 / 1048576.0,
                CpuPercent: 100 * used.TotalSeconds / seconds,
                WakeUpsPerSecond: after.Sum(thread => thread.Value - wakeUps.GetValueOrDefault(thread.Key)) / seconds,
                ReadingsPerSecond: sensors / intervalSeconds,
                Missed: await MissedAsync(http, cancellationToken) - missed,
                ScheduleError: receiver.ScheduleError);
        }
        finally
        {
            module.Kill();
            await module.WaitForExitAsync(CancellationToken.None);
            directory.Delete(recursive: true);
        }
    }

    /// <summary>Number of voluntary context switches by thread: how often it has waited and was woken.</summary>
    static Dictionary<string, long> WakeUps(int processId)
    {
        const string Field = "voluntary_ctxt_switches:";
        var counts = new Dictionary<string, long>();
        foreach (var thread in Directory.EnumerateDirectories($"/proc/{processId}/task"))
        {
            try
            {
                var line = File.ReadLines(Path.Combine(thread, "status")).Single(line => line.StartsWith(Field, StringComparison.Ordinal));
                counts[thread] = long.Parse(line.AsSpan(Field.Length), CultureInfo.InvariantCulture);
            }
            catch (IOException)
            {
                // The thread has ended.
            }
        }

        return counts;
    }

    static JsonObject Settings(int sensors, double intervalSeconds)
    {
        var map = new JsonObject();
        for (var i = 0; i < sensors; i++) map[$"s{i}"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = intervalSeconds };
        return new()
        {
            ["batchSize"] = 2000,
            ["uploadIntervalSeconds"] = 5,
            ["commitIntervalMs"] = 1000,
            ["sensors"] = map,
        };
    }

    static async Task<double> MissedAsync(HttpClient http, CancellationToken cancellationToken)
    {
        var status = await http.GetFromJsonAsync<JsonObject>("/status", cancellationToken);
        return status!["sensors"]!.AsObject().Sum(sensor => sensor.Value!["missed"]!.GetValue<double>());
    }

    /// <summary>The module's cost in one run.</summary>
    /// <param name="Megabytes">Resident memory at the end.</param>
    /// <param name="PeakMegabytes">Peak resident memory, including the start.</param>
    /// <param name="CpuPercent">CPU time in percent of one core.</param>
    /// <param name="WakeUpsPerSecond">Wake-ups of all threads.</param>
    /// <param name="ReadingsPerSecond">Readings per second according to the schedules.</param>
    /// <param name="Missed">Scheduled readings that were missed.</param>
    /// <param name="ScheduleError">99th percentile of the deviation from the schedule in milliseconds.</param>
    sealed record Cost(
        double Megabytes, double PeakMegabytes, double CpuPercent, double WakeUpsPerSecond, double ReadingsPerSecond,
        double Missed, double ScheduleError);

    /// <summary>An HTTP receiver that compares each reading's time with its sensor's schedule.</summary>
    sealed class Receiver : IDisposable
    {
        readonly HttpListener _listener = new();
        readonly ConcurrentDictionary<string, double> _firsts = new();
        readonly ConcurrentBag<double> _errors = [];
        readonly double _intervalMilliseconds;
        volatile bool _isMeasuring;

        public Receiver(int port, double intervalSeconds)
        {
            _intervalMilliseconds = intervalSeconds * 1000;
            _listener.Prefixes.Add($"http://127.0.0.1:{port}/");
            _listener.Start();
            _ = ListenAsync();
        }

        /// <summary>99th percentile, in milliseconds, of the distance from the nearest multiple of the interval since
        /// the sensor's first reading.</summary>
        public double ScheduleError => _errors.IsEmpty ? 0 : _errors.Order().ElementAt((int)(_errors.Count * 0.99));

        public void Begin() => _isMeasuring = true;

        public void Dispose() => _listener.Close();

        async Task ListenAsync()
        {
            try
            {
                while (true)
                {
                    var context = await _listener.GetContextAsync();
                    using var body = await JsonDocument.ParseAsync(context.Request.InputStream);
                    context.Response.Close();
                    if (_isMeasuring) foreach (var item in body.RootElement.GetProperty("batch").EnumerateArray()) Take(item.GetProperty("data"));
                }
            }
            catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
            {
                // Closed.
            }
        }

        void Take(JsonElement data)
        {
            var time = data.GetProperty("time").GetDateTimeOffset().ToUnixTimeMilliseconds();
            var turns = (time - _firsts.GetOrAdd(data.GetProperty("sensor").GetString()!, time)) / _intervalMilliseconds;
            _errors.Add(Math.Abs(turns - Math.Round(turns)) * _intervalMilliseconds);
        }
    }
}
