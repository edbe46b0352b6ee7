using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Sensors in sysfs, on directory trees with the peculiarities of real kernels.</summary>
public sealed class KernelSourceTests : IDisposable
{
    readonly SensorFixture _world = new();

    public void Dispose() => _world.Dispose();

    /// <summary>Creates an IIO device like the kernel: a link into its parent's directory.</summary>
    void Iio(int number, string parent, string name, params (string File, string Content)[] files)
    {
        var directory = $"sys/devices/i2c-1/{parent}/iio:device{number}";
        _world.Write($"{directory}/name", name + "\n");
        foreach (var (file, content) in files) _world.Write($"{directory}/{file}", content);
        _world.Link($"sys/bus/iio/devices/iio:device{number}", $"../../../devices/i2c-1/{parent}/iio:device{number}");
    }

    /// <summary>Creates a hwmon device: also a link, with a link back to its parent.</summary>
    void Hwmon(int number, string parent, string name, params (string File, string Content)[] files)
    {
        var directory = $"sys/devices/i2c-1/{parent}/hwmon/hwmon{number}";
        _world.Write($"{directory}/name", name + "\n");
        foreach (var (file, content) in files) _world.Write($"{directory}/{file}", content);
        _world.Link($"{directory}/device", $"../../../{parent}");
        _world.Link($"sys/class/hwmon/hwmon{number}", $"../../devices/i2c-1/{parent}/hwmon/hwmon{number}");
    }

    void Remove(string link) => Directory.Delete(Path.Combine(_world.Root, link));

    static void AssertGood(Measurement measurement, params (string Name, double Value)[] expected)
    {
        Assert.True(measurement.Quality == ReadingQuality.Good, measurement.ToString());
        Assert.Equal(expected.Select(value => KeyValuePair.Create(value.Name, value.Value)).OrderBy(value => value.Key), measurement.Values.OrderBy(value => value.Key));
    }

    [Fact]
    public void Iio_values_are_converted_to_the_published_units()
    {
        Iio(0, "1-0076", "bme280", ("in_temp_input", "25080\n"), ("in_pressure_input", "100.653253906\n"), ("in_humidityrelative_input", "54997\n"));
        AssertGood(_world.Measure("iio", "\"device\":\"bme280\""), ("temperature", 25.08), ("pressure", 1006.532539), ("humidity", 54.997));
    }

    [Fact]
    public void Iio_values_are_computed_from_raw_values_with_own_and_shared_scales()
    {
        Iio(0, "1-0048", "ads1015",
            ("in_voltage0_raw", "1000"), ("in_voltage0_scale", "2"), ("in_voltage1_raw", "1000"), ("in_voltage_scale", "3"),
            ("in_voltage0-voltage1_raw", "-10"), ("in_voltage-voltage_scale", "4"), ("in_temp_raw", "100"), ("in_temp_offset", "20"), ("in_temp_scale", "62.5"));
        AssertGood(_world.Measure("iio", "\"device\":\"ads1015\""),
            ("voltage0", 2), ("voltage1", 3), ("voltage0Voltage1", -0.04), ("temperature", 7.5));
        Iio(1, "1-0068", "mpu6050", ("in_accel_x_raw", "1000"), ("in_accel_scale", "0.001"), ("in_anglvel_z_raw", "2"), ("in_anglvel_z_scale", "0.5"));
        AssertGood(_world.Measure("iio", "\"device\":\"mpu6050\""), ("accelX", 1), ("anglvelZ", 1));
        Iio(2, "1-0062", "scd4x", ("in_concentration_co2_raw", "500"), ("in_concentration_co2_scale", "0.0001"), ("in_temp_object_raw", "10"), ("in_temp_scale", "100"));
        AssertGood(_world.Measure("iio", "\"device\":\"scd4x\""), ("co2", 500), ("temperatureObject", 1));
        Iio(3, "1-0023", "bh1750", ("in_illuminance_raw", "120"), ("in_illuminance_scale", "0.5"), ("in_current0_raw", "7"), ("in_power_raw", "9"), ("in_distance_input", "1.5"));
        AssertGood(_world.Measure("iio", "\"device\":\"bh1750\""), ("illuminance", 60), ("current0", 0.007), ("power", 0.009), ("distance", 1.5));
    }

