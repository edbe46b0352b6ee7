using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Each driver with its chip on a simulated bus, with test vectors from data sheets and the kernel's
/// drivers.</summary>
public sealed class DriverTests : IDisposable
{
    readonly SensorFixture _world = new();

    public void Dispose() => _world.Dispose();

    Measurement Measure(string kind, int address, SimulatedChip chip, string options = "")
    {
        _world.Bus.Chips[address] = chip;
        return _world.Measure(kind, $"\"address\":{address}{(options.Length > 0 ? "," : "")}{options}");
    }

    static void AssertGood(Measurement measurement, params (string Name, double Value)[] expected)
    {
        Assert.True(measurement.Quality == ReadingQuality.Good, measurement.ToString());
        Assert.Equal(expected.Select(value => KeyValuePair.Create(value.Name, value.Value)), measurement.Values);
    }

    static RegisterChip WordChip(params (int Register, int Word)[] registers)
    {
        var chip = new RegisterChip(2);
        foreach (var (register, word) in registers) chip.Words[register] = [(byte)(word >> 8), (byte)word];
        return chip;
    }

    [Theory]
    [InlineData("BEEF", 0x92)]
    [InlineData("0000", 0x81)]
    [InlineData("6666", 0x93)]
    [InlineData("8000", 0xA2)]
    [InlineData("6667", 0xA2)]
    [InlineData("5EB9", 0x3C)]
    [InlineData("01F4", 0x33)]
    public void The_Sensirion_checksum_matches_the_test_vectors(string bytes, byte crc) => Assert.Equal(crc, Crc8.Sensirion(Convert.FromHexString(bytes)));

    [Theory]
    [InlineData("021CB801000000", 0xA2)]
    [InlineData("91014B467FFF0F10", 0x25)]
    [InlineData("70FE4B467FFF1010", 0xE7)]
    [InlineData("50054B467FFF0C10", 0x1C)]
    public void The_Dallas_checksum_matches_the_test_vectors(string bytes, byte crc) => Assert.Equal(crc, Crc8.Dallas(Convert.FromHexString(bytes)));

    [Fact]
    public void Bme280_values_match_the_data_sheet_and_the_kernel_driver() => AssertGood(
        Measure("bme280", 0x76, SimulatedChips.Bme280()), ("temperature", 25.08), ("pressure", 1006.533), ("humidity", 55.0));

    [Theory]
    [InlineData(20000, 0)]
    [InlineData(25000, 27.08)]
    [InlineData(30000, 55.0)]
    [InlineData(35000, 82.69)]
    public void Bme280_humidity_is_computed_from_the_raw_value(int raw, double percent)
    {
        var chip = SimulatedChips.Bme280();
        chip.Raw = [.. SimulatedChips.Bytes("655AC07EED00"), (byte)(raw >> 8), (byte)raw];
        Assert.Equal(percent, Measure("bme280", 0x76, chip).Values[2].Value);
    }

    [Fact]
    public void Bmp280_measures_temperature_and_pressure_but_no_humidity() => AssertGood(
        Measure("bmp280", 0x77, SimulatedChips.Bme280(0x58)), ("temperature", 25.08), ("pressure", 1006.533));

