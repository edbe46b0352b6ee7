using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Files;
using SensorForwarder.Operations.Doctor;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

public sealed class DoctorTests : IDisposable
{
    readonly SensorFixture _world = new();

    public DoctorTests()
    {
        _world.Bus.Chips[0x76] = SimulatedChips.Bme280();
        _world.Bus.Chips[0x44] = SimulatedChips.Sht4x();
        _world.Bus.Chips[0x48] = new RegisterChip(2);
        _world.Write("sys/bus/i2c/drivers/bh1750/x", "");
        _world.Link("sys/bus/i2c/devices/1-0023/driver", "../../drivers/bh1750");
        _world.Write("sys/class/i2c-dev/i2c-1/name", "bcm2835 (i2c@7e804000)");
        _world.Write("sys/class/i2c-dev/i2c-3/name", "not in the container");
        _world.Write("sys/devices/soc/1f000.gpio/gpiochip0/x", "");
        _world.Link("sys/bus/gpio/devices/gpiochip0", "../../../devices/soc/1f000.gpio/gpiochip0");
        _world.Write("sys/class/thermal/thermal_zone0/type", "cpu-thermal");
        _world.Write("sys/class/thermal/thermal_zone0/temp", "48000");
        _world.Write("sys/bus/w1/devices/28-0316a2795e1f/w1_slave", "");
        _world.Write("sys/class/hwmon/hwmon0/name", "rpi_volt");
        _world.Write("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "0");
    }

    public void Dispose() => _world.Dispose();

    Examination Examine(params SensorSettings[] running) => Examination.Make(Module.SensorKinds, _world.WorldOn(_world.Waits), running);

    [Fact]
    public void The_doctor_finds_device_nodes_chips_and_kernel_sources()
    {
        var examination = Examine();
        Assert.Equal(
            ["gpiochip0 Missing GPIO of 1f000.gpio", "i2c-1 Usable bcm2835 (i2c@7e804000)", "i2c-3 Missing not in the container", "spidev0.0 Usable SPI chip select"],
            examination.Nodes.Select(node => $"{Path.GetFileName(node.Path)} {node.Access} {node.About}"));
        Assert.Contains(examination.Chips, chip => chip is { Bus: 1, Address: 0x76, Kinds: ["bme280"], Owner: null });
        Assert.Contains(examination.Chips, chip => chip is { Address: 0x23, Owner: "kernel driver bh1750" });
        Assert.Contains(examination.Chips, chip => chip is { Address: 0x48, Kinds: ["lm75", "tmp102"] });
        Assert.Equal(["hwmon rpi_volt", "thermal cpu-thermal", "w1 28-0316a2795e1f"], examination.Sources.Select(source => $"{source.Kind} {source.Name}"));
    }

    [Fact]
    public void The_doctor_changes_no_register_of_any_chip()
    {
        var bosch = (RegisterChip)_world.Bus.Chips[0x76];
        bosch.Written = (register, _) => Assert.Fail($"register {register:x2} was written");
        ((RegisterChip)_world.Bus.Chips[0x48]).Written = bosch.Written;
        Examine();
        Assert.NotEqual(0, _world.Bus.Transfers);
    }

    [Fact]
    public void The_suggested_sensor_settings_work()
    {
        var sensors = Prescription.Sensors(Examine());
        Assert.Contains("bme280-1-76", sensors.Select(sensor => sensor.Key));
        using var json = JsonDocument.Parse(sensors.ToJsonString());
        var settings = new SensorsParser(Module.SensorKinds, _world.WorldOn(_world.Waits)).Read(json.RootElement, null, TimeSpan.FromSeconds(5), out _, out var errors);
        Assert.Empty(errors);
        using var session = _world.Session(settings["bme280-1-76"]);
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
    }

    [Fact]
    public void The_create_options_list_the_devices_that_the_sensors_need_and_their_groups()
    {
        var path = Path.Combine(_world.Root, "dev/i2c-1");
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite);
        var options = Prescription.CreateOptions(Examine())["HostConfig"]!;
        Assert.Equal([path], options["Devices"]!.AsArray().Select(device => (string?)device!["PathOnHost"]));
        Assert.Contains(
            FileStatus.Of(path)!.Group.ToString(System.Globalization.CultureInfo.InvariantCulture),
            options["GroupAdd"]!.AsArray().Select(group => group!.GetValue<string>()));
    }

    [Fact]
    public void The_create_options_list_the_devices_that_running_sensors_use()
    {
        _world.Bus.Chips.Clear();
        Assert.Empty(Prescription.CreateOptions(Examine())["HostConfig"]!["Devices"]!.AsArray());
        var options = Prescription.CreateOptions(Examine(
            SensorFixture.Settings("bme280", name: "a"), SensorFixture.Settings("mcp3008", name: "b"),
            SensorFixture.Settings("gpio", "\"line\":17", name: "c")))["HostConfig"]!;
        Assert.Equal(
            ["gpiochip0", "i2c-1", "spidev0.0"],
            options["Devices"]!.AsArray().Select(device => Path.GetFileName((string?)device!["PathOnHost"])));
    }

