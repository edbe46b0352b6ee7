using SensorForwarder.Operations.Doctor;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Limits from the data sheets: waiting times, order of commands, timeouts, and values at or beyond the end of
/// the range.</summary>
public sealed class DriverLimitTests : IDisposable
{
    readonly SensorFixture _world = new();

    public void Dispose() => _world.Dispose();

    SensorSession Session(string kind, int address, SimulatedChip chip, string options = "")
    {
        _world.Bus.Chips[address] = chip;
        return _world.Session(
            SensorFixture.Settings(kind, $"\"address\":{address}{(options.Length > 0 ? "," : "")}{options}"));
    }

    Measurement Measure(string kind, int address, SimulatedChip chip, string options = "")
    {
        using var session = Session(kind, address, chip, options);
        return session.Measure(CancellationToken.None);
    }

    static string Crc(string hex)
    {
        var bytes = SimulatedChips.Bytes(hex);
        return Convert.ToHexString([.. bytes, Crc8.Sensirion(bytes)]);
    }

    static RegisterChip WordChip(params (int Register, int Word)[] registers)
    {
        var chip = new RegisterChip(2);
        foreach (var (register, word) in registers) chip.Words[register] = [(byte)(word >> 8), (byte)word];
        return chip;
    }

    [Theory]
    [InlineData("sht3x", 0x44, "3093 1, 30A2 2, 2400 16, read; 2400 16, read")]
    [InlineData("sht4x", 0x44, "FD 10, read; FD 10, read")]
    [InlineData("aht20", 0x38, "71 0, read, AC3300 80, read; AC3300 80, read")]
    [InlineData("scd4x", 0x62, "3F86 500, 21B1 0, E4B8 1, read, EC05 1, read; E4B8 1, read, EC05 1, read")]
    [InlineData("bh1750", 0x23, "01 0, 20 180, read, read; 01 0, 20 180, read, read")]
    public void A_chip_is_started_once_and_given_the_waiting_times_of_its_data_sheet(
        string kind, int address, string expected)
    {
        var chip = new WatchedChip(_world.Waits, kind switch
        {
            "sht3x" => SimulatedChips.Sht3x(_world.Waits),
            "sht4x" => SimulatedChips.Sht4x(),
            "aht20" => SimulatedChips.Aht20(),
            "scd4x" => SimulatedChips.Scd4x(() => true),
            _ => new CommandChip(_ => [0x83, 0x90]),
        });
        using var session = Session(kind, address, chip);
        var told = new List<string>();
        for (var poll = 0; poll < 2; poll++)
        {
            Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
            told.Add(chip.Take());
        }

        Assert.Equal(expected, string.Join("; ", told));
    }

