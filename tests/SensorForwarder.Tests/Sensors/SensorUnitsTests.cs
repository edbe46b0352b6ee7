using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

public sealed class SensorUnitsTests : IAsyncLifetime
{
    readonly SensorFixture _world = new();
    readonly BufferFixture _files = new();
    TelemetryBuffer _buffer = null!;
    SensorScheduler _scheduler = null!;

    public async ValueTask InitializeAsync()
    {
        _buffer = await _files.OpenAsync();
        _scheduler = NewScheduler();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        await _buffer.DisposeAsync();
        _files.Dispose();
        _world.Dispose();
    }

    SensorScheduler NewScheduler() => new(_world.World, _buffer, _world.Clock, new NoJitter(), NullLogger<SensorScheduler>.Instance);

    async Task StopAsync()
    {
        await _scheduler.StopAsync(CancellationToken.None);
        _scheduler.Dispose();
    }

    Task ApplyAsync(string kind, string options = "") => _scheduler.ApplyAsync(
        new Dictionary<string, SensorSettings> { ["attic"] = SensorFixture.Settings(kind, options) with { Interval = TimeSpan.FromDays(30) } },
        TestContext.Current.CancellationToken);

    /// <summary>Reads the sensor now and returns the units in the stored reading.</summary>
    async Task<string> ReadAsync()
    {
        Assert.NotNull(await _scheduler.ReadNowAsync("attic"));
        await _buffer.CommitAsync(TestContext.Current.CancellationToken);
        return Units(BufferFixture.ReadAll(_buffer)[^1].Payload);
    }

    async Task<string> FirstAsync()
    {
        await Until.True(() => _scheduler.Health.Single().Readings + _scheduler.Health.Single().Failures > 0);
        await Until.True(() => BufferFixture.ReadAll(_buffer).Count > 0);
        return Units(BufferFixture.ReadAll(_buffer)[0].Payload);
    }

    static string Units(ReadOnlyMemory<byte> payload)
    {
        using var json = JsonDocument.Parse(payload);
        return json.RootElement.TryGetProperty("units", out var units) ? units.GetRawText() : "";
    }

    [Fact]
    public async Task Units_are_sent_with_the_first_reading_after_each_start_and_once_a_day()
    {
        const string Room = """{"temperature":"degrees Celsius","humidity":"percent","pressure":"hPa"}""";
        await ApplyAsync("simulated");
        Assert.Equal(Room, await FirstAsync());
        Assert.Equal("", await ReadAsync());
        _world.Clock.Advance(SensorUnits.RepeatEvery);
        Assert.Equal(Room, await ReadAsync());
        Assert.Equal("", await ReadAsync());
        await StopAsync();
        _scheduler = NewScheduler();
        var before = BufferFixture.ReadAll(_buffer).Count;
        await ApplyAsync("simulated");
        await Until.True(() => BufferFixture.ReadAll(_buffer).Count > before);
        Assert.Equal(Room, Units(BufferFixture.ReadAll(_buffer)[before].Payload));
    }

    [Fact]
    public async Task A_scaled_value_has_the_unit_from_the_settings_or_none()
    {
        await ApplyAsync("simulated", """
            "scale":{"temperature":1.8,"pressure":0.1},"offset":{"temperature":32},"units":{"temperature":"degrees Fahrenheit"}
            """);
        Assert.Equal("""{"temperature":"degrees Fahrenheit","humidity":"percent"}""", await FirstAsync());
    }

    [Fact]
    public async Task A_file_sensor_has_the_unit_from_its_settings()
    {
        _world.Write("level", "21.5");
        await ApplyAsync("file", $"\"path\":\"{_world.Root}/level\",\"unit\":\"cm\",\"scale\":100");
        Assert.Equal("""{"value":"cm"}""", await FirstAsync());
    }

    [Fact]
    public async Task A_kernel_device_reports_the_units_of_its_channels_and_of_channels_added_later()
    {
        const string Device = "sys/bus/iio/devices/iio:device0/";
        _world.Write(Device + "name", "bme280");
        _world.Write(Device + "in_temp_input", "25080");
        _world.Write(Device + "in_odd_input", "1");
        await ApplyAsync("iio", "\"device\":\"bme280\"");
        Assert.Equal("""{"temperature":"degrees Celsius"}""", await FirstAsync());
        Assert.Equal("", await ReadAsync());
        _world.Write(Device + "in_pressure_input", "100");
        _world.Write(Device + "name", "other");
        await ReadAsync(); // it is a different device now
        _world.Write(Device + "name", "bme280");
        Assert.Equal("""{"pressure":"hPa","temperature":"degrees Celsius"}""", await ReadAsync());
        Assert.Equal("", await ReadAsync());
    }

    [Fact]
    public void Every_kind_declares_the_unit_of_each_of_its_values()
    {
        foreach (var kind in Module.SensorKinds.All)
        {
            Assert.NotEmpty(kind.Connection);
            Assert.All(kind.Values, value => Assert.NotEmpty(value.Unit));
        }
    }

    [Theory]
    [InlineData("""{"kind":"simulated","units":{"temprature":"K"}}""", "units: simulated has no value 'temprature' (did you mean temperature?)")]
    [InlineData("""{"kind":"simulated","units":"K"}""", "units: \"K\" is not allowed; allowed is a map of value to text of 1 to 32 characters")]
    [InlineData("""{"kind":"simulated","units":{"temperature":""}}""", "allowed is a map of value to text of 1 to 32 characters")]
    public void Invalid_units_are_refused_with_the_reason(string entry, string problem)
    {
        using var json = JsonDocument.Parse(entry);
        var exception = Assert.Throws<SensorSettingsException>(
            () => SensorSettings.Read(Module.SensorKinds, "attic", json.RootElement, TimeSpan.FromSeconds(5)));
        Assert.Contains(problem, exception.Message, StringComparison.Ordinal);
    }
}