    [Theory]
    [InlineData("bme280", 0x58, "use kind bmp280")]
    [InlineData("bmp280", 0x60, "use kind bme280")]
    [InlineData("bme280", 0x61, "use kind iio")]
    [InlineData("bme280", 0xFF, "the chip's id is 0xff")]
    [InlineData("bme280", 0x00, "the chip's id is 0x00")]
    public void A_different_chip_at_the_address_is_refused_with_a_hint(string kind, byte id, string hint)
    {
        var measurement = Measure(kind, 0x76, SimulatedChips.Bme280(id));
        Assert.Equal(FaultReason.Invalid, measurement.Reason);
        Assert.Contains(hint, measurement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Sht3x_measures_and_waits_long_enough() => AssertGood(
        Measure("sht3x", 0x44, SimulatedChips.Sht3x(_world.Waits)), ("temperature", 25), ("humidity", 50));

    [Fact]
    public void Sht4x_measures() => AssertGood(Measure("sht4x", 0x44, SimulatedChips.Sht4x()), ("temperature", 25), ("humidity", 56.5));

    [Theory]
    [InlineData(0, 0)]
    [InlineData(0xFFFF, 100)]
    public void Sht4x_humidity_is_cropped(int raw, double percent)
    {
        byte[] word = [(byte)(raw >> 8), (byte)raw];
        var frame = $"666693{Convert.ToHexString([.. word, Crc8.Sensirion(word)])}";
        Assert.Equal(percent, Measure("sht4x", 0x44, SimulatedChips.Sht4x(frame)).Values[1].Value);
    }

    [Fact]
    public void Aht20_measures_and_is_calibrated_only_if_it_is_not_calibrated_yet()
    {
        var ready = SimulatedChips.Aht20();
        AssertGood(Measure("aht20", 0x38, ready), ("temperature", 25), ("humidity", 50));
        Assert.DoesNotContain("BE0800", ready.Commands);
        var fresh = SimulatedChips.Aht20(status: 0);
        AssertGood(Measure("aht20", 0x38, fresh), ("temperature", 25), ("humidity", 50));
        Assert.Contains("BE0800", fresh.Commands);
    }

    [Fact]
    public void Scd4x_gives_no_values_until_new_data_is_ready_and_is_restarted_when_it_stays_silent()
    {
        var isReady = true;
        var chip = SimulatedChips.Scd4x(() => isReady);
        _world.Bus.Chips[0x62] = chip;
        using var session = _world.Session(SensorFixture.Settings("scd4x"));
        AssertGood(session.Measure(CancellationToken.None), ("co2", 500), ("temperature", 25), ("humidity", 37));
        isReady = false;
        Assert.Equal(Measurement.Nothing, session.Measure(CancellationToken.None));
        _world.Waits.Advance(TimeSpan.FromSeconds(20));
        var starts = chip.Commands.Count(command => command == "21B1");
        session.Measure(CancellationToken.None);
        Assert.Equal(starts + 1, chip.Commands.Count(command => command == "21B1"));
    }

    [Fact]
    public void Ina219_measures()
    {
        var chip = WordChip((2, 0x5D9A), (3, 0x1766), (4, 0x2710));
        AssertGood(
            Measure("ina219", 0x40, chip, "\"shuntOhms\":0.002,\"maxAmperes\":32.768"),
            ("voltage", 11.98), ("current", 10), ("power", 119.8));
        Assert.Equal([0x50, 0x00], chip.Words[5]);
    }

    [Fact]
    public void Ina226_measures()
    {
        var chip = WordChip((2, 0x2570), (3, 4792), (4, 10000), (6, 0x0008));
        AssertGood(
            Measure("ina226", 0x40, chip, "\"shuntOhms\":0.002,\"maxAmperes\":32.768"),
            ("voltage", 11.98), ("current", 10), ("power", 119.8));
        Assert.Equal([0x0A, 0x00], chip.Words[5]);
    }

    [Fact]
    public void An_ina219_that_lost_its_calibration_is_calibrated_again()
    {
        var chip = WordChip((2, 0x5D9A), (4, 100));
        _world.Bus.Chips[0x40] = chip;
        using var session = _world.Session(SensorFixture.Settings("ina219"));
        session.Measure(CancellationToken.None);
        var calibration = chip.Words[5];
        chip.Words[5] = [0, 0];
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        Assert.Equal(calibration, chip.Words[5]);
    }

    [Theory]
    [InlineData("ina226", 2, 12)]
    [InlineData("ina226", 5, 12)]
    [InlineData("ina226", -5, 12)]
    [InlineData("ina219", 5, 12)]
    [InlineData("ina219", -5, 12)]
    [InlineData("ina219", 2, 12, ",\"maxAmperes\":1")]
    [InlineData("ina226", 0.5, 12, ",\"maxAmperes\":0.25")]
    public void A_current_beyond_the_range_of_the_chip_is_not_reported(
        string kind, double amperes, double volts, string options = "")
    {
        var chip = new SimulatedChips.PowerMonitor(kind == "ina226", ohms: 0.1) { Amperes = amperes, Volts = volts };
        var measurement = Measure(kind, 0x40, chip, $"\"shuntOhms\":0.1{options}");
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.OverRange), (measurement.Quality, measurement.Reason));
        Assert.Equal([KeyValuePair.Create("voltage", volts)], measurement.Values);
        Assert.Contains(options.Length > 0 ? "maxAmperes" : "shuntOhms", measurement.Detail, StringComparison.Ordinal);
        chip.Amperes = 0.1;
        AssertGood(Measure(kind, 0x40, chip, $"\"shuntOhms\":0.1{options}") with { Values = [] });
    }

