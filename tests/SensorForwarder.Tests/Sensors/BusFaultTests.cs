using CsCheck;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The effect of bus faults on readings.</summary>
public sealed class BusFaultTests : IDisposable
{
    static readonly (string Kind, int Address)[] WithChecksum = [("sht3x", 0x44), ("sht4x", 0x46), ("aht20", 0x38), ("scd4x", 0x62)];

    readonly SensorFixture _world = new();

    public BusFaultTests()
    {
        _world.Bus.Chips[0x76] = SimulatedChips.Bme280();
        _world.Bus.Chips[0x44] = SimulatedChips.Sht3x(_world.Waits);
        _world.Bus.Chips[0x46] = SimulatedChips.Sht4x();
        _world.Bus.Chips[0x38] = SimulatedChips.Aht20();
        _world.Bus.Chips[0x62] = SimulatedChips.Scd4x(() => true);
    }

    public void Dispose() => _world.Dispose();

    SensorSession Session(string kind, int address, BusBreaker? breaker = null) =>
        _world.Session(SensorFixture.Settings(kind, $"\"address\":{address}"), breaker);

    static Measurement Measure(SensorSession session) => session.Measure(CancellationToken.None);

    [Theory]
    [InlineData(BusFault.Nack)]
    [InlineData(BusFault.ArbitrationLost)]
    public void A_transfer_that_fails_twice_is_retried_and_succeeds(BusFault fault)
    {
        using var session = Session("sht3x", 0x44);
        Measure(session);
        _world.Bus.Faults.Enqueue(fault);
        _world.Bus.Faults.Enqueue(fault);
        Assert.Equal(ReadingQuality.Good, Measure(session).Quality);
        Assert.Empty(_world.Bus.Faults);
    }

    [Fact]
    public void A_disconnected_chip_is_reported_as_io_then_backed_off_and_works_again_after_it_returns()
    {
        using var session = Session("bme280", 0x76);
        Assert.Equal(ReadingQuality.Good, Measure(session).Quality);
        var chip = _world.Bus.Chips[0x76];
        _world.Bus.Chips.Remove(0x76);
        for (var poll = 0; poll < 3; poll++) Assert.Equal(FaultReason.Io, Measure(session).Reason);

        var transfers = _world.Bus.Transfers;
        Assert.Equal(FaultReason.Io, Measure(session).Reason);
        Assert.Equal(transfers, _world.Bus.Transfers);

        _world.Bus.Chips[0x76] = chip;
        var opened = _world.Bus.Opened;
        _world.Waits.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(ReadingQuality.Good, Measure(session).Quality);
        Assert.True(_world.Bus.Opened > opened); // Reopened, which reads the calibration again.
    }

    [Fact]
    public void A_chip_missing_at_the_start_is_read_after_it_is_plugged_in()
    {
        var chip = _world.Bus.Chips[0x76];
        _world.Bus.Chips.Remove(0x76);
        using var session = Session("bme280", 0x76);
        for (var poll = 0; poll < 20; poll++)
        {
            Assert.Equal(FaultReason.Io, Measure(session).Reason);
            _world.Waits.Advance(TimeSpan.FromSeconds(30));
        }

        _world.Bus.Chips[0x76] = chip;
        _world.Waits.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(ReadingQuality.Good, Measure(session).Quality);
    }

    [Fact]
    public void A_chip_reset_at_any_transfer_never_gives_a_wrong_value()
    {
        for (var transfer = 0; transfer < 20; transfer++)
        {
            using var session = Session("bme280", 0x76);
            var good = Measure(session);
            for (var i = 0; i < transfer; i++) _world.Bus.Faults.Enqueue(BusFault.None);
            _world.Bus.Faults.Enqueue(BusFault.ChipReset);
            for (var poll = 0; poll < 3; poll++)
            {
                var measurement = Measure(session);
                if (measurement.Quality == ReadingQuality.Good) Assert.Equal(good.Values, measurement.Values);
            }

            Assert.Equal(ReadingQuality.Good, Measure(session).Quality);
        }
    }

