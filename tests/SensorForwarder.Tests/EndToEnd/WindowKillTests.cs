using System.Collections.Concurrent;
using System.Text.Json;
using SensorForwarder.Tests.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>
/// Sensors with <c>aggregateSeconds</c> in a module that is killed repeatedly in the middle of windows. Each measurement is a request to a
/// simulated Modbus device that answers with the number of the request. So a window of consecutive numbers tells which measurements are in it.
/// </summary>
public sealed class WindowKillTests(ITestOutputHelper output) : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("window-kill-").FullName;
    readonly ConcurrentDictionary<long, JsonElement> _received = []; // by id
    readonly Unit[] _units = [new("a"), new("b")];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task Every_measurement_until_the_last_save_before_a_kill_is_in_one_window_and_the_interrupted_one_is_partial()
    {
        var seed = Tier.Seed ?? Environment.TickCount;
        output.WriteLine($"TEST_SEED={seed}");
        var random = new Random(seed);
        using var modbus = new TcpDevice((unit, _) => _units[unit - 1].Answer());
        await File.WriteAllTextAsync(
            Path.Combine(_directory, "settings.json"),
            $$$$"""
            {"sink":"http","batchSize":200,"uploadIntervalSeconds":0.2,"commitIntervalMs":50,"sensors":{
              "a":{"kind":"modbus","connection":"{{{{modbus.Connection}}}}","unit":1,"timeoutSeconds":3,"intervalSeconds":0.02,"aggregateSeconds":1,
                "values":{"number":{"register":"holding","address":0,"type":"uint32"}}},
              "b":{"kind":"modbus","connection":"{{{{modbus.Connection}}}}","unit":2,"timeoutSeconds":3,"intervalSeconds":0.05,"aggregateSeconds":2,
                "values":{"number":{"register":"holding","address":0,"type":"uint32"}}}
            }}
            """, Token);
        await using var receiver = await Receiver.StartAsync(ReceiveAsync);
        var kills = Tier.Size("TEST_WINDOW_KILLS", quick: 2, full: 4, deep: 100);
        for (var kill = 0; kill < kills; kill++)
        {
            // The first run is killed after one of its windows has arrived, so that there is something to check; later runs at any moment.
            foreach (var unit in _units) unit.Begin(modbus.Connections);
            await using var module = StartModule(receiver);
            var until = _units[0].Served + random.Next(1, 150);
            await Until.True(() => (_units[0].Served >= until && (kill > 0 || !_received.IsEmpty)) || !module.IsRunning);
            Assert.True(module.IsRunning, string.Join('\n', module.Lines));
        }

        // The last run stores the window that was interrupted last. Ids have no gaps, so all readings before the first missing id
        // have arrived.
        foreach (var unit in _units) unit.Begin(modbus.Connections);
        await using var last = StartModule(receiver);
        var through = 0L;
        await Until.True(() =>
        {
            while (_received.ContainsKey(through + 1)) through++;
            var windows = WindowsThrough(through);
            return _units.All(unit => windows.Any(window => window.Sensor == unit.Sensor && window.First >= unit.Lives[^1].First));
        });
        var arrived = WindowsThrough(through).ToLookup(window => window.Sensor);
        foreach (var unit in _units) unit.Check([.. arrived[unit.Sensor].OrderBy(window => window.First)], output);
    }

    List<Window> WindowsThrough(long id) => [.. _received.Where(reading => reading.Key <= id)
        .Where(reading => reading.Value.GetProperty("quality").GetString() != "bad").Select(reading => Window.Of(reading.Value))];

    ChildProcess StartModule(Receiver receiver) => ChildProcess.StartModule(
    [
        ("Buffer__Directory", Path.Combine(_directory, "data")), ("Web__Port", "0"), ("Settings__File", Path.Combine(_directory, "settings.json")),
        ("Http__Endpoint", receiver.Url.ToString()),
    ]);

    async Task ReceiveAsync(Microsoft.AspNetCore.Http.HttpContext context)
    {
        using var json = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
        foreach (var reading in json.RootElement.GetProperty("batch").EnumerateArray())
            _received[reading.GetProperty("id").GetInt64()] = reading.GetProperty("data").Clone();
    }

    /// <summary>A reading with the measurements that it aggregates.</summary>
    sealed record Window(string Sensor, long First, long Last, long Count, bool IsPartial)
    {
        public static Window Of(JsonElement reading)
        {
            var aggregate = reading.GetProperty("aggregate");
            var number = aggregate.GetProperty("values").GetProperty("number");
            Assert.Equal(number.GetProperty("max").GetInt64(), number.GetProperty("last").GetInt64());
            Assert.Equal(number.GetProperty("count").GetInt64(), aggregate.GetProperty("readings").GetInt64());
            return new(
                reading.GetProperty("sensor").GetString()!, number.GetProperty("min").GetInt64(), number.GetProperty("max").GetInt64(),
                number.GetProperty("count").GetInt64(), aggregate.TryGetProperty("partial", out var partial) && partial.GetBoolean());
        }
    }

    /// <summary>A unit of the device. Its numbers are consecutive, also across runs of the module.</summary>
    sealed class Unit(string sensor)
    {
        long _served;

        public string Sensor => sensor;

        public long Served => Volatile.Read(ref _served);

        /// <summary>The first number of each run of the module, and the number of connections before it.</summary>
        public List<(long First, int Connections)> Lives { get; } = [];

        public void Begin(int connections) => Lives.Add((Served + 1, connections));

        public byte[] Answer()
        {
            var number = Interlocked.Increment(ref _served);
            return [3, 4, (byte)(number >> 24), (byte)(number >> 16), (byte)(number >> 8), (byte)number];
        }

        public void Check(IReadOnlyList<Window> windows, ITestOutputHelper output)
        {
            var missing = 0L;
            foreach (var (life, after) in Lives.Zip(Lives.Skip(1)))
            {
                // Together the windows contain each number once, from the first of the run to the last that was saved before the kill. The module
                // closes a connection whose answer is late, and sends the request again.
                var (next, unheard) = (life.First, 0L);
                var own = windows.Where(window => window.First >= life.First && window.First < after.First).ToList();
                foreach (var window in own)
                {
                    Assert.InRange(window.First, next, long.MaxValue);
                    Assert.InRange(window.Count, 1, window.Last - window.First + 1);
                    unheard += window.Last - next + 1 - window.Count;
                    next = window.Last + 1;
                }

                Assert.InRange(unheard, 0, Math.Max(0, after.Connections - life.Connections - 1));

                // Numbers are missing only if the last window is partial, or the run ended before its first commit.
                missing += after.First - next;
                if (own.Count > 0) Assert.True(own[^1].IsPartial);
            }

            Assert.NotEmpty(windows);
            output.WriteLine($"{sensor}: {Lives.Count - 1} kills, {Served} measurements, {windows.Count} windows, {windows.Count(window => window.IsPartial)} of them partial; "
                + $"{missing} measurements after the last save");
        }
    }
}
