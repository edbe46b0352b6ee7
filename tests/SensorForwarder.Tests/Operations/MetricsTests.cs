using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Web;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

public sealed partial class MetricsTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static BootOptions Boot(params (string Name, string Value)[] values) => BootOptions.Read(new ConfigurationBuilder()
        .AddInMemoryCollection(values.Select(pair => KeyValuePair.Create(pair.Name, (string?)pair.Value))).Build());

    /// <summary>The line as IoT Edge's metrics-collector takes it (edge-modules/metrics-collector/src/PrometheusMetricsParser.cs):
    /// digits, a sign and an exponent, or NaN; labels may be followed by blanks.</summary>
    [GeneratedRegex(@"^[a-zA-Z_:][a-zA-Z_0-9:]*[ \t]*\{([a-zA-Z_][a-zA-Z_0-9]*[ \t]*=[ \t]*""([^\\""]|\\""|\\\\|\\n)*""[ \t]*,?[ \t]*)*\}[ \t]*([\d.eE+-]+|NaN)([ \t]+\d+)?$")]
    private static partial Regex CollectorLine { get; }

    /// <summary>What a scrape of a module gives that has a hub.</summary>
    static async Task<string> ScrapeAsync(SettingsFixture parts, BootOptions boot, Func<Task>? before = null)
    {
        using var metrics = new ModuleMetrics(boot, parts.Buffer, parts.Forwarder, parts.Scheduler, TimeProvider.System, new FakeHub());
        using var text = new MetricsText(metrics);
        if (before is not null) await before();
        return Encoding.UTF8.GetString(text.Write());
    }

    [Fact]
    public async Task Every_metric_is_in_the_table_of_the_README_and_no_other()
    {
        await using var parts = await new SettingsFixture().StartAsync();
        var families = PrometheusText.Read(await ScrapeAsync(parts, Boot()));
        WrittenFile.CheckTable("README.md", "| metric |", families.Select(family => $"| `{family.Name}` | {family.Type} | {family.Help} |"));
        Assert.All(families, family => Assert.StartsWith(ModuleMetrics.Prefix, family.Name, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Each_sample_carries_the_labels_of_IoT_Edge_and_the_collector_takes_each_line()
    {
        await using var parts = await new SettingsFixture().StartAsync("""{"sensors":{"attic":{"kind":"simulated"}}}""");
        await Until.True(() => parts.Scheduler.Health[0].State == SensorState.Working);
        var text = await ScrapeAsync(parts, Boot(("Device:Id", "pi \"7\" \\ in\nthe attic")), () => parts.Buffer.CommitAsync(Token));
        Assert.All(text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#'), line => Assert.Matches(CollectorLine, line));
        var samples = PrometheusText.Read(text).SelectMany(family => family.Samples).ToList();
        Assert.All(samples, sample => Assert.All((string[])["iothub", "edge_device", "module", "instance_number"], name => Assert.True(sample.Labels.ContainsKey(name))));
        Assert.All(samples, sample => Assert.Equal("pi \"7\" \\ in\nthe attic", sample.Labels["edge_device"]));
        Assert.Equal("attic", samples.Single(sample => sample.Name == "sensorforwarder_sensor_readings_total").Labels["sensor"]);
        Assert.True(samples.Single(sample => sample.Name == "sensorforwarder_commit_seconds_count").Value >= 1);
        Assert.True(samples.Single(sample => sample.Name == "sensorforwarder_build_info").Labels.ContainsKey("version"));
    }

    [Fact]
    public async Task Numbers_are_those_of_what_happened()
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var parts = new SettingsFixture { Sinks = { [SinkKind.Http] = sink } };
        await parts.StartAsync("""{"sink":"http","httpEndpoint":"http://localhost/","batchSize":1,"commitIntervalMs":0,"sensors":{}}""");
        await parts.Forwarder.StartAsync(Token);
        var samples = PrometheusText.Read(await ScrapeAsync(parts, Boot(), async () =>
        {
            for (var i = 0; i < 3; i++) await parts.Buffer.EnqueueAsync(Buffer.BufferFixture.Reading(i), Token);
            await Until.True(() => parts.Forwarder.Status.Readings == 3);
        })).SelectMany(family => family.Samples).ToDictionary(sample => sample.Name + sample.Labels.GetValueOrDefault("le") + sample.Labels.GetValueOrDefault("sensor"));
        Assert.Equal(3, samples["sensorforwarder_readings_committed_total"].Value);
        Assert.Equal(3, samples["sensorforwarder_batches_accepted_total"].Value);
        Assert.Equal(3, samples["sensorforwarder_send_seconds_count"].Value);
        Assert.True(samples["sensorforwarder_commits_total"].Value >= 3);
        Assert.True(samples["sensorforwarder_flash_written_bytes_total"].Value > 0);
        await parts.Forwarder.StopAsync(Token);
    }

    [Fact]
    public async Task Dead_letters_count_also_when_they_are_gone()
    {
        await using var parts = await new SettingsFixture().StartAsync("""{"commitIntervalMs":0,"sensors":{}}""");
        var samples = PrometheusText.Read(await ScrapeAsync(parts, Boot(), async () =>
        {
            for (var i = 1; i <= 3; i++) await parts.Buffer.EnqueueAsync(Buffer.BufferFixture.Reading(i), Token);
            await parts.Buffer.DeadLetterAsync(1, "400", "no", Token);
            await parts.Buffer.DeadLetterAsync(2, "400", "no", Token);
            await parts.Buffer.PurgeDeadLettersAsync(Token);
            await parts.Buffer.DeadLetterAsync(3, "400", "no", Token);
            await parts.Buffer.DeadLetterAsync(99, "400", "is not there", Token);
        })).SelectMany(family => family.Samples).ToLookup(sample => sample.Name);
        Assert.Equal(1, samples["sensorforwarder_dead_letters"].Single().Value);
        Assert.Equal(3, samples["sensorforwarder_readings_dead_lettered_total"].Single().Value);
    }

    [Fact]
    public async Task With_2000_sensors_a_scrape_stays_small_and_none_of_their_readings_goes_uncounted()
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync("""{"sensors":{}}""");
        await parts.Scheduler.ApplyAsync(
            Enumerable.Range(0, 2000).Select(i => new SensorSettings($"s{i:0000}", "simulated", TimeSpan.FromDays(1), "{}")).ToDictionary(settings => settings.Name), Token);
        foreach (var sensor in parts.Scheduler.Health) await parts.Scheduler.ReadNowAsync(sensor.Name);
        var text = await ScrapeAsync(parts, Boot());
        Assert.InRange(text.Length, 10_000, 200_000);
        var readings = PrometheusText.Read(text).Single(family => family.Name == "sensorforwarder_sensor_readings_total").Samples;
        Assert.Equal(ModuleMetrics.MaxSensors + 1, readings.Count);
        Assert.True(readings.Sum(sample => sample.Value) >= 2000);
    }
}