    [Theory]
    [InlineData("ina219", 0.79)]
    [InlineData("ina226", -0.79)]
    public void A_current_within_the_range_of_the_chip_is_good(string kind, double amperes)
    {
        var chip = new SimulatedChips.PowerMonitor(kind == "ina226", ohms: 0.1) { Amperes = amperes };
        var measurement = Measure(kind, 0x40, chip);
        Assert.Equal(ReadingQuality.Good, measurement.Quality);
        Assert.Equal(amperes, measurement.Values[1].Value, 0.001);
    }

    [Theory]
    [InlineData("ina219")]
    [InlineData("ina226")]
    public void A_voltage_beyond_the_range_of_the_chip_is_not_reported(string kind)
    {
        var chip = new SimulatedChips.PowerMonitor(kind == "ina226", ohms: 0.1) { Volts = 50, Amperes = 5 };
        var measurement = Measure(kind, 0x40, chip);
        Assert.Equal((ReadingQuality.Bad, FaultReason.OverRange), (measurement.Quality, measurement.Reason));
        chip.Amperes = 0.5;
        Assert.Equal(["current"], Measure(kind, 0x40, chip).Values.Select(value => value.Key));
    }

    [Fact]
    public void A_calibration_that_does_not_fit_the_ina226_register_is_refused()
    {
        const string Options = "\"shuntOhms\":0.005,\"maxAmperes\":0.8"; // calibration 0xA3D7
        var exception = Assert.Throws<SensorSettingsException>(
            () => _world.Create(SensorFixture.Settings("ina226", Options)));
        Assert.Contains("their product may be 0.0051..168 V", exception.Message, StringComparison.Ordinal);
        const string More = "\"shuntOhms\":0.03,\"maxAmperes\":0.8"; // calibration 0xDA74
        _world.Create(SensorFixture.Settings("ina219", More)).Dispose();
    }

    [Fact]
    public void A_power_monitor_reconfigured_by_another_program_is_configured_again()
    {
        var chip = new SimulatedChips.PowerMonitor(is226: false, ohms: 0.1);
        _world.Bus.Chips[0x40] = chip;
        using var session = _world.Session(SensorFixture.Settings("ina219"));
        session.Measure(CancellationToken.None);
        chip.Words[0] = [0x39, 0x98]; // Power-down mode, in which the registers keep old values.
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        Assert.Equal([0x39, 0x9B], chip.Words[0]);
    }

