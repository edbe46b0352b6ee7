using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The chips of Iot.Device.Bindings on a simulated bus, with values calculated from their data sheets.</summary>
public sealed class BoundChipTests : IDisposable
{
    readonly SensorFixture _world = new();

    public void Dispose() => _world.Dispose();

    Measurement Measure(string kind, int address, SimulatedChip chip, string options = "")
    {
        _world.Bus.Chips[address] = chip;
        return _world.Measure(kind, $"\"address\":{address}{(options.Length > 0 ? "," : "")}{options}");
    }

    Measurement MeasureSpi(string kind, Func<byte[], byte[]> spi, string options = "")
    {
        _world.Spi = spi;
        return _world.Measure(kind, options);
    }

    static void AssertGood(Measurement measurement, params (string Name, double Value)[] expected)
    {
        Assert.True(measurement.Quality == ReadingQuality.Good, measurement.ToString());
        Assert.Equal(expected.Select(value => KeyValuePair.Create(value.Name, value.Value)), measurement.Values);
    }

    /// <summary>Measures the chip of ConversationSweepTests, in its first reading.</summary>
    Measurement Measure(string kind)
    {
        var chip = SweptChip.All.Single(chip => chip.Kind == kind);
        var (simulated, spi) = chip.Make(_world.Waits, () => 0);
        return spi is null ? Measure(kind, chip.Address, simulated, chip.Options) : MeasureSpi(kind, spi, chip.Options);
    }

    [Fact]
    public void Each_chip_gives_the_values_computed_from_its_data_sheet()
    {
        AssertGood(Measure("mlx90614"), ("temperatureObject", 28.75), ("temperatureAmbient", 26.85));
        AssertGood(Measure("am2320"), ("temperature", 35.1), ("humidity", 65.2));
        AssertGood(Measure("lps22hb"), ("pressure", 1013.25), ("temperature", 25));
        AssertGood(Measure("lps25h"), ("pressure", 1013.25), ("temperature", 25));
        AssertGood(Measure("mcp9600"), ("temperature", 25.0625), ("temperatureAmbient", 25));
        AssertGood(Measure("max31865"), ("temperature", 19.24)); // 107.5 ohms
        AssertGood(Measure("adxl345"), ("accelX", 0.766), ("accelY", -0.766), ("accelZ", 9.807)); // 128 steps a g
        AssertGood(Measure("lis3dh"), ("accelX", 0.019), ("accelY", -0.306), ("accelZ", 9.807)); // 1/8192 g
        AssertGood(Measure("hmc5883l"), ("fieldX", 50), ("fieldY", 1.47), ("fieldZ", -23.49)); // 1090 counts a gauss
        AssertGood(
            Measure("amg88xx"), ("temperatureMin", 25), ("temperatureMean", 25.38), ("temperatureMax", 25.75), ("temperatureChip", 25));
        AssertGood(Measure("vl53l0x"), ("distance", 0.5));
        AssertGood(Measure("vl53l1x"), ("distance", 0.5));
    }

    /// <summary>0.0304 x 1000 - 0.062 x 1000 x 0.2^1.4 is 23.886; with a gain of 1 the counts are 16 times smaller.</summary>
    [Theory]
    [InlineData(1000, 200, 382.2)]
    [InlineData(1000, 550, 85.6)]
    [InlineData(1000, 700, 33.4)]
    [InlineData(1000, 1000, 5.4)]
    [InlineData(1000, 1400, 0)]
    [InlineData(0, 0, 0)]
    public void Tsl2561_follows_the_formula_of_its_data_sheet(int both, int infrared, double lux) => AssertGood(
        Measure("tsl2561", 0x39, Tsl2561(both, infrared)), ("illuminance", lux));

    [Fact]
    public void A_saturated_tsl2561_is_over_range() =>
        Assert.Equal(FaultReason.OverRange, Measure("tsl2561", 0x39, Tsl2561(0xFFFF, 200)).Reason);

    static SimulatedBoundChips.Measuring Tsl2561(int both, int infrared) => new(
        [(0x0A, 0x50), (0x01, 0x02)], bytes => (bytes[0] & 3) == 3,
        () => [(0x0C, [(byte)both, (byte)(both >> 8)]), (0x0E, [(byte)infrared, (byte)(infrared >> 8)])],
        [0, 1, 2, 3, 4, 5, 6], 0x0F);

    [Theory]
    [InlineData(0x8065, -10.1)]
    [InlineData(0x0000, 0)]
    [InlineData(0x8001, -0.1)]
    public void Am2320_temperatures_are_decoded_as_sign_and_magnitude(int raw, double celsius) => AssertGood(
        Measure("am2320", 0x5C, new SimulatedBoundChips.Am2320(() => (0x028C, raw))), ("temperature", celsius), ("humidity", 65.2));