    [Theory]
    [InlineData("ina219", 0x40)]
    [InlineData("ina226", 0x41)]
    [InlineData("ads1115", 0x48)]
    [InlineData("bh1750", 0x23)]
    [InlineData("tmp102", 0x49)]
    [InlineData("mcp9808", 0x18)]
    public void Zeros_that_a_chip_holds_after_a_reset_are_never_reported_as_good(string kind, int address)
    {
        var chips = new Dictionary<string, Func<SimulatedChip>>
        {
            ["ina219"] = () => new SimulatedChips.PowerMonitor(is226: false, ohms: 0.1),
            ["ina226"] = () => new SimulatedChips.PowerMonitor(is226: true, ohms: 0.1),
            ["ads1115"] = () => new SimulatedChips.Converter(_world.Waits, 0x3E80),
            ["bh1750"] = () => new SimulatedChips.LightSensor(_world.Waits),
            ["tmp102"] = () => new SimulatedChips.Thermometer(_world.Waits, 0, 0x1940),
            ["mcp9808"] = () => new SimulatedChips.Thermometer(_world.Waits, 5, 0xC194),
        };
        for (var transfer = 0; transfer < 64; transfer++)
        {
            _world.Bus.Chips[address] = chips[kind]();
            using var session = Session(kind, address);
            _world.Waits.Advance(TimeSpan.FromSeconds(1));
            var good = Measure(session);
            Assert.Equal(ReadingQuality.Good, good.Quality);
            for (var i = 0; i < transfer; i++) _world.Bus.Faults.Enqueue(BusFault.None);
            _world.Bus.Faults.Enqueue(BusFault.ChipReset);
            while (_world.Bus.Faults.Count > 0)
            {
                _world.Waits.Advance(TimeSpan.FromSeconds(20)); // Long enough for a real change of the temperature.
                var measurement = Measure(session);
                if (measurement.Quality == ReadingQuality.Good) Assert.Equal(good.Values, measurement.Values);
            }

            _world.Waits.Advance(TimeSpan.FromMinutes(1));
            Assert.Equal(good.Values, Measure(session).Values);
        }
    }

    [Fact]
    public void A_chip_swapped_between_two_readings_is_read_with_its_own_calibration()
    {
        using var session = Session("bme280", 0x76);
        Measure(session);
        var other = SimulatedChips.Bme280();
        other.Calibrate(temperature: 27000);
        _world.Bus.Chips[0x76] = other;
        using var fresh = Session("bme280", 0x76);
        var expected = Measure(fresh).Values;
        other.Reset();
        other.Calibrate(temperature: 27000);
        Assert.Equal(expected, Measure(session).Values);
        _world.Bus.Chips[0x76] = SimulatedChips.Bme280(0x58);
        Assert.Equal(FaultReason.Invalid, Measure(session).Reason);
    }

    [Fact]
    public void A_flipped_bit_or_half_a_transfer_never_passes_a_checksum()
    {
        foreach (var (kind, address) in WithChecksum)
        {
            foreach (var fault in (BusFault[])[BusFault.FlippedBit, BusFault.HalfTransfer])
            {
                using var session = Session(kind, address);
                var good = Measure(session);
                _world.Bus.Always = fault;
                Assert.True(Measure(session).Quality == ReadingQuality.Bad, $"{kind} {fault}");
                _world.Bus.Always = BusFault.None;
                var after = Measure(session);
                if (after.Values.Count > 0) Assert.Equal(good.Values, after.Values);
            }
        }
    }

    [Fact]
    public void A_transfer_with_one_bad_checksum_is_retried_at_once()
    {
        using var session = Session("sht4x", 0x46);
        Measure(session);
        _world.Bus.Faults.Enqueue(BusFault.None);
        _world.Bus.Faults.Enqueue(BusFault.FlippedBit);
        Assert.Equal(ReadingQuality.Good, Measure(session).Quality);
    }