    /// <summary>A TCA9548A on bus 1 with two of its buses.</summary>
    [Theory]
    [InlineData("1 10 11", "bme280-1-76")] // on bus 1 itself: it answers on all buses
    [InlineData("1 11", "bme280-11-76")] // behind the multiplexer, which still selects the last used channel
    [InlineData("11", "bme280-11-76")]
    [InlineData("10 11", "bme280-10-76 bme280-11-76")] // two chips
    public void A_chip_behind_a_multiplexer_is_suggested_once_on_its_own_bus(string answersOn, string prescribed)
    {
        var at = answersOn.Split(' ').Select(int.Parse).ToList();
        _world.Bus.Chips.Clear();
        _world.Bus.Chips[0x76] = SimulatedChips.Bme280();
        _world.Link("sys/bus/i2c/devices/i2c-1", "../../../devices/soc/i2c-1");
        foreach (var bus in (int[])[10, 11])
        {
            _world.Write($"dev/i2c-{bus}", "");
            _world.Link($"sys/bus/i2c/devices/i2c-{bus}", $"../../../devices/soc/i2c-1/i2c-{bus}");
        }

        using var nobody = new SimulatedI2cBus();
        var examination = Examination.Make(
            Module.SensorKinds,
            _world.WorldOn(_world.Waits) with { OpenI2c = (bus, address) => (at.Contains(bus) ? _world.Bus : nobody).CreateDevice(address) },
            []);
        Assert.Equal(
            prescribed, string.Join(' ', Prescription.Sensors(examination).Select(sensor => sensor.Key).Where(key => key.StartsWith("bme", StringComparison.Ordinal))));
        Assert.Equal(
            prescribed.Split(' ').Length, Prescription.CreateOptions(examination)["HostConfig"]!["Devices"]!.AsArray().Count);
    }

    [Theory]
    [InlineData(0x00)]
    [InlineData(0xFF)]
    public void On_a_bus_with_a_stuck_line_no_chips_are_found(int level)
    {
        _world.Bus.Chips.Clear();
        for (var address = 0; address < 0x80; address++)
        {
            if (level == 0 || address < 0x78) _world.Bus.Chips[address] = new StuckLine((byte)level);
        }

        Assert.DoesNotContain(Examine().Chips, chip => chip.Owner is null);
    }

    sealed class StuckLine(byte level) : SimulatedChip
    {
        public override void Write(ReadOnlySpan<byte> bytes)
        {
        }

        public override void Read(Span<byte> bytes) => bytes.Fill(level);
    }

    [Fact]
    public void For_a_denied_node_the_advice_names_the_missing_group_or_the_Devices_option()
    {
        var process = new ProcessIdentity(1654, [1654]);
        var node = new DeviceNode("/dev/i2c-1", "", NodeAccess.Denied, 994, MayOthers: false);
        Assert.Contains("\"GroupAdd\":[\"994\"]", node.Advice(process), StringComparison.Ordinal);
        Assert.Contains("Devices", node.Advice(process with { Groups = [994] }), StringComparison.Ordinal);
        Assert.Empty((node with { Access = NodeAccess.Usable }).Advice(process));
    }

    [Fact]
    public void A_chip_used_by_a_running_sensor_is_listed_without_probing_it()
    {
        _world.Bus.Chips.Clear();
        var chip = Assert.Single(Examine(SensorFixture.Settings("bme280")).Chips, chip => chip.Address == 0x76);
        Assert.Equal("sensor attic", chip.Owner);
    }

    [Fact]
    public void A_bus_that_times_out_is_not_scanned_further()
    {
        _world.Bus.Always = BusFault.TimedOut;
        Assert.DoesNotContain(Examine().Chips, chip => chip.Owner is null);
        Assert.Equal(2, _world.Bus.Transfers);
    }

    [Fact]
    public void The_report_contains_the_process_chips_suggested_sensors_and_create_options()
    {
        var text = Prescription.ToText(Examine());
        foreach (var part in (string[])["This process is user", "bus 1 0x76  bme280", "\"PathOnHost\"", "\"bme280-1-76\"", "may be lm75 or tmp102", "kernel driver bh1750"])
            Assert.Contains(part, text, StringComparison.Ordinal);
        Assert.Contains($"(Sensors__FileRoots)\n  {_world.Root}\n", text, StringComparison.Ordinal);
        Assert.Contains("createOptions", Prescription.ToJson(Examine()).ToJsonString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, "unknown: no module that runs on Buffer__Directory answers")]
    [InlineData("""{"link":{"custody":"edgeHub"},"upstream":{"messages":0}}""", "unknown: its metrics page can't be read; set EdgeHub__MetricsUrl to its URL")]
    [InlineData("""{"link":{"custody":"cloud"},"upstream":{"lostMessages":3,"returnedReadings":60}}""", "3 messages that it had accepted; 60 readings were sent again. In edgeHub's environment, set TrackDeviceState=false")]
    [InlineData("""{"link":{"custody":"cloud"},"upstream":{"lostMessages":0,"returnedReadings":0,"outputsWithoutRoute":"live"}}""", "all messages of live, for which there is no route: add FROM /messages/modules/")]
    [InlineData("""{"link":{"custody":"cloud"},"upstream":{"lostMessages":0,"returnedReadings":0}}""", "none")]
    [InlineData("""{"link":{"custody":"receiver"}}""", "none")]
    public void Message_loss_in_edgeHub_is_reported_from_the_status_of_the_running_module(string? status, string text)
    {
        var seen = status is null ? null : JsonNode.Parse(status)!.AsObject();
        Assert.Contains($"Messages that edgeHub lost\n  {text}", Prescription.ToText(Examine(), seen), StringComparison.Ordinal);
        var told = Prescription.ToJson(Examine(), seen)["edgeHub"]!.AsArray();
        Assert.StartsWith(text, told.Count == 0 ? "none" : (string)told.Single()!, StringComparison.Ordinal);
    }

    [Fact]
    public void A_machine_without_any_devices_is_examined_without_errors()
    {
        var examination = Examination.Make(Module.SensorKinds, new(new("/nowhere", "/nowhere", "/tmp") { Dev = "/nowhere" }, TimeProvider.System), []);
        Assert.Empty(examination.Nodes);
        Assert.Contains("none", Prescription.ToText(examination), StringComparison.Ordinal);
    }
}
