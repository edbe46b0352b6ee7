using System.Collections.Concurrent;
using System.Text.Json;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>Alarms are raised and cleared in a module that is killed repeatedly; each change is reported exactly once.</summary>
public sealed class AlarmKillTests(ITestOutputHelper output) : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("alarm-kill-").FullName;
    readonly ConcurrentDictionary<long, (string Alarm, string State)> _reports = []; // by id
    readonly ConcurrentDictionary<long, bool> _received = []; // ids of all readings

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task Each_change_of_an_alarm_is_reported_exactly_once_whenever_the_module_is_killed()
    {
        var seed = Tier.Seed ?? Environment.TickCount;
        output.WriteLine($"TEST_SEED={seed}");
        var random = new Random(seed);

        // The noise of the simulated room changes ten times a second.
        await File.WriteAllTextAsync(
            Path.Combine(_directory, "settings.json"),
            """
            {"sink":"http","batchSize":200,"uploadIntervalSeconds":0.2,"commitIntervalMs":200,"sensors":{
              "a":{"kind":"simulated","intervalSeconds":0.05,"alarms":[{"value":"temperature","changesBy":0.05},{"value":"humidity","changesBy":0.1}]},
              "b":{"kind":"simulated","intervalSeconds":0.1,"alarms":[{"value":"pressure","changesBy":0.05,"forSeconds":0.3}]}}}
            """, Token);
        await using var receiver = await Receiver.StartAsync(ReceiveAsync);
        var kills = Tier.Size("TEST_ALARM_KILLS", quick: 2, full: 5, deep: 100);
        for (var kill = 0; kill < kills; kill++)
        {
            // Killed while it works, after a random number of further reports have arrived.
            await using var module = StartModule(receiver);
            var until = _reports.Count + random.Next(1, 20);
            await Until.True(() => _reports.Count >= until || !module.IsRunning);
            Assert.True(module.IsRunning, string.Join('\n', module.Lines));
        }

        // Ids have no gaps, so all readings before the first missing id have arrived, whatever the order in which they were sent.
        await using var last = StartModule(receiver);
        var most = _received.Keys.Max();
        var through = 0L;
        await Until.True(() =>
        {
            while (_received.ContainsKey(through + 1)) through++;
            return through > most && _reports.Keys.Count(id => id > most && id <= through) >= 20;
        });
        var reports = _reports.Where(report => report.Key <= through).OrderBy(report => report.Key)
            .Select(report => report.Value).GroupBy(report => report.Alarm).ToList();
        output.WriteLine($"{kills} kills, {through} readings, including {reports.Sum(alarm => alarm.Count())} reports of {reports.Count} alarms");
        Assert.Equal(3, reports.Count);
        Assert.All(reports, alarm => Assert.Equal(
            alarm.Select((_, i) => i % 2 == 0 ? "raised" : "cleared"), alarm.Select(report => report.State)));
    }

    ChildProcess StartModule(Receiver receiver) => ChildProcess.StartModule(
    [
        ("Buffer__Directory", Path.Combine(_directory, "data")), ("Web__Port", "0"), ("Settings__File", Path.Combine(_directory, "settings.json")),
        ("Http__Endpoint", receiver.Url.ToString()),
    ]);

    async Task ReceiveAsync(Microsoft.AspNetCore.Http.HttpContext context)
    {
        using var json = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
        foreach (var reading in json.RootElement.GetProperty("batch").EnumerateArray())
        {
            var (id, data) = (reading.GetProperty("id").GetInt64(), reading.GetProperty("data"));
            if (data.GetProperty("kind").GetString() == "alarm")
            {
                var alarm = data.GetProperty("alarm");
                _reports[id] = ($"{data.GetProperty("sensor")} {alarm.GetProperty("name")}", alarm.GetProperty("state").GetString()!);
            }

            _received[id] = true;
        }
    }
}
