using System.Globalization;
using System.Text;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.KernelTests;

/// <summary>Runs the module in the machine with a settings file. It has no reachable receiver, so all readings stay in
/// its
/// database.</summary>
sealed class ModuleRun(Machine machine) : IAsyncDisposable
{
    static int _count;

    readonly string _directory = string.Create(CultureInfo.InvariantCulture, $"/tmp/run{Interlocked.Increment(ref _count)}");
    string? _process;

    public string Log => $"{_directory}/log";

    public string Database => $"{_directory}/data/telemetry.db";

    /// <summary>Starts the module with an empty database.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="sensors">The setting <c>sensors</c>.</param>
    /// <param name="commitIntervalMs">The setting <c>commitIntervalMs</c>.</param>
    public static async Task<ModuleRun> StartAsync(Machine machine, JsonObject sensors, int commitIntervalMs = 100)
    {
        var run = new ModuleRun(machine);
        await machine.RunAsync($"mkdir -p {run._directory}");
        await machine.WriteAsync($"{run._directory}/settings.json", new JsonObject { ["commitIntervalMs"] = commitIntervalMs, ["sensors"] = sensors }.ToJsonString());
        await run.StartAsync();
        return run;
    }

    /// <summary>Starts the module again with the same database.</summary>
    public async Task StartAsync()
    {
        _process = await machine.RunAsync(
            $"Settings__File={_directory}/settings.json Buffer__Directory={_directory}/data Http__Endpoint=http://127.0.0.1:9/ "
            + $"Device__Id=qemu RuntimeLogLevel=info /app/SensorForwarder >>{Log} 2>&1 & echo $!");
        await UntilAsync("a status response", _ => true);
    }

    /// <summary>Waits until the module's status meets a condition, and returns it.</summary>
    public async Task<JsonObject> UntilAsync(string what, Func<JsonObject, bool> condition)
    {
        var started = TimeProvider.System.GetTimestamp();
        JsonObject? status = null;
        while (TimeProvider.System.GetElapsedTime(started) < Machine.Limit)
        {
            var (code, output) = await machine.TryRunAsync("wget -q -O - http://127.0.0.1:9600/status 2>/dev/null");
            if (code == 0 && JsonNode.Parse(output) is JsonObject answer && condition(status = answer)) return answer;
            await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, TestContext.Current.CancellationToken);
        }

        Assert.Fail($"{what}: not within {Machine.Limit.TotalMinutes} minutes. Status: {status?.ToJsonString()}. Log: {await machine.RunAsync($"tail -n 30 {Log}")}");
        throw new System.Diagnostics.UnreachableException();
    }

    /// <summary>Waits until a sensor has this state and reason; "" means no reason.</summary>
    public Task<JsonObject> UntilSensorAsync(string sensor, string state, string reason = "") => UntilAsync(
        $"{sensor} is {state} {reason}",
        status => status["sensors"]?[sensor] is JsonObject found && (string?)found["state"] == state && ((string?)found["reason"] ?? "") == reason);

    /// <summary>Waits for the given number of further good or uncertain readings of a sensor.</summary>
    public async Task UntilMoreAsync(string sensor, int readings)
    {
        var status = await UntilAsync($"{sensor} in the status", status => status["sensors"]?[sensor] is not null);
        var before = (long)status["sensors"]![sensor]!["readings"]!;
        await UntilAsync($"{readings} more readings of {sensor}", now => (long)now["sensors"]![sensor]!["readings"]! >= before + readings);
    }

    /// <summary>Stops the module gracefully, checks its log, and returns the stored readings.</summary>
    public async Task<List<JsonObject>> StopAsync()
    {
        await EndAsync("TERM");
        LogLine.Check(Encoding.UTF8.GetString(await machine.ReadAsync(Log)).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        var directory = Directory.CreateTempSubdirectory("stored-");
        try
        {
            var file = Path.Combine(directory.FullName, "telemetry.db");
            await File.WriteAllBytesAsync(file, await machine.ReadAsync(Database), TestContext.Current.CancellationToken);
            return [.. StoredLines.Read(file).Select(reading => JsonNode.Parse(reading.Json)!.AsObject())];
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    /// <summary>Kills the module, which resembles a power cut.</summary>
    public Task KillAsync() => EndAsync("KILL");

    /// <summary>Sends a signal to the module.</summary>
    public Task SignalAsync(string signal) => machine.RunAsync($"kill -{signal} {_process}");

    public async ValueTask DisposeAsync()
    {
        if (_process is not null) await EndAsync("KILL");
    }

    async Task EndAsync(string signal)
    {
        var process = _process;
        _process = null;
        await machine.RunAsync($"kill -{signal} {process}; while [ -d /proc/{process} ] && ! grep -q 'State:.Z' /proc/{process}/status; do usleep 50000; done; wait {process} 2>/dev/null; true");
    }
}

/// <summary>Queries on stored readings.</summary>
static class Readings
{
    public static List<JsonObject> Of(this IEnumerable<JsonObject> readings, string sensor) =>
        [.. readings.Where(reading => (string?)reading["sensor"] == sensor)];

    public static List<JsonObject> Good(this IEnumerable<JsonObject> readings) =>
        [.. readings.Where(reading => (string?)reading["quality"] == "good")];

    public static double Value(this JsonObject reading, string name) => (double)reading["values"]![name]!;

    public static string Reason(this JsonObject reading) => (string?)reading["reason"] ?? "";

    /// <summary>The sequence of reasons without repetitions; "" for good readings.</summary>
    public static List<string> Story(this IEnumerable<JsonObject> readings)
    {
        var story = new List<string>();
        foreach (var reading in readings)
        {
            if (story.Count == 0 || story[^1] != reading.Reason()) story.Add(reading.Reason());
        }

        return story;
    }
}