    [Fact]
    public void Hwmon_values_are_converted_to_the_published_units()
    {
        Hwmon(0, "1-0044", "sht3x", ("temp1_input", "24998\n"), ("humidity1_input", "50000\n"), ("temp1_max", "99"));
        AssertGood(_world.Measure("hwmon", "\"device\":\"sht3x\""), ("temperature", 24.998), ("humidity", 50));
        Hwmon(1, "1-0040", "ina219", ("in0_input", "20"), ("in1_input", "11980"), ("curr1_input", "-1500"), ("power1_input", "119800000"), ("fan2_input", "900"), ("temp2_input", "-500"));
        AssertGood(_world.Measure("hwmon", "\"device\":\"ina219\""),
            ("voltage0", 0.02), ("voltage1", 11.98), ("current", -1.5), ("power", 119.8), ("fan2", 900), ("temperature2", -0.5));
        Hwmon(2, "soc", "rpi_volt", ("in0_lcrit_alarm", "1"));
        AssertGood(_world.Measure("hwmon", "\"device\":\"rpi_volt\""), ("undervoltage", 1));
        AssertGood(_world.Measure("hwmon", "\"device\":\"ina219\",\"channels\":[\"curr1\"]"), ("current", -1.5));
    }

    [Fact]
    public void Channels_that_the_kernel_adds_after_the_first_reading_are_read()
    {
        Iio(0, "1-0076", "bme280", ("in_temp_input", "25080"));
        using var session = _world.Session(SensorFixture.Settings("iio", "\"device\":\"bme280\""));
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 25.08));
        _world.Write("sys/devices/i2c-1/1-0076/iio:device0/in_pressure_input", "100");
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 25.08), ("pressure", 1000));
        _world.Write("sys/devices/i2c-1/1-0076/iio:device0/in_humidityrelative_input", "50000");
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 25.08), ("pressure", 1000), ("humidity", 50));
    }

    [Fact]
    public void Thermal_zones_are_found_by_type()
    {
        _world.Write("sys/class/thermal/thermal_zone0/type", "gpu-thermal");
        _world.Write("sys/class/thermal/thermal_zone1/type", "cpu-thermal");
        _world.Write("sys/class/thermal/thermal_zone1/temp", "48312\n");
        AssertGood(_world.Measure("thermal", "\"zone\":\"cpu-thermal\""), ("temperature", 48.312));
    }

    [Fact]
    public void A_renumbered_device_is_found_again_and_not_confused_with_the_device_that_got_its_number()
    {
        Hwmon(0, "1-0044", "sht3x", ("temp1_input", "21000"));
        Hwmon(1, "1-0045", "sht3x", ("temp1_input", "99000"));
        using var session = _world.Session(SensorFixture.Settings("hwmon", "\"device\":\"sht3x\",\"parent\":\"1-0044\""));
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 21));

        // As after a hot-plug: the other device now has the first one's number.
        Remove("sys/class/hwmon/hwmon0");
        Remove("sys/class/hwmon/hwmon1");
        Hwmon(0, "1-0045", "sht3x", ("temp1_input", "99000"));
        Hwmon(2, "1-0044", "sht3x", ("temp1_input", "22000"));
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 22));
    }

    [Fact]
    public void Two_devices_with_the_same_name_need_a_parent_and_the_message_lists_both()
    {
        Hwmon(0, "1-0044", "sht3x", ("temp1_input", "21000"));
        Hwmon(1, "1-0045", "sht3x", ("temp1_input", "22000"));
        var measurement = _world.Measure("hwmon", "\"device\":\"sht3x\"");
        Assert.Equal(FaultReason.Ambiguous, measurement.Reason);
        Assert.Contains("sht3x at 1-0044, sht3x at 1-0045", measurement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_removed_device_is_absent_and_works_again_after_it_returns()
    {
        Iio(0, "1-0076", "bme280", ("in_temp_input", "25080"));
        using var session = _world.Session(SensorFixture.Settings("iio", "\"device\":\"bme280\""));
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 25.08));
        Remove("sys/bus/iio/devices/iio:device0");
        for (var poll = 0; poll < 5; poll++) Assert.Equal(FaultReason.Absent, session.Measure(CancellationToken.None).Reason);
        Iio(4, "1-0076", "bme280", ("in_temp_input", "26000"));
        _world.Waits.Advance(TimeSpan.FromMinutes(1));
        AssertGood(session.Measure(CancellationToken.None), ("temperature", 26));
    }

    [Fact]
    public void For_a_missing_device_or_channel_the_message_lists_the_existing_ones()
    {
        Iio(0, "1-0076", "bme280", ("in_temp_input", "1"));
        Assert.Contains("has no bmp280; it has bme280 at 1-0076", _world.Measure("iio", "\"device\":\"bmp280\"").Detail, StringComparison.Ordinal);
        Assert.Contains("it has nothing", _world.Measure("hwmon", "\"device\":\"x\"").Detail, StringComparison.Ordinal);
        Assert.Contains("bme280 at 1-0076 has no channel pressure; it has temp", _world.Measure("iio", "\"device\":\"bme280\",\"channels\":[\"pressure\"]").Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", FaultReason.Io)]
    [InlineData("\n", FaultReason.Io)]
    [InlineData("none", FaultReason.Invalid)]
    [InlineData("NaN", FaultReason.Invalid)]
    [InlineData("1e999", FaultReason.Invalid)]
    public void An_empty_or_malformed_file_gives_a_bad_reading(string content, string reason)
    {
        Hwmon(0, "1-0044", "sht3x", ("temp1_input", content));
        Assert.Equal(reason, _world.Measure("hwmon", "\"device\":\"sht3x\"").Reason);
    }

    [Fact]
    public void A_failed_channel_is_omitted_and_makes_the_reading_uncertain()
    {
        Hwmon(0, "1-0044", "sht3x", ("temp1_input", "21000"), ("humidity1_input", ""));
        var measurement = _world.Measure("hwmon", "\"device\":\"sht3x\"");
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.Partial), (measurement.Quality, measurement.Reason));
        Assert.Equal([KeyValuePair.Create("temperature", 21.0)], measurement.Values);
    }

    [Fact]
    public void A_read_error_of_the_kernel_is_reported_as_io()
    {
        Hwmon(0, "1-0044", "sht3x");
        Directory.CreateDirectory(Path.Combine(_world.Root, "sys/devices/i2c-1/1-0044/hwmon/hwmon0/temp2_input")); // EISDIR
        _world.Write("sys/devices/i2c-1/1-0044/hwmon/hwmon0/temp1_input", "5");
        Directory.CreateSymbolicLink(Path.Combine(_world.Root, "sys/devices/i2c-1/1-0044/hwmon/hwmon0/temp3_input"), "/proc/self/mem"); // EIO at 0
        Assert.Equal(FaultReason.Partial, _world.Measure("hwmon", "\"device\":\"sht3x\"").Reason);
        Assert.Equal(FaultReason.Io, _world.Measure("hwmon", "\"device\":\"sht3x\",\"channels\":[\"temp3\"]").Reason);
    }

    [Fact]
    public void A_hwmon_channel_with_its_fault_flag_set_is_invalid()
    {
        Hwmon(0, "1-0044", "max31865", ("temp1_input", "999000"), ("temp1_fault", "1"));
        Assert.Equal(FaultReason.Invalid, _world.Measure("hwmon", "\"device\":\"max31865\"").Reason);
    }

    const string Device = "28-0316a2795e1f";

    void OneWire(string content, string device = Device) => _world.Write($"sys/bus/w1/devices/{device}/w1_slave", content);

    [Theory]
    [InlineData("91 01 4b 46 7f ff 0f 10 25", "25062", 25.062)]
    [InlineData("70 fe 4b 46 7f ff 10 10 e7", "-25000", -25)]
    public void A_1_wire_temperature_is_read_with_and_without_a_device_name(string scratchpad, string thousandths, double celsius)
    {
        OneWire($"{scratchpad} : crc={scratchpad[^2..]} YES\n{scratchpad} t={thousandths}\n");
        AssertGood(_world.Measure("w1"), ("temperature", celsius));
        AssertGood(_world.Measure("w1", $"\"device\":\"{Device}\""), ("temperature", celsius));
    }

    [Fact]
    public void The_power_on_value_of_85_degrees_is_rejected_and_a_measured_85_degrees_is_good()
    {
        const string PowerOn = "50 05 4b 46 7f ff 0c 10 1c";
        OneWire($"{PowerOn} : crc=1c YES\n{PowerOn} t=85000\n");
        Assert.Equal(FaultReason.PowerOn, _world.Measure("w1").Reason);

        byte[] bytes = [0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x10, 0x10];
        var hot = Convert.ToHexStringLower([.. bytes, Crc8.Dallas(bytes)]);
        hot = string.Join(' ', hot.Chunk(2).Select(pair => new string(pair)));
        OneWire($"{hot} : crc={hot[^2..]} YES\n{hot} t=85000\n");
        AssertGood(_world.Measure("w1"), ("temperature", 85));
    }

    [Theory]
    [InlineData("10", "aa 00 4b 46 ff ff 0c 10", 85000)] // DS18S20, which counts half degrees
    [InlineData("22", "50 05 4b 46 7f ff 0c 10", 85000)]
    [InlineData("28", "50 05 4b 46 7f ff 0c 10", 85000)]
    [InlineData("28", "ff 07 4b 46 7f ff 0c 10", 127937)]
    [InlineData("3b", "50 05 4b 46 7f ff 0c 10", 85000)]
    [InlineData("42", "50 05 4b 46 7f ff 0c 10", 85000)]
    [InlineData("42", "ff 07 4b 46 7f ff 0c 10", 127937)]
    public void The_power_on_value_of_each_thermometer_family_is_rejected(
        string family, string scratchpad, int thousandths)
    {
        OneWireOf($"{family}-000000000001", scratchpad, thousandths);
        Assert.Equal(FaultReason.PowerOn, _world.Measure("w1").Reason);
    }

    [Theory]
    [InlineData("10", "aa 00 4b 46 ff ff 10 10", 84750, 84.75)]
    [InlineData("10", "32 00 4b 46 ff ff 0c 10", 25000, 25)]
    [InlineData("22", "50 05 4b 46 7f ff 10 10", 85000, 85)]
    [InlineData("3b", "50 05 4b 46 7f ff 10 10", 85000, 85)]
    public void A_measured_temperature_similar_to_the_power_on_value_is_good(string family, string scratchpad, int thousandths, double celsius)
    {
        OneWireOf($"{family}-000000000001", scratchpad, thousandths);
        AssertGood(_world.Measure("w1"), ("temperature", celsius));
    }

    void OneWireOf(string device, string scratchpad, int thousandths)
    {
        var crc = Crc8.Dallas(Convert.FromHexString(scratchpad.Replace(" ", "", StringComparison.Ordinal)));
        OneWire($"{scratchpad} {crc:x2} : crc={crc:x2} YES\n{scratchpad} {crc:x2} t={thousandths}\n", device);
    }

    /// <summary>Simulates the kernel's bulk conversion: a trigger makes all thermometers of the bus measure.</summary>
    async Task SimulateBulkReadAsync(string[] devices, List<int> rounds, CancellationToken stop)
    {
        var file = Path.Combine(_world.Root, "sys/devices/w1_bus_master1/therm_bulk_read");
        while (!stop.IsCancellationRequested)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(2), TimeProvider.System, CancellationToken.None);
            if (!(await File.ReadAllTextAsync(file, CancellationToken.None)).StartsWith("trigger", StringComparison.Ordinal)) continue;
            File.WriteAllText(file, "-1\n");
            rounds.Add(rounds.Count + 1);
            foreach (var device in devices) OneWireOf(device, $"{rounds.Count:x2} 01 4b 46 7f ff 0f 10", 16_000 + (rounds.Count * 100));
            File.WriteAllText(file, "1\n");
        }
    }

    [Fact]
    public async Task Twenty_thermometers_on_a_bus_measure_at_the_same_time()
    {
        var devices = Enumerable.Range(1, 20).Select(number => $"28-{number:x12}").ToArray();
        _world.Write("sys/devices/w1_bus_master1/therm_bulk_read", "0\n");
        _world.Link("sys/bus/w1/devices/w1_bus_master1", "../../../devices/w1_bus_master1");
        foreach (var device in devices)
        {
            Directory.CreateDirectory(Path.Combine(_world.Root, "sys/devices/w1_bus_master1", device));
            _world.Link($"sys/bus/w1/devices/{device}", $"../../../devices/w1_bus_master1/{device}");
        }

        using var stop = new CancellationTokenSource();
        List<int> rounds = [];
        var kernel = SimulateBulkReadAsync(devices, rounds, stop.Token);
        var world = _world.WorldOn(TimeProvider.System);
        var sensors = devices.Select(
            device => OneWireSensor.Kind.Make(SensorFixture.Settings("w1", $"\"device\":\"{device}\""), world)).ToList();
        for (var round = 1; round <= 3; round++)
        {
            foreach (var sensor in sensors)
                AssertGood(await sensor.MeasureAsync(TestContext.Current.CancellationToken), ("temperature", 16 + (round * 0.1)));
            Assert.Equal(round, rounds.Count);
        }

        await stop.CancelAsync();
        await kernel;
    }

    [Fact]
    public async Task Without_bulk_conversion_each_thermometer_measures_when_it_is_read()
    {
        Directory.CreateDirectory(Path.Combine(_world.Root, "sys/devices/w1_bus_master1", Device));
        _world.Link($"sys/bus/w1/devices/{Device}", $"../../../devices/w1_bus_master1/{Device}");
        OneWireOf(Device, "91 01 4b 46 7f ff 0f 10", 25_062);
        AssertGood(_world.Measure("w1"), ("temperature", 25.062)); // this kernel has no therm_bulk_read
        var world = _world.WorldOn(_world.Waits);
        var sensor = OneWireSensor.Kind.Make(SensorFixture.Settings("w1"), world);
        _world.Link("sys/bus/w1/devices/w1_bus_master1", "../../../devices/w1_bus_master1");
        _world.Write("sys/devices/w1_bus_master1/therm_bulk_read", "0\n");
        AssertGood(await sensor.MeasureAsync(TestContext.Current.CancellationToken), ("temperature", 25.062));

        // After bulk conversion has worked once, the file may hold an old value, so a failed trigger is an error.
        File.Delete(Path.Combine(_world.Root, "sys/devices/w1_bus_master1/therm_bulk_read"));
        _world.Waits.Advance(TimeSpan.FromSeconds(3));
        var fault = await Assert.ThrowsAsync<SensorFault>(async () => await sensor.MeasureAsync(TestContext.Current.CancellationToken));
        Assert.Equal(FaultReason.Io, fault.Reason);
    }

    [Fact]
    public void The_power_on_value_of_a_1_wire_thermometer_is_rejected_when_read_through_hwmon()
    {
        Hwmon(0, Device, "w1_slave_temp", ("temp1_input", "85000"));
        var measurement = _world.Measure("hwmon", "\"device\":\"w1_slave_temp\"");
        Assert.Equal(FaultReason.PowerOn, measurement.Reason);
        Assert.Contains("kind w1", measurement.Detail, StringComparison.Ordinal);
        Hwmon(0, Device, "w1_slave_temp", ("temp1_input", "85062"));
        AssertGood(_world.Measure("hwmon", "\"device\":\"w1_slave_temp\""), ("temperature", 85.062));
    }

    [Theory]
    [InlineData("../../secret")]
    [InlineData("28-1/..")]
    [InlineData("..")]
    [InlineData(".")]
    public void A_1_wire_device_name_that_is_a_path_is_refused(string device)
    {
        var exception = Assert.Throws<SensorSettingsException>(
            () => _world.Create(SensorFixture.Settings("w1", $"\"device\":\"{device}\"")));
        Assert.StartsWith("device: '", exception.Message, StringComparison.Ordinal);
        Assert.EndsWith("is not a name such as 28-0316a2795e1f", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("in_voltage0_scale")]
    [InlineData("in_voltage_scale")]
    [InlineData("in_voltage0_offset")]
    public void An_unreadable_scale_or_offset_gives_a_bad_reading(string file)
    {
        // Some drivers report a failed read as an empty file.
        Iio(0, "1-0048", "ads1015", ("in_voltage0_raw", "1000"), (file, ""));
        Assert.Equal(FaultReason.Io, _world.Measure("iio", "\"device\":\"ads1015\"").Reason);
        Iio(0, "1-0048", "ads1015", (file, "two"));
        Assert.Equal(FaultReason.Invalid, _world.Measure("iio", "\"device\":\"ads1015\"").Reason);
    }

    [Fact]
    public void A_timeout_of_a_kernel_device_is_reported_as_io_not_as_a_bus_timeout()
    {
        // One in ten reads of a working DHT11 or DHT22 times out like this. A file cannot imitate it, so FaultOf is
        // tested.
        var timedOut = new IOException("Connection timed out", 110);
        Assert.Equal(FaultReason.Io, KernelFile.FaultOf(timedOut, "in_temp_input").Reason);
        Assert.Equal(FaultReason.BusTimeout, SensorFault.From(timedOut, "chip").Reason);
        var again = new IOException("Resource temporarily unavailable", 11);
        Assert.Equal(FaultReason.Io, KernelFile.FaultOf(again, "in_temp_input").Reason);
    }

    [Fact]
    public void A_device_named_after_its_pin_is_found_with_or_without_the_pin()
    {
        Iio(0, "dht11@4", "dht11@4", ("in_temp_input", "21000"));
        AssertGood(_world.Measure("iio", "\"device\":\"dht11\""), ("temperature", 21));
        AssertGood(_world.Measure("iio", "\"device\":\"dht11@4\""), ("temperature", 21));
        Iio(1, "dht11@17", "dht11@17", ("in_temp_input", "22000"));
        Assert.Equal(FaultReason.Ambiguous, _world.Measure("iio", "\"device\":\"dht11\"").Reason);
        AssertGood(_world.Measure("iio", "\"device\":\"dht11@17\""), ("temperature", 22));
        AssertGood(_world.Measure("iio", "\"device\":\"dht11\",\"parent\":\"dht11@4\""), ("temperature", 21));
    }

    [Theory]
    [InlineData("", FaultReason.Io)]
    [InlineData("91 01 4b 46 7f ff 0f 10 25 : crc=25 NO\n91 01 t=25062", FaultReason.Crc)]
    [InlineData("91 01 4b 46 7f ff 0f 10 26 : crc=26 YES\n91 01 t=25062", FaultReason.Crc)]
    [InlineData("00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 t=0", FaultReason.Invalid)]
    [InlineData("91 01", FaultReason.Invalid)]
    [InlineData("91 01 4b 46 7f ff 0f 10 25 : crc=25 YES\n", FaultReason.Invalid)]
    [InlineData("91 01 4b 46 7f ff 0f 10 25 : crc=25 YES\n91 t=200000", FaultReason.Range)]
    public void A_1_wire_failure_is_reported_with_its_reason(string content, string reason)
    {
        OneWire(content);
        Assert.Equal(reason, _world.Measure("w1").Reason);
    }

    [Fact]
    public void Without_a_device_name_w1_is_absent_with_no_thermometer_and_ambiguous_with_two()
    {
        Assert.Equal(FaultReason.Absent, _world.Measure("w1").Reason);
        OneWire("x");
        OneWire("x", "28-000000000001");
        OneWire("x", "01-000000000002"); // An identification chip, not a thermometer.
        var measurement = _world.Measure("w1");
        Assert.Equal(FaultReason.Ambiguous, measurement.Reason);
        Assert.Contains($"28-000000000001, {Device};", measurement.Detail, StringComparison.Ordinal);
        Assert.Equal(FaultReason.Absent, _world.Measure("w1", "\"device\":\"28-000000000003\"").Reason);
    }

    [Theory]
    [InlineData("42\n", "", 42)]
    [InlineData("temp=45.2'C\n", "", 45.2)]
    [InlineData("-1.5e3", "", -1500)]
    [InlineData("throttled=0x50005", "\"format\":\"hexadecimal\"", 0x50005)]
    [InlineData("ff", "\"format\":\"hexadecimal\"", 255)]
    public void A_file_sensor_reads_the_first_number_of_its_file(string content, string options, double number)
    {
        _world.Write("level", content);
        var path = $"\"path\":\"{Path.Combine(_world.Root, "level")}\",\"value\":\"level\"";
        AssertGood(_world.Measure("file", options.Length > 0 ? $"{path},{options}" : path), ("level", number));
    }

    [Fact]
    public void A_file_without_a_number_is_invalid_and_its_content_is_never_reported()
    {
        _world.Write("secret", "hunter");
        var measurement = _world.Measure("file", $"\"path\":\"{Path.Combine(_world.Root, "secret")}\"");
        Assert.Equal(FaultReason.Invalid, measurement.Reason);
        Assert.DoesNotContain("hunter", measurement.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_stale_empty_or_missing_file_gives_a_bad_reading()
    {
        var path = Path.Combine(_world.Root, "level");
        var options = $"\"path\":\"{path}\",\"maxAgeSeconds\":60";
        Assert.Equal(FaultReason.Absent, _world.Measure("file", options).Reason);
        _world.Write("level", "");
        File.SetLastWriteTimeUtc(path, _world.Waits.GetUtcNow().UtcDateTime);
        Assert.Equal(FaultReason.Io, _world.Measure("file", options).Reason);
        _world.Write("level", "7");
        File.SetLastWriteTimeUtc(path, _world.Waits.GetUtcNow().UtcDateTime);
        AssertGood(_world.Measure("file", options), ("value", 7));
        _world.Waits.Advance(TimeSpan.FromSeconds(61));
        Assert.Equal(FaultReason.Stale, _world.Measure("file", options).Reason);
    }

    [Fact]
    public void A_relative_path_is_refused()
    {
        var exception = Assert.Throws<SensorSettingsException>(() => _world.Create(SensorFixture.Settings("file", "\"path\":\"level\"")));
        Assert.Equal("path: 'level' is not absolute", exception.Message);
    }
}