    [Fact]
    public void Am2320_is_read_at_most_every_two_seconds_and_returns_no_old_value()
    {
        var raw = 0x015F;
        _world.Bus.Chips[0x5C] = new SimulatedBoundChips.Am2320(() => (0x028C, raw));
        using var session = _world.Session(SensorFixture.Settings("am2320"));
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 35.1), ("humidity", 65.2));
        raw = 0x0100;
        _world.Waits.Advance(TimeSpan.FromSeconds(1));
        Assert.Empty(session.Measure(CancellationToken.None).Values);
        _world.Waits.Advance(TimeSpan.FromSeconds(1));
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 25.6), ("humidity", 65.2));
    }

    [Theory]
    [InlineData(0xFE6F, -25.0625)]
    [InlineData(0xFFF0, -1)]
    [InlineData(0x4E20, 1250)]
    public void Mcp9600_measures_below_and_above_freezing(int raw, double celsius) => AssertGood(
        Measure("mcp9600", 0x60, new SimulatedBoundChips.Mcp9600(() => (raw, 0xFFF0))),
        ("temperature", celsius), ("temperatureAmbient", -1));

    [Theory]
    [InlineData(0x10)]
    [InlineData(0x20)]
    public void An_open_or_shorted_thermocouple_gives_a_bad_reading(int status) => Assert.Equal(
        (ReadingQuality.Bad, FaultReason.OverRange),
        Judged(Measure("mcp9600", 0x60, new SimulatedBoundChips.Mcp9600(() => (0x0191, 0x0190)) { Status = status })));

    [Theory]
    [InlineData(0x80)]
    [InlineData(0x04)]
    public void An_open_or_shorted_max31865_probe_gives_a_bad_reading(int faults)
    {
        var chip = new SimulatedBoundChips.Max31865 { Faults = faults };
        var measurement = MeasureSpi("max31865", SimulatedBoundChips.OnSpi(chip, isReadWithBit: false, 0x7F));
        Assert.Equal((ReadingQuality.Bad, FaultReason.OverRange), Judged(measurement));
    }

    [Theory]
    [InlineData("\"probe\":\"pt1000\",\"referenceOhms\":4300,\"wires\":\"3\"", 19.24)]
    [InlineData("\"mainsHertz\":\"60\",\"referenceOhms\":400", 0)]
    public void Max31865_measures_with_other_probes_reference_resistors_and_mains_frequencies(string options, double celsius)
    {
        var chip = new SimulatedBoundChips.Max31865();
        AssertGood(MeasureSpi("max31865", SimulatedBoundChips.OnSpi(chip, isReadWithBit: false, 0x7F), options), ("temperature", celsius));
    }

    [Theory]
    [InlineData(0x8001)]
    [InlineData(0x0000)]
    public void An_mlx90614_error_flag_or_zero_gives_a_bad_reading(int raw) => Assert.Equal(
        (ReadingQuality.Bad, FaultReason.Invalid),
        Judged(Measure("mlx90614", 0x5A, new SimulatedBoundChips.Mlx90614(() => (raw, 0x3A98)))));

    [Fact]
    public void An_acceleration_or_field_at_the_end_of_the_range_is_not_good()
    {
        var lis = new SimulatedBoundChips.Measuring(
            [(0x0F, 0x33), (0x20, 0x07)], bytes => bytes[0x20] >> 4 != 0, () => [(0x28, [0xF0, 0x7F, 0, 0, 0, 0])],
            [0x1E, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25], 0x7F);
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.OverRange), Judged(Measure("lis3dh", 0x18, lis)));
        var hmc = new SimulatedBoundChips.Measuring(
            [(0x0A, 'H'), (0x0B, '4'), (0x0C, '3')], bytes => (bytes[2] & 3) == 0,
            () => [(0x03, [0xF0, 0x00, 0, 1, 0, 1])], [0, 1, 2]);
        Assert.Equal((ReadingQuality.Bad, FaultReason.OverRange), Judged(Measure("hmc5883l", 0x1E, hmc)));
    }

    [Theory]
    [InlineData("vl53l0x")]
    [InlineData("vl53l1x")]
    public void A_distance_sensor_without_a_target_in_range_gives_a_bad_reading(string kind)
    {
        SimulatedChip chip = kind == "vl53l0x" ? new SimulatedBoundChips.Vl53L0X { State = 4 } : new SimulatedBoundChips.Vl53L1X { State = 4 };
        Assert.Equal((ReadingQuality.Bad, FaultReason.OverRange), Judged(Measure(kind, 0x29, chip)));
    }

    [Theory]
    [InlineData("lps25h", 0x5C)]
    [InlineData("lis3dh", 0x18)]
    [InlineData("vl53l1x", 0x29)]
    public void A_different_chip_at_the_address_gives_a_bad_reading(string kind, int address) => Assert.Equal(
        (ReadingQuality.Bad, FaultReason.Invalid), Judged(Measure(kind, address, new RegisterChip())));

    [Fact]
    public void A_disconnected_chip_is_reported_as_io_although_its_binding_catches_all_exceptions()
    {
        var (chip, _) = SweptChip.All.Single(swept => swept.Kind == "lps22hb").Make(_world.Waits, () => 0);
        _world.Bus.Chips[0x5C] = chip;
        using var session = _world.Session(SensorFixture.Settings("lps22hb"));
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        _world.Bus.Chips.Clear();
        Assert.Equal(FaultReason.Io, session.Measure(CancellationToken.None).Reason);
        _world.Bus.Chips[0x5C] = chip;
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
    }

    [Fact]
    public void A_measurement_that_does_not_end_is_stopped_with_a_timeout()
    {
        _world.Bus.Stretch = () => _world.Waits.Advance(TimeSpan.FromSeconds(9));
        Assert.Equal((ReadingQuality.Bad, FaultReason.Timeout), Judged(Measure("lps25h")));
    }

    [Fact]
    public void A_bus_timeout_is_reported_as_a_fault_of_the_bus()
    {
        _world.Bus.Always = BusFault.TimedOut;
        Assert.Equal((ReadingQuality.Bad, FaultReason.BusTimeout), Judged(Measure("lis3dh")));
    }

    static (ReadingQuality, string?) Judged(Measurement measurement) => (measurement.Quality, measurement.Reason);
}