    [Fact]
    public void An_aht20_is_given_time_to_wake_up_and_to_calibrate()
    {
        var before = _world.Waits.GetTimestamp();
        var chip = new WatchedChip(_world.Waits, SimulatedChips.Aht20(status: 0x10));
        Measure("aht20", 0x38, chip);
        Assert.True(_world.Waits.GetElapsedTime(before, chip.FirstAt) >= TimeSpan.FromMilliseconds(40));
        Assert.StartsWith("71 0, read, BE0800 10, AC3300 80", chip.Take(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_register_chip_is_given_the_waiting_times_of_its_data_sheet()
    {
        var bosch = new WatchedChip(_world.Waits, SimulatedChips.Bme280());
        Measure("bme280", 0x76, bosch);
        var told = bosch.Take();
        Assert.Contains("E0B6 2, ", told, StringComparison.Ordinal);
        Assert.Contains("F500 0, F201 0, F425 10, ", told, StringComparison.Ordinal);
        var converter = new WatchedChip(_world.Waits, new SimulatedChips.Converter(_world.Waits, 0x3E80));
        var before = _world.Waits.GetTimestamp();
        Measure("ads1115", 0x48, converter, "\"channels\":[0]");
        Assert.StartsWith("01C383 0, 01 0, read, 01 0, read, 01 0, read", converter.Take(), StringComparison.Ordinal);
        Assert.Equal(TimeSpan.FromMilliseconds(9), _world.Waits.GetElapsedTime(before));
        foreach (var (kind, milliseconds) in (List<(string Kind, int Milliseconds)>)[("ina219", 2), ("ina226", 4)])
        {
            var monitor = new WatchedChip(_world.Waits, new SimulatedChips.PowerMonitor(kind == "ina226", ohms: 0.1));
            Measure(kind, 0x40, monitor);
            Assert.Matches($"00[0-9A-F]{{4}} {milliseconds}, ", monitor.Take());
        }
    }

    [Theory]
    [InlineData("ads1115", 0x48, 9)]
    [InlineData("aht20", 0x38, 4)]
    [InlineData("bme280", 0x76, 19)]
    public void A_slow_chip_is_waited_for_up_to_a_limit(string kind, int address, int asked)
    {
        foreach (var (reads, isGood) in (List<(int Reads, bool IsGood)>)[(asked, true), (1000, false)])
        {
            var measurement = Measure(kind, address, new BusyChip(kind, reads));
            Assert.True(isGood == (measurement.Quality == ReadingQuality.Good), measurement.ToString());
            if (isGood) continue;
            Assert.Equal(FaultReason.Invalid, measurement.Reason);
            Assert.Contains("does not finish", measurement.Detail, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void All_bits_of_an_aht20_frame_are_used()
    {
        var frame = "1CA5A5A6B4C7";
        var measurement = Measure("aht20", 0x38, SimulatedChips.Aht20(Crc(frame)));
        Assert.Equal([33.83, 64.71], measurement.Values.Select(value => value.Value));
    }

    [Fact]
    public void An_aht20_that_lost_its_calibration_is_invalid() =>
        Assert.Equal(FaultReason.Invalid, Measure("aht20", 0x38, SimulatedChips.Aht20(Crc("14A5A5A6B4C7"))).Reason);

    [Theory]
    [InlineData(0xFFFF, "Uncertain", 54612.5)]
    [InlineData(0xFFFE, "Good", 54611.7)]
    [InlineData(0x0001, "Good", 0.8)]
    [InlineData(0x0000, "Good", 0)]
    public void Bh1750_is_uncertain_only_at_the_upper_end_of_its_range(int raw, string quality, double lux)
    {
        var chip = new CommandChip(_ => [(byte)(raw >> 8), (byte)raw]);
        var measurement = Measure("bh1750", 0x23, chip);
        Assert.Equal((quality, lux), (measurement.Quality.ToString(), measurement.Values[0].Value));
        Assert.Equal(raw == 0 ? 2 : 1, chip.Commands.Count(command => command == "20"));
    }

    /// <summary>The expected values are from the floating-point formulas (data sheet, section 8.1).</summary>
    [Theory]
    [InlineData(0x60000, 415148, 30000, 0, -14.79, 945.953, 53.29)]
    [InlineData(0x60000, 0x50000, 30000, 200, -14.79, 1087.512, 55.05)]
    [InlineData(0x70000, 0x70000, 25000, 200, 5.89, 904.330, 27.61)]
    [InlineData(0x92000, 415148, 30000, 100, 49.49, 1044.316, 56.81)]
    [InlineData(0x9C000, 415148, 30000, 200, 62.23, 1064.143, 59.95)]
    public void Bme280_follows_the_data_sheet_formulas_over_its_range(
        int temperature, int pressure, int humidity, int h3, double celsius, double hectopascals, double percent)
    {
        var chip = SimulatedChips.Bme280();
        var take = chip.Written;
        chip.Written = (register, value) =>
        {
            take(register, value);
            if (register == 0xE0) chip.Bytes[0xE3] = (byte)h3;
        };
        chip.Raw = BoschRaw(temperature, pressure, humidity);
        var measurement = Measure("bme280", 0x76, chip);
        Assert.Equal(ReadingQuality.Good, measurement.Quality);
        Assert.Equal(celsius, measurement.Values[0].Value, 0.02);
        Assert.Equal(hectopascals, measurement.Values[1].Value, 0.05);
        Assert.Equal(percent, measurement.Values[2].Value, 0.06);
    }

    [Theory]
    [InlineData(0x80000, 0x655AC, 30000, "Bad", FaultReason.Invalid)]
    [InlineData(0xFFFFF, 0x655AC, 30000, "Bad", FaultReason.Invalid)]
    [InlineData(0x00000, 0x655AC, 30000, "Bad", FaultReason.Invalid)]
    [InlineData(0x7EED0, 0x80000, 30000, "Bad", FaultReason.Invalid)]
    [InlineData(0x7EED0, 0xFFFFF, 30000, "Bad", FaultReason.Invalid)]
    [InlineData(0x7EED0, 0x00000, 30000, "Bad", FaultReason.Invalid)]
    [InlineData(0x7EED0, 0x655AC, 0x8000, "Bad", FaultReason.Invalid)]
    [InlineData(0x40000, 0x655AC, 30000, "Uncertain", FaultReason.Range)]
    [InlineData(0xB0000, 0x655AC, 30000, "Uncertain", FaultReason.Range)]
    [InlineData(0x7EED0, 0x50000, 30000, "Uncertain", FaultReason.Range)]
    [InlineData(0x7EED0, 0xE0000, 30000, "Uncertain", FaultReason.Range)]
    public void A_value_that_a_bme280_cannot_have_measured_is_not_good(
        int temperature, int pressure, int humidity, string quality, string reason)
    {
        var chip = SimulatedChips.Bme280();
        chip.Raw = BoschRaw(temperature, pressure, humidity);
        var measurement = Measure("bme280", 0x76, chip);
        Assert.Equal((quality, reason), (measurement.Quality.ToString(), measurement.Reason));
        Assert.Equal(quality == "Bad", measurement.Values.Count == 0);
    }

    [Fact]
    public void A_bme280_with_an_empty_calibration_is_invalid()
    {
        var chip = SimulatedChips.Bme280();
        var take = chip.Written;
        chip.Written = (register, value) =>
        {
            take(register, value);
            if (register == 0xE0) chip.Bytes.AsSpan(0x88, 26).Clear();
        };
        var measurement = Measure("bme280", 0x76, chip);
        Assert.Equal(FaultReason.Invalid, measurement.Reason);
        Assert.Contains("calibration is empty", measurement.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lm75", 0xC900, -55, true)]
    [InlineData("lm75", 0xC8F0, -55.0625, false)]
    [InlineData("lm75", 0x7FF0, 127.9375, true)]
    [InlineData("mcp9808", 0x0800, 128, true)]
    [InlineData("mcp9808", 0x0801, 128.0625, false)]
    public void A_thermometer_beyond_its_range_is_uncertain(string kind, int word, double celsius, bool isGood)
    {
        var isMcp = kind == "mcp9808";
        var chip = isMcp ? WordChip((5, word), (6, 0x0054), (7, 0x0400)) : WordChip((0, word));
        var measurement = Measure(kind, isMcp ? 0x18 : 0x48, chip);
        Assert.Equal(celsius, measurement.Values[0].Value);
        Assert.Equal(isGood, measurement.Quality == ReadingQuality.Good);
        if (!isGood) Assert.Equal(FaultReason.Range, measurement.Reason);
    }

    [Theory]
    [InlineData(0x0054, 0x0500)]
    [InlineData(0x0055, 0x0400)]
    public void An_mcp9808_with_a_wrong_manufacturer_or_device_id_is_invalid(int maker, int device) => Assert.Equal(
        FaultReason.Invalid, Measure("mcp9808", 0x18, WordChip((5, 0xC194), (6, maker), (7, device))).Reason);

    [Theory]
    [InlineData("0", 1023, true)]
    [InlineData("0,5", 1023, true)]
    [InlineData("0", 1022, false)]
    public void Mcp3008_at_its_reference_voltage_is_over_range(string channels, int raw, bool isSaturated)
    {
        _world.Spi = _ => [0xFF, (byte)(0xF8 | (raw >> 8)), (byte)raw];
        var measurement = _world.Measure("mcp3008", $"\"channels\":[{channels}],\"referenceVolts\":5");
        Assert.Equal(Math.Round(raw * 5 / 1024.0, 4), measurement.Values[0].Value);
        Assert.Equal(isSaturated ? FaultReason.OverRange : null, measurement.Reason);
    }

    [Fact]
    public void One_mcp3008_input_at_its_reference_voltage_makes_the_reading_over_range()
    {
        _world.Spi = bytes => bytes[1] == 0x80 ? [0xFF, 0xFB, 0xFF] : [0xFF, 0xF8, 0x00];
        Assert.Equal(FaultReason.OverRange, _world.Measure("mcp3008", "\"channels\":[0,5]").Reason);
    }

    [Theory]
    [InlineData("6.144", 0xC183, 3)]
    [InlineData("2.048", 0xC583, 1)]
    [InlineData("1.024", 0xC783, 0.5)]
    [InlineData("0.512", 0xC983, 0.25)]
    [InlineData("0.256", 0xCB83, 0.125)]
    public void Ads1115_measures_in_the_configured_range(string fullScale, int config, double volts)
    {
        var chip = new SimulatedChips.Converter(_world.Waits, 16_000);
        var written = new List<string>();
        var take = chip.Written;
        chip.Written = (register, value) =>
        {
            written.Add(Convert.ToHexString(value));
            take(register, value);
        };
        var measurement = Measure("ads1115", 0x48, chip, $"\"channels\":[0],\"fullScaleVolts\":\"{fullScale}\"");
        Assert.Equal([config.ToString("X4", System.Globalization.CultureInfo.InvariantCulture)], written);
        Assert.Equal(volts, measurement.Values[0].Value);
    }

    [Fact]
    public void Two_ads1115_inputs_beyond_the_range_make_the_reading_over_range() => Assert.Equal(
        FaultReason.OverRange, Measure("ads1115", 0x48, new SimulatedChips.Converter(_world.Waits, 0x7FFF), "\"channels\":[0,1]").Reason);

    [Fact]
    public void An_ads1115_that_does_not_keep_its_configuration_is_invalid()
    {
        var chip = WordChip((0, 0x3E80));
        chip.Written = (register, _) => chip.Words[register] = [0x85, 0x83];
        var measurement = Measure("ads1115", 0x48, chip);
        Assert.Equal(FaultReason.Invalid, measurement.Reason);
        Assert.Contains("does not keep its configuration", measurement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_power_monitor_that_does_not_keep_its_calibration_is_invalid()
    {
        var chip = WordChip((0, 0x399F));
        chip.Written = (register, _) => chip.Words[register] = register == 0 ? [0x39, 0x9B] : [0, 0];
        var measurement = Measure("ina219", 0x40, chip);
        Assert.Equal(FaultReason.Invalid, measurement.Reason);
        Assert.Contains("does not keep its calibration", measurement.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ina219", 5, 12, "above the 3.2 A")]
    [InlineData("ina226", 5, 12, "above the 0.819 A")]
    [InlineData("ina219", 0.1, 50, "above the 32 V")]
    [InlineData("ina226", 0.1, 50, "above the 40.96 V")]
    public void A_power_monitor_over_its_range_reports_its_limit(string kind, double amperes, double volts, string detail)
    {
        var chip = new SimulatedChips.PowerMonitor(kind == "ina226", ohms: 0.1) { Amperes = amperes, Volts = volts };
        Assert.Contains(detail, Measure(kind, 0x40, chip).Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0000", "Uncertain")]
    [InlineData("9C40", "Good")]
    [InlineData("9C41", "Uncertain")]
    public void An_scd4x_beyond_its_range_is_uncertain(string co2, string quality)
    {
        var chip = SimulatedChips.Scd4x(() => true, $"{Crc(co2)}6667A25EB93C");
        Assert.Equal(quality, Measure("scd4x", 0x62, chip).Quality.ToString());
    }

    [Fact]
    public void An_scd4x_that_returns_the_same_bits_for_too_long_is_uncertain()
    {
        using var session = Session("scd4x", 0x62, SimulatedChips.Scd4x(() => true));
        for (var poll = 1; poll < 20; poll++)
            Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        Assert.Equal(FaultReason.Flatline, session.Measure(CancellationToken.None).Reason);
    }

    [Fact]
    public void A_different_value_restarts_the_count_of_identical_readings()
    {
        var frame = "01F433 6667A2 5EB93C";
        var chip = new CommandChip(command => command switch
        {
            [0xE4, 0xB8] => SimulatedChips.Bytes(Crc("8006")),
            [0xEC, 0x05] => SimulatedChips.Bytes(frame),
            _ => null,
        });
        using var session = Session("scd4x", 0x62, chip);
        for (var poll = 0; poll < 38; poll++)
        {
            frame = poll == 19 ? $"{Crc("01F5")} 6667A2 5EB93C" : "01F433 6667A2 5EB93C";
            Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        }
    }

    [Fact]
    public void A_missing_SPI_bus_is_reported_as_absent_with_a_hint_how_to_enable_it()
    {
        var measurement = _world.Measure("mcp3008", "\"bus\":1,\"chipSelect\":1");
        Assert.Equal(FaultReason.Absent, measurement.Reason);
        Assert.Contains("spidev1.1 does not exist: set dtparam=spi=on", measurement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_failed_SPI_transfer_is_reported_as_io_with_its_chip_select()
    {
        _world.Spi = _ => throw new IOException("Error 5 performing SPI data transfer.");
        var measurement = _world.Measure("mcp3008");
        Assert.Equal(FaultReason.Io, measurement.Reason);
        Assert.Contains("chip select 0 on SPI bus 0", measurement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Two_sensors_share_a_bus_worker_only_if_they_are_on_the_same_bus()
    {
        static string? Bus(string kind, string options) =>
            Module.SensorKinds.All.Single(described => described.Name == kind).Bus(SensorFixture.Settings(kind, options));
        Assert.Equal(Bus("sht3x", "\"bus\":3"), Bus("bme280", "\"bus\":3"));
        Assert.NotEqual(Bus("sht3x", "\"bus\":3"), Bus("sht3x", "\"bus\":4"));
        Assert.Equal(Bus("mcp3008", "\"bus\":1"), Bus("mcp3008", "\"bus\":1,\"chipSelect\":1"));
        Assert.NotEqual(Bus("mcp3008", "\"bus\":1"), Bus("mcp3008", "\"bus\":0"));
        Assert.NotEqual(Bus("mcp3008", "\"bus\":1"), Bus("sht3x", "\"bus\":1"));
    }

    [Fact]
    public void The_doctor_identifies_each_chip_by_its_answers()
    {
        var chips = new Dictionary<int, (SimulatedChip Chip, string[] Kinds)>
        {
            [0x18] = (WordChip((6, 0x0054)), ["mcp9808"]),
            [0x19] = (WordChip((6, 0x0055)), []),
            [0x23] = (new CommandChip(_ => null), []),
            [0x38] = (SimulatedChips.Aht20(), ["aht20"]),
            [0x40] = (WordChip((0, 0x399F)), ["ina219"]),
            [0x41] = (WordChip((0xFF, 0x2260)), ["ina226"]),
            [0x42] = (WordChip((0, 0x399E)), []),
            [0x44] = (Sht3xStatus("0000"), []), // A data line held low also yields a valid checksum.
            [0x45] = (Sht3xStatus("8010"), ["sht3x"]),
            [0x48] = (WordChip((1, 0x8583)), ["ads1115"]),
            [0x62] = (SimulatedChips.Scd4x(() => true), ["scd4x"]),
            [0x76] = (SimulatedChips.Bme280(0x58), ["bmp280"]),
            [0x77] = (SimulatedChips.Bme280(), ["bme280"]),
        };
        foreach (var (address, (chip, _)) in chips) _world.Bus.Chips[address] = chip;
        var found = Examination.Make(Module.SensorKinds, _world.WorldOn(_world.Waits), []).Chips;
        foreach (var (address, (_, kinds)) in chips)
        {
            var chip = found.SingleOrDefault(chip => chip.Address == address);
            Assert.Equal((address, string.Join(", ", kinds)), (address, string.Join(", ", chip?.Kinds ?? [])));
        }

        static CommandChip Sht3xStatus(string word) =>
            new(command => command is [0xF3, 0x2D] ? SimulatedChips.Bytes(Crc(word)) : null);
    }

    static byte[] BoschRaw(int temperature, int pressure, int humidity) =>
    [
        (byte)(pressure >> 12), (byte)(pressure >> 4), (byte)(pressure << 4),
        (byte)(temperature >> 12), (byte)(temperature >> 4), (byte)(temperature << 4),
        (byte)(humidity >> 8), (byte)humidity,
    ];

    /// <summary>Records the transfers of a chip and the milliseconds until the next transfer.</summary>
    sealed class WatchedChip(TimeProvider clock, SimulatedChip chip) : SimulatedChip
    {
        readonly List<(string What, long At)> _transfers = [];

        public long FirstAt => _transfers[0].At;

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            _transfers.Add((Convert.ToHexString(bytes), clock.GetTimestamp()));
            chip.Write(bytes);
        }

        public override void Read(Span<byte> bytes)
        {
            _transfers.Add(("read", clock.GetTimestamp()));
            chip.Read(bytes);
        }

        public string Take()
        {
            var lines = _transfers.Select((transfer, i) =>
            {
                var next = _transfers[Math.Min(i + 1, _transfers.Count - 1)].At;
                var waited = clock.GetElapsedTime(transfer.At, next).TotalMilliseconds;
                return transfer.What == "read" ? "read" : $"{transfer.What} {waited:0}";
            });
            var text = string.Join(", ", lines);
            _transfers.Clear();
            return text;
        }
    }

    /// <summary>A chip that reports "not ready" for a number of reads.</summary>
    sealed class BusyChip(string kind, int reads) : SimulatedChip
    {
        readonly SimulatedChip _chip = kind switch
        {
            "ads1115" => WordChip((0, 0x3E80)), // Read clears its ready bit while busy
            "aht20" => SimulatedChips.Aht20(),
            _ => SimulatedChips.Bme280(),
        };

        byte[] _written = [];
        int _left;

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            _written = bytes.ToArray();
            if (_written is [0xAC, ..] or [0x01, _, _] or [0xF4, _]) _left = reads;
            _chip.Write(bytes);
        }

        public override void Read(Span<byte> bytes)
        {
            _chip.Read(bytes);
            if (_written is not ([0xAC, ..] or [0x01] or [0xF3]) || _left-- <= 0) return;
            if (kind == "ads1115") bytes[0] &= 0x7F;
            else bytes[0] |= kind == "aht20" ? (byte)0x80 : (byte)0x08;
        }
    }
}
