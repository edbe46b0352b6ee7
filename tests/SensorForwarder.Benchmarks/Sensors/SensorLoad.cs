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
/// The whole module as a process with simulated sensors on their schedules, storing and forwarding to an HTTP receiver here:
/// what that costs, and how well the schedule is kept. The environment variable SENSORFORWARDER_MODULE names
/// another build of the module (the native one), SENSORFORWARDER_SOAK_SECONDS a longer run.
/// </summary>
internal static class SensorLoad
{
    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(8);

    static readonly TimeSpan Measured = TimeSpan.FromSeconds(
        double.TryParse(Environment.GetEnvironmentVariable("SENSORFORWARDER_SOAK_SECONDS"), CultureInfo.InvariantCulture, out var seconds) ? seconds : 30);

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(["sensors.10at1Hz.cpuPercent"], async token => [.. (await RunAsync("sensors.10at1Hz", 10, 1, token))
            .Where(row => row.Name.EndsWith("cpuPercent", StringComparison.Ordinal)).Select(row => row with { Baseline = "goal < 1 of a core" + row.Baseline })]),
        new(
            ["sensors.200at10Hz.missed", "sensors.200at10Hz.scheduleErrorMilliseconds", "sensors.200at10Hz.cpuPercent", "sensors.200at10Hz.megabytes"],
            token => RunAsync("sensors.200at10Hz", 200, 0.1, token)),
    ];

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(string name, int sensors, double intervalSeconds, CancellationToken cancellationToken)
    {
        var directory = Directory.CreateTempSubdirectory("sensorforwarder-benchmark-");
        var (receiverPort, webPort) = (FreePort(), FreePort());
        using var receiver = new Receiver(receiverPort, intervalSeconds);
        var settings = Path.Combine(directory.FullName, "settings.json");
        await File.WriteAllTextAsync(settings, Settings(sensors, intervalSeconds).ToJsonString(), cancellationToken);
        var start = new ProcessStartInfo(ModulePath) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["Settings__File"] = settings;
        start.Environment["Buffer__Directory"] = Path.Combine(directory.FullName, "data");
        start.Environment["Http__Endpoint"] = $"http://127.0.0.1:{receiverPort}/";
        start.Environment["Web__Port"] = webPort.ToString(CultureInfo.InvariantCulture);
        start.Environment["RuntimeLogLevel"] = "warning";
        using var module = Process.Start(start) ?? throw new InvalidOperationException($"{ModulePath} could not be started");
        module.BeginErrorReadLine();
        module.BeginOutputReadLine();
        try
        {
            using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{webPort}") };
            await Task.Delay(WarmUp, TimeProvider.System, cancellationToken);
            receiver.Begin();
            module.Refresh();
            var (cpu, clock, missed) = (module.TotalProcessorTime, Stopwatch.StartNew(), await MissedAsync(http, cancellationToken));
            await Task.Delay(Measured, TimeProvider.System, cancellationToken);
            missed = await MissedAsync(http, cancellationToken) - missed;
            module.Refresh();
            var percent = 100 * (module.TotalProcessorTime - cpu) / clock.Elapsed;
            return
            [
                new($"{name}.missed", missed, "turns", $"goal 0 of {sensors / intervalSeconds * clock.Elapsed.TotalSeconds:#,0}"),
                new($"{name}.scheduleErrorMilliseconds", receiver.ScheduleError, "ms", $"99 % of {receiver.Readings:#,0} readings that arrived are nearer"),
                new($"{name}.cpuPercent", percent, "percent", ModuleBuild),
                new($"{name}.megabytes", module.WorkingSet64 / 1048576.0, "MB", ModuleBuild),
            ];
        }
        finally
        {
            module.Kill();
            await module.WaitForExitAsync(CancellationToken.None);
            directory.Delete(recursive: true);
        }
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

    /// <summary>Takes batches and compares each reading's time with the schedule of its sensor.</summary>
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

        public int Readings => _errors.Count;

        /// <summary>The 99th percentile of how far readings are from the nearest multiple of the interval, after the
        /// sensor's first.</summary>
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