    [Fact]
    public void Under_any_bus_faults_a_reading_is_correct_or_not_good() =>
        Gen.Int[0, 5].Select(fault => (BusFault)(fault == 4 ? 6 : fault)).Array[1, 60].Sample(
            faults =>
            {
                using var world = new SensorFixture();
                world.Bus.Chips[0x44] = SimulatedChips.Sht3x(world.Waits);
                foreach (var fault in faults) world.Bus.Faults.Enqueue(fault);
                using var session = world.Session(SensorFixture.Settings("sht3x"));
                for (var poll = 0; poll < 80; poll++)
                {
                    var measurement = session.Measure(CancellationToken.None);
                    if (measurement.Quality == ReadingQuality.Good) Assert.Equal([25, 50], measurement.Values.Select(value => value.Value));
                    else Assert.Empty(measurement.Values);
                    world.Waits.Advance(TimeSpan.FromSeconds(70));
                }

                Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
            },
            iter: Tier.Size("TEST_BUS_FAULT_RUNS", quick: 40, full: 200, deep: 2_000));

    [Fact]
    public void After_two_timeouts_a_bus_is_only_probed_every_30_s()
    {
        var breaker = new BusBreaker(_world.Waits);
        using var first = Session("sht3x", 0x44, breaker);
        using var second = Session("bme280", 0x76, breaker);
        _world.Bus.Always = BusFault.TimedOut;
        Assert.Equal(FaultReason.BusTimeout, Measure(first).Reason);
        Assert.Equal(FaultReason.BusTimeout, Measure(second).Reason);
        var transfers = _world.Bus.Transfers;
        Assert.Equal(2, transfers);
        for (var i = 0; i < 2; i++) Assert.Equal(FaultReason.BusTimeout, Measure(second).Reason);
        Assert.Equal(transfers, _world.Bus.Transfers);

        _world.Waits.Advance(BusBreaker.ProbeEvery);
        Measure(first);
        Measure(second);
        Assert.Equal(transfers + 1, _world.Bus.Transfers);

        _world.Bus.Always = BusFault.None;
        _world.Waits.Advance(TimeSpan.FromMinutes(2));
        Assert.Equal(ReadingQuality.Good, Measure(first).Quality);
        Assert.Equal(ReadingQuality.Good, Measure(second).Quality);
    }

    [Fact]
    public void An_address_claimed_by_a_kernel_driver_is_refused_with_the_kind_to_use_instead()
    {
        _world.Write("sys/bus/i2c/drivers/bmp280/x", "");
        _world.Link("sys/bus/i2c/devices/1-0076/driver", "../../drivers/bmp280");
        using var session = Session("bme280", 0x76);
        var measurement = Measure(session);
        Assert.Equal(FaultReason.KernelDriver, measurement.Reason);
        Assert.Contains("driver bmp280: use kind iio or hwmon with parent 1-0076", measurement.Detail, StringComparison.Ordinal);
        Assert.Equal(0, _world.Bus.Transfers);
    }

    [Fact]
    public void A_missing_bus_is_reported_as_absent_with_a_hint_how_to_enable_it()
    {
        var measurement = _world.Measure("bme280", "\"bus\":7");
        Assert.Equal(FaultReason.Absent, measurement.Reason);
        Assert.Contains("i2c-7 does not exist: set dtparam=i2c_arm=on", measurement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_chip_that_returns_the_same_bits_for_too_long_is_uncertain()
    {
        using var session = Session("bme280", 0x76);
        for (var poll = 1; poll < 20; poll++) Assert.Equal(ReadingQuality.Good, Measure(session).Quality);
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.Flatline), (Measure(session).Quality, Measure(session).Reason));
    }

    [Theory]
    [InlineData("Error 121 (Remote I/O error) performing I2C data transfer.", FaultReason.Io)]
    [InlineData("Error 121 performing I2C data transfer.", FaultReason.Io)]
    [InlineData("Error 110 (Connection timed out) performing I2C data transfer.", FaultReason.BusTimeout)]
    [InlineData("Error 6 (No such device or address) performing I2C data transfer.", FaultReason.Absent)]
    [InlineData("Error 16 (Device or resource busy) performing I2C data transfer.", FaultReason.Busy)]
    [InlineData("Error 13. Can not open I2C device file '/dev/i2c-1'.", FaultReason.Denied)]
    [InlineData("Error", FaultReason.Io)]
    [InlineData("Error 99999999999999999999", FaultReason.Io)]
    [InlineData("", FaultReason.Io)]
    public void The_fault_reason_is_derived_from_the_error_number_in_the_exception_message(string message, string reason) =>
        Assert.Equal(reason, SensorFault.From(new IOException(message), "chip").Reason);
}
