using System.Globalization;
using System.Text;
using Microsoft.Data.Sqlite;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.KernelTests;

/// <summary>The module in the machine, tuned by a settings file. It forwards to nobody, so that all it read stays in its
/// database.</summary>
sealed class ModuleRun(Machine machine) : IAsyncDisposable
{
    static int _count;

    readonly string _directory = string.Create(CultureInfo.InvariantCulture, $"/tmp/run{Interlocked.Increment(ref _count)}");
    string? _process;

    public string Log => $"{_directory}/log";

    public string Database => $"{_directory}/data/telemetry.db";

    /// <summary>Starts it with these sensors.</summary>
    /// <param name="machine">Where.</param>
    /// <param name="sensors">The setting <c>sensors</c>.</param>
    /// <param name="commitIntervalMs">How long readings wait for company.</param>
    public static async Task<ModuleRun> StartAsync(Machine machine, JsonObject sensors, int commitIntervalMs = 100)
    {
        var run = new ModuleRun(machine);
        await machine.RunAsync($"mkdir -p {run._directory}");
        await machine.WriteAsync($"{run._directory}/settings.json", new JsonObject { ["commitIntervalMs"] = commitIntervalMs, ["sensors"] = sensors }.ToJsonString());
        await run.StartAsync();
        return run;
    }

    /// <summary>Starts it again, on the same database.</summary>
    public async Task StartAsync()
    {
        _process = await machine.RunAsync(
            $"Settings__File={_directory}/settings.json Buffer__Directory={_directory}/data Http__Endpoint=http://127.0.0.1:9/ "
            + $"Device__Id=qemu RuntimeLogLevel=info /app/SensorForwarder >>{Log} 2>&1 & echo $!");
        await UntilAsync("the page answers", _ => true);
    }

    /// <summary>Waits until the module's own status has what is wanted, and returns it.</summary>
    public async Task<JsonObject> UntilAsync(string what, Func<JsonObject, bool> condition)
    {
        var started = TimeProvider.System.GetTimestamp();
        JsonObject? status = null;
        while (TimeProvider.System.GetElapsedTime(started) < Machine.Patience)
        {
            var (code, output) = await machine.TryRunAsync("wget -q -O - http://127.0.0.1:9600/status 2>/dev/null");
            if (code == 0 && JsonNode.Parse(output) is JsonObject answer && condition(status = answer)) return answer;
            await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, TestContext.Current.CancellationToken);
        }

        Assert.Fail($"{what}: not within {Machine.Patience.TotalMinutes} minutes. Status: {status?.ToJsonString()}. Log: {await machine.RunAsync($"tail -n 30 {Log}")}");
        throw new System.Diagnostics.UnreachableException();
    }

    /// <summary>Waits until a sensor is in a state, for a reason; "" stands for none.</summary>
    public Task<JsonObject> UntilSensorAsync(string sensor, string state, string reason = "") => UntilAsync(
        $"{sensor} is {state} {reason}",
        status => status["sensors"]?[sensor] is JsonObject found && (string?)found["state"] == state && ((string?)found["reason"] ?? "") == reason);

    /// <summary>Waits for so many more good or uncertain readings of a sensor.</summary>
    public async Task UntilMoreAsync(string sensor, int readings)
    {
        var status = await UntilAsync($"{sensor} is there", status => status["sensors"]?[sensor] is not null);
        var before = (long)status["sensors"]![sensor]!["readings"]!;
        await UntilAsync($"{readings} more readings of {sensor}", now => (long)now["sensors"]![sensor]!["readings"]! >= before + readings);
    }

    /// <summary>Stops it in order, and returns what it has stored.</summary>
    public async Task<List<JsonObject>> StopAsync()
    {
        await EndAsync("TERM");
        LogLine.Check(Encoding.UTF8.GetString(await machine.ReadAsync(Log)).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllBytesAsync(file, await machine.ReadAsync(Database), TestContext.Current.CancellationToken);
            await using var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = file, Pooling = false }.ToString());
            await connection.OpenAsync(TestContext.Current.CancellationToken);
            var command = connection.CreateCommand();
            command.CommandText = "SELECT CAST(payload AS TEXT) FROM queue ORDER BY id";
            await using var rows = await command.ExecuteReaderAsync(TestContext.Current.CancellationToken);
            var readings = new List<JsonObject>();
            while (await rows.ReadAsync(TestContext.Current.CancellationToken)) readings.Add(JsonNode.Parse(rows.GetString(0))!.AsObject());
            return readings;
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>Ends it as a power cut would.</summary>
    public Task KillAsync() => EndAsync("KILL");

    /// <summary>Sends it a signal.</summary>
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

/// <summary>What tests ask of stored readings.</summary>
static class Readings
{
    public static List<JsonObject> Of(this IEnumerable<JsonObject> readings, string sensor) =>
        [.. readings.Where(reading => (string?)reading["sensor"] == sensor)];

    public static List<JsonObject> Good(this IEnumerable<JsonObject> readings) =>
        [.. readings.Where(reading => (string?)reading["quality"] == "good")];

    public static double Value(this JsonObject reading, string name) => (double)reading["values"]![name]!;

    public static string Reason(this JsonObject reading) => (string?)reading["reason"] ?? "";

    /// <summary>The reasons in their order, each change once; good ones are "".</summary>
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
