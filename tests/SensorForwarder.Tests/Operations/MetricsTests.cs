using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Metrics;
using SensorForwarder.Operations.Web;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

public sealed partial class MetricsTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static BootOptions Boot(params (string Name, string Value)[] values) => BootOptions.Read(new ConfigurationBuilder()
        .AddInMemoryCollection(values.Select(pair => KeyValuePair.Create(pair.Name, (string?)pair.Value))).Build());

    /// <summary>A line as IoT Edge's metrics-collector reads it (edge-modules/metrics-collector/src/PrometheusMetricsParser.cs):
    /// digits, a sign and an exponent, or NaN; labels may be followed by spaces.</summary>
    [GeneratedRegex(@"^[a-zA-Z_:][a-zA-Z_0-9:]*[ \t]*\{([a-zA-Z_][a-zA-Z_0-9]*[ \t]*=[ \t]*""([^\\""]|\\""|\\\\|\\n)*""[ \t]*,?[ \t]*)*\}[ \t]*([\d.eE+-]+|NaN)([ \t]+\d+)?$")]
    private static partial Regex CollectorLine { get; }

    [GeneratedRegex("sensorforwarder_[a-z_]+")]
    private static partial Regex MetricName { get; }

    /// <summary>A scrape of a module with a hub.</summary>
    static async Task<string> ScrapeAsync(SettingsFixture parts, BootOptions boot, Func<Task>? before = null)
    {
        using var operations = new OperationParts(parts, TimeProvider.System, new FakeHub());
        using var metrics = operations.NewMetrics(boot);
        using var text = new MetricsText(metrics);
        if (before is not null) await before();
        return Encoding.UTF8.GetString(text.Write());
    }

    [Fact]
    public async Task The_table_in_the_documentation_lists_exactly_the_existing_metrics()
    {
        await using var parts = await new SettingsFixture().StartAsync();
        var families = PrometheusText.Read(await ScrapeAsync(parts, Boot()));
        WrittenFile.CheckTable("docs/metrics.md", "| metric |", families.Select(family => $"| `{family.Name}` | {family.Type} | {family.Help} |"));
        Assert.All(families, family => Assert.StartsWith(ModuleMetrics.Prefix, family.Name, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("samples/prometheus/alerts.yml")]
    [InlineData("samples/grafana/sensorforwarder.json")]
    public async Task The_samples_use_only_metrics_that_exist(string path)
    {
        await using var parts = await new SettingsFixture().StartAsync();
        var known = PrometheusText.Read(await ScrapeAsync(parts, Boot())).Select(family => family.Name).ToHashSet();
        var used = MetricName.Matches(WrittenFile.Read(path)).Select(match => match.Value.Replace("_bucket", "", StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(used);
        Assert.All(used, name => Assert.Contains(name, known));
    }

    [Fact]
    public async Task Tags_of_a_sensor_are_labels_of_its_own_metrics_only()
    {
        await using var parts = await new SettingsFixture().StartAsync(
            """{"tags":{"site":"north"},"sensors":{"attic":{"kind":"simulated","tags":{"asset-id":"a \"7\"","rack":"7"}},"cellar":{"kind":"simulated"}}}""");
        await Until.True(() => parts.Scheduler.Health.All(sensor => sensor.State == SensorState.Working));
        var text = await ScrapeAsync(parts, Boot());
        Assert.All(text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#'), line => Assert.Matches(CollectorLine, line));
        var samples = PrometheusText.Read(text).SelectMany(family => family.Samples).ToList();
        var tagged = samples.Where(sample => sample.Labels.GetValueOrDefault("sensor") == "attic").ToList();
        Assert.Equal(3 + 3 + 1, tagged.Count); // values, counters, time
        Assert.All(tagged, sample => Assert.Equal(("a \"7\"", "7"), (sample.Labels["asset_id"], sample.Labels["rack"])));
        Assert.All(samples.Except(tagged), sample => Assert.DoesNotContain("rack", sample.Labels.Keys));
        Assert.All(samples, sample => Assert.DoesNotContain("site", sample.Labels.Keys));
    }

    [Fact]
    public async Task A_raised_alarm_is_shown_in_the_metrics_in_the_status_and_on_the_page()
    {
        await using var parts = await new SettingsFixture().StartAsync(
            """{"sensors":{"attic":{"kind":"simulated","alarms":[{"value":"temperature","above":-100,"severity":"critical"},{"bad":true}]}}}""");
        await Until.True(() => parts.Scheduler.Health[0].Alarms.Any(alarm => alarm.Since is not null));
        Assert.Equal(
            [("attic", "temperature above -100", "temperature", "critical", 1), ("attic", "bad", "", "warning", 0)],
            PrometheusText.Read(await ScrapeAsync(parts, Boot())).SelectMany(family => family.Samples).Where(sample => sample.Name == "sensorforwarder_alarm_active")
                .Select(sample => (sample.Labels["sensor"], sample.Labels["alarm"], sample.Labels["value"], sample.Labels["severity"], (int)sample.Value)));
        using var operations = new OperationParts(parts, TimeProvider.System);
        Assert.All([operations.ReadStatus()["alarms"]!, operations.ReadPage()["sensors"]![0]!["alarms"]!], raised =>
        {
            var alarm = Assert.Single(raised.AsArray())!;
            Assert.Equal(("attic", "temperature above -100", "critical"), ((string?)alarm["sensor"], (string?)alarm["name"], (string?)alarm["severity"]));
        });
    }

    [Fact]
    public async Task Each_sample_has_the_labels_of_IoT_Edge_and_a_form_that_its_metrics_collector_accepts()
    {
        await using var parts = await new SettingsFixture().StartAsync("""{"sensors":{"attic":{"kind":"simulated"}}}""");
        await Until.True(() => parts.Scheduler.Health[0].State == SensorState.Working);
        var text = await ScrapeAsync(parts, Boot(("Device:Id", "pi \"7\" \\ in\nthe attic")), () => parts.Buffer.CommitAsync(Token));
        Assert.All(text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#'), line => Assert.Matches(CollectorLine, line));
        var samples = PrometheusText.Read(text).SelectMany(family => family.Samples).ToList();
        Assert.All(samples, sample => Assert.All((string[])["iothub", "edge_device", "module", "instance_number"], name => Assert.True(sample.Labels.ContainsKey(name))));
        Assert.All(samples, sample => Assert.Equal("pi \"7\" \\ in\nthe attic", sample.Labels["edge_device"]));
        Assert.Equal("attic", samples.Single(sample => sample.Name == "sensorforwarder_sensor_readings_total").Labels["sensor"]);
        Assert.Equal(
            [("temperature", "degrees Celsius"), ("humidity", "percent"), ("pressure", "hPa")],
            samples.Where(sample => sample.Name == "sensorforwarder_sensor_value").Select(sample => (sample.Labels["value"], sample.Labels["unit"])));
        Assert.True(samples.Single(sample => sample.Name == "sensorforwarder_commit_seconds_count").Value >= 1);
        Assert.True(samples.Single(sample => sample.Name == "sensorforwarder_build_info").Labels.ContainsKey("version"));
    }

    [Fact]
    public async Task The_metrics_count_committed_readings_accepted_batches_and_written_bytes()
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
    public async Task Dead_letters_stay_in_the_total_after_they_are_purged()
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
    public async Task The_last_good_value_of_a_failing_sensor_is_kept_with_its_time()
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync();
        using var world = new SensorFixture();
        using var scheduler = new SensorScheduler(
            world.WorldOn(TimeProvider.System), parts.Buffer, TimeProvider.System, new Random(1), NullLogger<SensorScheduler>.Instance);
        world.Write("boiler", "21.5");
        var file = Path.Combine(world.Root, "boiler");
        var settings = SensorFixture.Settings("file", $"\"path\":\"{file}\",\"unit\":\"bar\"", "boiler") with { Interval = TimeSpan.FromDays(1) };
        await scheduler.ApplyAsync(new Dictionary<string, SensorSettings> { ["boiler"] = settings }, Token);
        var good = await scheduler.ReadNowAsync("boiler");
        File.Delete(file);
        Assert.Equal(ReadingQuality.Bad, (await scheduler.ReadNowAsync("boiler"))!.Quality);
        using var operations = new OperationParts(parts.Buffer, parts.Forwarder, scheduler, parts.Store, TimeProvider.System);
        using var metrics = operations.NewMetrics(Boot());
        using var text = new MetricsText(metrics);
        var samples = PrometheusText.Read(Encoding.UTF8.GetString(text.Write())).SelectMany(family => family.Samples).ToLookup(sample => sample.Name);
        var value = samples["sensorforwarder_sensor_value"].Single();
        Assert.Equal((21.5, "boiler", "value", "bar"), (value.Value, value.Labels["sensor"], value.Labels["value"], value.Labels["unit"]));
        var time = samples["sensorforwarder_sensor_value_timestamp_seconds"].Single().Value;
        Assert.Equal(good!.Time.ToUnixTimeMilliseconds() / 1000.0, time);
        await scheduler.StopAsync(Token);
    }

    [Fact]
    public async Task With_2000_sensors_a_scrape_stays_small_and_every_reading_is_counted()
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync("""{"sensors":{}}""");
        await parts.Scheduler.ApplyAsync(
            Enumerable.Range(0, 2000).Select(i => new SensorSettings($"s{i:0000}", SimulatedSensor.Kind, TimeSpan.FromDays(1), "{}")).ToDictionary(settings => settings.Name), Token);
        foreach (var sensor in parts.Scheduler.Health) await parts.Scheduler.ReadNowAsync(sensor.Name);
        var text = await ScrapeAsync(parts, Boot());
        Assert.InRange(text.Length, 10_000, 400_000);
        var readings = PrometheusText.Read(text).Single(family => family.Name == "sensorforwarder_sensor_readings_total").Samples;
        Assert.Equal(ModuleMetrics.MaxSensors + 1, readings.Count);
        Assert.True(readings.Sum(sample => sample.Value) >= 2000);
        var values = PrometheusText.Read(text).Single(family => family.Name == "sensorforwarder_sensor_value").Samples;
        Assert.Equal(ModuleMetrics.MaxSensors, values.DistinctBy(sample => sample.Labels["sensor"]).Count());
    }
}
