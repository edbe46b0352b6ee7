using SensorForwarder.Configuration;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

/// <summary>A settings change restarts only the sensors that it affects. The counters of a restarted sensor start at zero.</summary>
public sealed class LiveChangeTests
{
    const string Start = """
        {"pollIntervalSeconds":86400,"sensors":{"own":{"kind":"simulated","intervalSeconds":3600},"standard":{"kind":"simulated"},"other":{"kind":"simulated","seed":1}}}
        """;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static SensorHealth Health(SettingsFixture parts, string name) => parts.Scheduler.Health.Single(sensor => sensor.Name == name);

    /// <summary>The names of the sensors that a change restarted.</summary>
    static async Task<string> RestartedAsync(SettingsFixture parts, string document)
    {
        const int Marked = 100;
        await parts.Store.OfferTwinAsync(SettingsFixture.Parse(Start), 1, Token);
        foreach (var sensor in parts.Scheduler.Health)
        {
            while (Health(parts, sensor.Name).Readings < Marked) await parts.Scheduler.ReadNowAsync(sensor.Name);
        }

        await parts.Store.OfferTwinAsync(SettingsFixture.Parse(document), 2, Token);
        return string.Join(' ', parts.Scheduler.Health.Where(sensor => sensor.Readings < Marked).Select(sensor => sensor.Name).Order());
    }

    [Theory]
    [InlineData("\"seed\":1", "\"seed\":2", "other")]
    [InlineData("\"pollIntervalSeconds\":86400", "\"pollIntervalSeconds\":40000", "other standard")]
    [InlineData("\"intervalSeconds\":3600", "\"intervalSeconds\":3601", "own")]
    [InlineData("\"sensors\":{", "\"sensors\":{\"new\":{\"kind\":\"simulated\"},", "new")]
    [InlineData(",\"other\":{\"kind\":\"simulated\",\"seed\":1}", "", "")]
    [InlineData("{\"pollIntervalSeconds\"", "{\"batchSize\":7,\"logLevel\":\"Debug\",\"commitIntervalMs\":5,\"whenFull\":\"dropOldest\",\"pollIntervalSeconds\"", "")]
    public async Task Only_sensors_affected_by_a_settings_change_are_restarted(string before, string after, string restarted)
    {
        await using var parts = await new SettingsFixture().StartAsync();
        Assert.Equal(restarted, await RestartedAsync(parts, Start.Replace(before, after, StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_layered_deployment_adds_one_sensor_null_removes_it_and_the_others_keep_running()
    {
        await using var parts = await new SettingsFixture().StartAsync();
        await parts.Store.OfferTwinAsync(SettingsFixture.Parse("""{"sensors":{"a":{"kind":"simulated"}}}"""), 1, Token);

        // properties.desired.sensors.attic of a layered deployment arrives as one more entry.
        await parts.Store.OfferTwinAsync(SettingsFixture.Parse("""{"sensors":{"a":{"kind":"simulated"},"attic":{"kind":"host"}}}"""), 2, Token);
        Assert.Equal(["a", "attic"], parts.Scheduler.Health.Select(sensor => sensor.Name).Order());
        await parts.Store.OfferTwinAsync(SettingsFixture.Parse("""{"sensors":{"a":{"kind":"simulated"},"attic":null}}"""), 3, Token);
        Assert.Equal(["a"], parts.Scheduler.Health.Select(sensor => sensor.Name));
    }

    [Fact]
    public async Task Only_the_invalid_sensor_is_refused_and_the_others_run()
    {
        await using var parts = await new SettingsFixture().StartAsync();
        var parsed = await parts.Store.OfferTwinAsync(
            SettingsFixture.Parse("""{"sensors":{"a":{"kind":"simulated"},"b":{"kind":"thermometer"},"c":{"kind":"host"}}}"""), 1, Token);
        await Until.True(() => parts.Scheduler.Health.All(sensor => sensor.State == SensorState.Working));
        Assert.Equal(["a", "c"], parts.Scheduler.Health.Select(sensor => sensor.Name).Order());
        Assert.StartsWith("b: kind: 'thermometer'", parsed.Verdicts.Single(verdict => verdict.Key == SettingsTable.SensorsKey).Error, StringComparison.Ordinal);
    }
}