    [Theory]
    [InlineData("sht3x", "0000")]
    [InlineData("sht3x", "FFFF")]
    [InlineData("sht4x", "0000")]
    [InlineData("sht4x", "FFFF")]
    [InlineData("scd4x", "FFFF")]
    public void A_temperature_at_either_end_of_its_register_is_uncertain(string kind, string word)
    {
        var bytes = Convert.FromHexString(word);
        var temperature = Convert.ToHexString([.. bytes, Crc8.Sensirion(bytes)]);
        var measurement = kind switch
        {
            "sht3x" => Measure(kind, 0x44, SimulatedChips.Sht3x(_world.Waits, temperature + "8000A2")),
            "sht4x" => Measure(kind, 0x44, SimulatedChips.Sht4x(temperature + "8000A2")),
            _ => Measure(kind, 0x62, SimulatedChips.Scd4x(() => true, $"01F433{temperature}5EB93C")),
        };
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.Range), (measurement.Quality, measurement.Reason));
    }

    [Fact]
    public void A_shunt_that_the_chip_cannot_be_calibrated_for_is_refused()
    {
        var exception = Assert.Throws<SensorSettingsException>(() => _world.Create(SensorFixture.Settings("ina219", "\"shuntOhms\":100,\"maxAmperes\":1000")));
        Assert.StartsWith("maxAmperes: 1000 with shuntOhms 100", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ads1115_measures_each_channel()
    {
        var chip = new SimulatedChips.Converter(_world.Waits, 0x3E80);
        var configs = new List<string>();
        var take = chip.Written;
        chip.Written = (register, value) =>
        {
            configs.Add($"{register}{Convert.ToHexString(value)}");
            take(register, value);
        };
        AssertGood(Measure("ads1115", 0x48, chip, "\"channels\":[0,3]"), ("voltage0", 2), ("voltage3", 2));
        Assert.Equal(["1C383", "1F383"], configs);
    }

    [Theory]
    [InlineData(0x7FFF)]
    [InlineData(0x8000)]
    public void Ads1115_at_the_end_of_its_range_is_uncertain(int raw)
    {
        var measurement = Measure("ads1115", 0x48, new SimulatedChips.Converter(_world.Waits, raw), "\"channels\":[0]");
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.OverRange), (measurement.Quality, measurement.Reason));
    }

    [Fact]
    public void Bh1750_measures() => AssertGood(
        Measure("bh1750", 0x23, new CommandChip(command => command is [0x20] ? [0x83, 0x90] : null)), ("illuminance", 28066.7));

    [Theory]
    [InlineData(0xC194, 25.25)]
    [InlineData(0x1FF0, -1)]
    [InlineData(0x0000, 0)]
    public void Mcp9808_measures(int word, double celsius) => AssertGood(
        Measure("mcp9808", 0x18, WordChip((5, word), (6, 0x0054), (7, 0x0400))), ("temperature", celsius));

    [Fact]
    public void An_mcp9808_without_its_id_is_invalid() => Assert.Equal(FaultReason.Invalid, Measure("mcp9808", 0x18, WordChip((5, 0xC194))).Reason);

    [Theory]
    [InlineData("lm75", 0x1940, 25.25)]
    [InlineData("lm75", 0xE700, -25)]
    [InlineData("tmp102", 0x1940, 25.25)]
    public void Lm75_and_tmp102_measure(string kind, int word, double celsius) =>
        AssertGood(Measure(kind, 0x48, WordChip((0, word))), ("temperature", celsius));

    [Fact]
    public void A_bus_that_reads_all_ones_gives_an_invalid_reading() => Assert.Equal(FaultReason.Invalid, Measure("lm75", 0x48, WordChip((0, 0xFFFF))).Reason);

    [Fact]
    public void Mcp3008_measures_each_channel()
    {
        var sent = new List<string>();
        _world.Spi = bytes =>
        {
            sent.Add(Convert.ToHexString(bytes));
            return [0xFF, 0xFA, 0x8A]; // The first bits are undefined.
        };
        AssertGood(_world.Measure("mcp3008", "\"channels\":[0,5]"), ("voltage0", 2.0947), ("voltage5", 2.0947));
        Assert.Equal(["018000", "018000", "018000", "01D000", "01D000", "01D000"], sent);
    }

    [Fact]
    public void A_missing_mcp3008_gives_an_invalid_reading()
    {
        _world.Spi = bytes => [0xFF, 0xFF, 0xFF];
        Assert.Equal(FaultReason.Invalid, _world.Measure("mcp3008").Reason);
    }
}
