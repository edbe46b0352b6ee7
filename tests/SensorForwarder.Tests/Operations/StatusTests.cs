using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Operations.Status;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

public sealed class StatusTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static StatusSource NewSource(SettingsFixture parts) => new OperationParts(parts, TimeProvider.System).Source;

    static async Task AddSensorsAsync(SettingsFixture parts, int count) => await parts.Scheduler.ApplyAsync(
        Enumerable.Range(0, count)
            .Select(i => new SensorSettings($"{i:0000}{new string('\u00e4', 60)}", SimulatedSensor.Kind, TimeSpan.FromDays(1), "{}"))
            .ToDictionary(settings => settings.Name), Token);

    [Fact]
    public async Task The_status_contains_the_values_that_a_remote_operator_needs()
    {
        await using var parts = await new SettingsFixture().StartAsync("""{"sensors":{"attic":{"kind":"simulated"}}}""");
        await Until.True(() => parts.Scheduler.Health[0].State == SensorState.Working);
        using var json = JsonDocument.Parse(StatusDocument.Write(NewSource(parts).Capture()));
        foreach (var name in (string[])["version", "epoch", "queueDepth", "oldestAgeSeconds", "storage", "clock", "sink", "sensorStates"])
            Assert.True(json.RootElement.TryGetProperty(name, out _), name);
        Assert.All(json.RootElement.EnumerateObject(), property => Assert.Contains(property.Name, PnpModel.StatusNames));
        Assert.Equal(1, json.RootElement.GetProperty("sensorStates").GetProperty("Working").GetInt32());
    }

    [Theory]
    [InlineData("""{"sensors":{}}""", 0)]
    [InlineData("""{"batchSize":-1,"maxInFlightBatches":900,"batchsize":3,"sensors":{}}""", 3)]
    public async Task The_page_counts_the_refused_settings(string settings, int refused)
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync(settings);
        using var operations = new OperationParts(parts, TimeProvider.System);
        Assert.Equal(refused, (int)operations.ReadPage()["settingsRefused"]!);
    }

    [Fact]
    public async Task The_status_reports_how_many_readings_were_salvaged_from_a_damaged_file_and_how_many_are_missing()
    {
        using var fixture = new Buffer.BufferFixture();
        await using (var buffer = await fixture.OpenAsync())
        {
            for (var i = 0; i < 500; i++) await buffer.EnqueueAsync(Buffer.BufferFixture.Reading(i), Token);
        }

        // The root page of the database, and one of the pages with readings.
        var bytes = await File.ReadAllBytesAsync(fixture.DatabasePath, Token);
        bytes.AsSpan(0, 1024).Clear();
        bytes.AsSpan(bytes.Length / 2048 * 1024, 1024).Clear();
        await File.WriteAllBytesAsync(fixture.DatabasePath, bytes, Token);
        await using var salvaged = await fixture.OpenAsync();
        await salvaged.AcknowledgeAsync(1, 1, Token);
        await using var parts = await new SettingsFixture().StartAsync();
        var status = new OperationParts(salvaged, parts.Forwarder, parts.Scheduler, parts.Store, TimeProvider.System).ReadStatus();

        var salvage = status["salvage"]!;
        Assert.Equal("not an SQLite database", (string)salvage["reason"]!);
        Assert.True((bool)salvage["complete"]!);
        Assert.True(File.Exists(Path.Combine(fixture.Directory, (string)salvage["keptAs"]!)));
        Assert.Equal(500, (long)salvage["readings"]! + (long)salvage["missing"]!);
        Assert.InRange((long)salvage["missing"]!, 1, 100);
        Assert.Equal((long)salvage["missing"]!, (long)status["evicted"]!["damaged"]!);
        Assert.All(status.AsObject(), property => Assert.Contains(property.Key, PnpModel.StatusNames));
    }

    [Fact]
    public async Task With_2000_sensors_and_every_setting_refused_the_reported_properties_fit_into_32_KB()
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync();
        var worst = new string('\u00e4', 200);
        var document = new JsonObject(SettingsTable.All.Select(setting => KeyValuePair.Create(setting.Key, (JsonNode?)worst)))
        {
            ["sensors"] = new JsonObject(Enumerable.Range(0, 2000).Select(i => KeyValuePair.Create($"{i}{worst[..60]}", (JsonNode?)new JsonObject { ["kind"] = i % 9 == 0 ? "simulated" : worst }))),
        };
        for (var i = 0; i < 100; i++) document[$"{worst}{i}"] = 1;
        document["httpEndpoint"] = $"http://a/{new string('\u4e00', 2000)}";
        var parsed = await parts.Store.OfferTwinAsync(document, 1L << 52, Token);
        Assert.True(parsed.Verdicts.Count(verdict => verdict.Error is not null) >= SettingsTable.All.Count);
        await AddSensorsAsync(parts, 2000);

        var status = NewSource(parts).Capture();
        var reported = TwinReport.Patch(parsed, []);
        reported["status"] = JsonNode.Parse(StatusDocument.Write(status, SizeLimit.MaxReportedBytes).Span);
        Assert.InRange(Encoding.UTF8.GetByteCount(reported.ToJsonString()), 10_000, 32 << 10);
        Assert.Null(EdgeSimulator.Twins.ReportedProperties.Objection(reported));
        Assert.Equal(2000, reported["status"]!["sensorStates"]!.AsObject().Sum(state => (int)state.Value!));
        Assert.Equal(2000, reported["status"]!["sensors"]!.AsObject().Count + (int)reported["status"]!["sensorsLeftOut"]!);
        Assert.InRange(StatusDocument.Write(status).Length, 10_000, 128 << 10);
    }

    [Fact]
    public async Task The_status_is_reported_every_interval_and_on_a_state_change_and_old_properties_are_removed()
    {
        var (hub, clock) = (new FakeHub(), new FakeTimeProvider());
        await using var parts = await new SettingsFixture().StartAsync("""{"statusIntervalSeconds":600,"sensors":{"a":{"kind":"simulated"},"b":{"kind":"simulated"}}}""");
        await Until.True(() => parts.Scheduler.Health.All(sensor => sensor.State == SensorState.Working));
        using var reported = new ReportedProperties(hub, clock, new Random(1), NullLogger<ReportedProperties>.Instance);
        await reported.StartAsync(Token);
        using var reporter = new StatusReporter(hub, reported, NewSource(parts), clock, NullLogger<StatusReporter>.Instance);
        await reporter.StartAsync(Token);

        // The hub still has the report of an earlier run.
        reporter.ReportSoon(new() { ["lastError"] = "old", ["sensors"] = new JsonObject { ["gone"] = new JsonObject { ["state"] = "Failing" } } });
        await Until.True(() => hub.Patches.Count == 1, clock, TimeSpan.FromSeconds(1));
        var first = hub.Patches[0]["status"]!.AsObject();
        Assert.True(first.ContainsKey("lastError") && first["lastError"] is null);
        Assert.True(first["sensors"]!.AsObject().ContainsKey("gone") && first["sensors"]!["gone"] is null);

        var since = clock.GetUtcNow();
        await Until.True(() => clock.GetUtcNow() - since > TimeSpan.FromSeconds(560), clock, TimeSpan.FromSeconds(5));
        Assert.Single(hub.Patches);
        await Until.True(() => hub.Patches.Count == 2, clock, TimeSpan.FromSeconds(1));
        Assert.True(clock.GetUtcNow() - since >= TimeSpan.FromSeconds(590));

        since = clock.GetUtcNow();
        await Until.True(() => clock.GetUtcNow() - since > TimeSpan.FromSeconds(60), clock, TimeSpan.FromSeconds(5));
        parts.Forwarder.Pause();
        since = clock.GetUtcNow();
        await Until.True(() => hub.Patches.Count == 3, clock, TimeSpan.FromSeconds(1));
        Assert.True((bool)hub.Reported["status"]!["paused"]!);
        Assert.True(clock.GetUtcNow() - since < TimeSpan.FromSeconds(300));
        await reporter.StopAsync(Token);
        await reported.StopAsync(Token);
    }
}
