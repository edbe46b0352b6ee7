using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Operations.Doctor;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.EndToEnd;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>What the doctor reports about serial ports, which are pseudo-terminals here, and about the Modbus devices in the
/// settings.</summary>
public sealed class DoctorPortTests : IDisposable
{
    const string ById = "serial/by-id/usb-1a86_USB2.0-Serial-if00-port0";

    /// <summary>How long the doctor listens to a silent port. When data arrives, it listens until the device is recognised.
    /// </summary>
    static readonly TimeSpan Silence = TimeSpan.FromMilliseconds(20);

    readonly SensorFixture _world = new();
    readonly List<IDisposable> _open = [];

    public void Dispose()
    {
        _open.ForEach(open => open.Dispose());
        _world.Dispose();
    }

    T Open<T>(T disposable)
        where T : IDisposable
    {
        _open.Insert(0, disposable);
        return disposable;
    }

    /// <summary>Plugs an adapter in, as /dev/ttyUSB0.</summary>
    PseudoTerminal Plug()
    {
        var device = Open(new PseudoTerminal());
        File.CreateSymbolicLink(Path.Combine(_world.Root, "dev/ttyUSB0"), device.Path);
        _world.Write("sys/devices/usb1/1-1/product", "USB2.0-Serial");
        _world.Write("sys/devices/usb1/1-1/manufacturer", "QinHeng");
        _world.Write("sys/devices/usb1/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0/dev", "188:0");
        _world.Link("sys/devices/usb1/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0/device", "../../../ttyUSB0");
        _world.Link("sys/class/tty/ttyUSB0", "../../devices/usb1/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0");
        return device;
    }

    void LinkById() => _world.Link($"dev/{ById}", "../../ttyUSB0");

    Examination Examine(SensorSettings[]? running = null, SensorSettings[]? configured = null, TimeSpan? listensFor = null) => Examination.Make(
        Module.SensorKinds, _world.WorldOn(TimeProvider.System), running ?? [], configured ?? [], listensFor ?? Silence);

    /// <summary>Runs the examination while a device sends data.</summary>
    Examination Examine(PseudoTerminal device, byte[] sent)
    {
        var examining = Task.Run(() => Examine(listensFor: Until.Limit));
        while (!examining.Wait(TimeSpan.FromMilliseconds(10))) device.Send(sent);
        return examining.GetAwaiter().GetResult();
    }

    static byte[] Frame(string kind) => kind switch
    {
        "pms5003" => Convert.FromHexString("424D001C00050009000B00050009000B03E8012C0032000A00020001970002CB"),
        "sds011" => Convert.FromHexString("AAC0D4043A0AA1601DAB"),
        _ => Encoding.ASCII.GetBytes("$GPGSV,1,1,00*79\r\n$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n"),
    };

    static List<string?> Devices(Examination examination) =>
        [.. Prescription.CreateOptions(examination)["HostConfig"]!["Devices"]!.AsArray().Select(device => (string?)device!["PathInContainer"])];

    [Theory]
    [InlineData("pms5003")]
    [InlineData("sds011")]
    [InlineData("nmea")]
    public void A_device_that_sends_data_is_recognised_and_the_port_keeps_its_settings(string kind)
    {
        var device = Plug();
        LinkById();
        var before = device.Settings;
        var examination = Examine(device, Frame(kind));
        Assert.Equal(before, device.Settings);

        var port = Assert.Single(examination.Ports);
        Assert.Equal(("ttyUSB0", "QinHeng USB2.0-Serial", $"{kind} at 9600 baud"), (port.Name.Node, port.Name.About, port.State));
        var sensors = Prescription.Sensors(examination);
        Assert.Equal($$"""{"kind":"{{kind}}","port":"/dev/{{ById}}"}""", sensors[$"{kind}-ttyUSB0"]!.ToJsonString());
        Assert.Equal([Path.Combine(_world.Root, "dev", ById)], Devices(examination));
        using var json = JsonDocument.Parse(sensors.ToJsonString());
        new SensorsParser(Module.SensorKinds, _world.WorldOn(_world.Waits)).Read(json.RootElement, null, TimeSpan.FromSeconds(5), out _, out var errors);
        Assert.Empty(errors);
        Assert.Contains($"/dev/{ById}: {kind} at 9600 baud\n", Prescription.ToText(examination), StringComparison.Ordinal);
    }

    [Fact]
    public void For_a_silent_port_polled_devices_are_suggested_but_nothing_is_sent_to_it()
    {
        var device = Plug();
        var examination = Examine();
        Assert.True(Assert.Single(examination.Ports).IsSilent);
        var text = Prescription.ToText(examination);
        Assert.Contains("\"co2\": {\"kind\":\"mhz19\",\"port\":\"/dev/ttyUSB0\"}\n", text, StringComparison.Ordinal);
        Assert.Contains("\"meter\": {\"kind\":\"modbus\",\"connection\":\"/dev/ttyUSB0\",\"unit\":1,\"values\":{\"first\":{\"address\":0}}}\n", text, StringComparison.Ordinal);
        Assert.Empty(Prescription.Sensors(examination));
        Assert.Empty(Devices(examination));
        Assert.Empty(device.Receive());
    }

    [Fact]
    public void Unrecognised_bytes_are_reported_and_no_sensor_is_suggested()
    {
        var examination = Examine(Plug(), [.. Enumerable.Repeat((byte)'A', 4000)]);
        Assert.EndsWith("bytes received that no kind sends", Assert.Single(examination.Ports).State, StringComparison.Ordinal);
        Assert.Empty(Prescription.Sensors(examination));
    }

    [Theory]
    [InlineData("sys/class/tty/console/active", "tty0 ttyUSB0", "the kernel's console")]
    [InlineData("proc/77/stat", "77 (a) b) S 1 77 77 48128 77 4194560", "used by process 77")] // a login: 188, 0
    [InlineData("proc/77/fd/3", "/dev/ttyUSB0", "used by process 77")]
    public void A_port_used_by_the_kernel_or_another_process_is_reported_and_not_opened(string path, string content, string state)
    {
        var device = Plug();
        if (path.Contains("/fd/", StringComparison.Ordinal)) _world.Link(path, content);
        else _world.Write(path, content);
        AssertUntouched(device, () => Assert.Equal(state, Assert.Single(Examine().Ports).State));
    }

    [Fact]
    public void A_port_used_by_a_sensor_is_not_opened_and_is_in_the_create_options_under_its_configured_path()
    {
        var device = Plug();
        LinkById();
        var sensor = SensorFixture.Settings("sds011", "\"port\":\"/dev/ttyUSB0\"", "dust");
        AssertUntouched(device, () =>
        {
            var examination = Examine(running: [sensor]);
            Assert.Equal("used by sensor dust", Assert.Single(examination.Ports).State);
            Assert.Equal([Path.Combine(_world.Root, "dev/ttyUSB0")], Devices(examination));
            var status = JsonNode.Parse("""{"sensors":{"dust":{"state":"Failing","reason":"timeout","detail":"nothing received for 3 s"}}}""")!.AsObject();
            Assert.Contains(
                "dust: /dev/ttyUSB0 read by the running module, Failing: timeout: nothing received for 3 s\n", Prescription.ToText(examination, status), StringComparison.Ordinal);
        });
    }

    /// <summary>Checks that the received bytes are still in the port: opening the port would have discarded them.</summary>
    static void AssertUntouched(PseudoTerminal device, Action action)
    {
        device.Send("ab\n"u8);
        SpinWait.SpinUntil(() => device.Waiting == 3);
        action();
        Assert.Equal(3, device.Waiting);
    }

    [Fact]
    public void A_port_missing_in_the_container_is_reported_and_added_to_the_create_options_if_a_sensor_needs_it()
    {
        _world.Write("sys/class/tty/ttyUSB1/dev", "188:1");
        _world.Write("sys/class/tty/ttyS0/type", "0");
        var examination = Examine();
        Assert.Contains(examination.Nodes, node => node is { Path: var path, Access: NodeAccess.Missing } && path.EndsWith("ttyUSB1", StringComparison.Ordinal));
        Assert.DoesNotContain(examination.Nodes, node => node.Path.EndsWith("ttyS0", StringComparison.Ordinal));
        Assert.Empty(Devices(examination));
        examination = Examine(configured: [SensorFixture.Settings("sds011", "\"port\":\"/dev/ttyUSB1\"")]);
        Assert.Equal([Path.Combine(_world.Root, "dev/ttyUSB1")], Devices(examination));
        Assert.StartsWith("absent: ", Assert.Single(examination.Checked).Outcome, StringComparison.Ordinal);
    }

    static SensorSettings Meter(string name, string connection, int unit) => SensorFixture.Settings(
        "modbus", $"\"connection\":\"{connection}\",\"unit\":{unit},\"values\":{{\"voltage\":{{\"address\":0}}}}", name);

    [Fact]
    public void Only_Modbus_devices_in_the_settings_are_queried()
    {
        var server = Open(new TcpDevice((unit, request) => unit == 17 ? [request[0], 2, 0, 230] : [(byte)(request[0] | 0x80), 2]));
        var dead = $"tcp://127.0.0.1:{FreePort.Find()}";
        var examination = Examine(configured: [Meter("a", server.Connection, 17), Meter("b", server.Connection, 3), Meter("c", dead, 1)]);
        var text = Prescription.ToText(examination);
        Assert.Contains($"a: unit 17 at {server.Connection} answers: voltage 230\n", text, StringComparison.Ordinal);
        Assert.Contains($"b: unit 3 at {server.Connection} answers: refused: the device has no such address (exception 2)\n", text, StringComparison.Ordinal);
        Assert.Contains($"c: unit 1 at {dead} does not answer: io: {dead}: ", text, StringComparison.Ordinal);
        Assert.Equal(["unit 17: 0300000001", "unit 3: 0300000001"], server.Requests);
        Assert.Equal([true, true, false], Prescription.ToJson(examination)["checked"]!.AsArray().Select(sensor => (bool)sensor!["answers"]!));
    }

    [Fact]
    public void A_Modbus_device_read_by_the_running_module_is_not_queried()
    {
        var server = Open(new TcpDevice((_, request) => [request[0], 2, 0, 230]));
        var examination = Examine(running: [Meter("a", server.Connection, 17)]);
        Assert.Equal(0, server.Connections);
        Assert.Contains(
            $"a: unit 17 at {server.Connection} read by the running module, Working\n",
            Prescription.ToText(examination, JsonNode.Parse("""{"sensors":{"a":{"state":"Working"}}}""")!.AsObject()), StringComparison.Ordinal);
    }

    [Fact(Explicit = true)]
    public async Task The_command_line_queries_configured_devices_or_reports_their_state_in_the_running_module()
    {
        Plug();
        var server = Open(new TcpDevice((_, request) => [request[0], 2, 0, 230]));
        _world.Write("settings.json", $$"""
            {"sensors":{"meter":{"kind":"modbus","connection":"{{server.Connection}}","intervalSeconds":0.05,"values":{"voltage":{"address":0} } },
            "off":{"kind":"modbus","connection":"{{server.Connection}}","enabled":false,"values":{"v":{"address":0} } },"wrong":{"kind":"modbus"} } }
            """);
        (string, string)[] environment =
        [
            ("Buffer__Directory", Path.Combine(_world.Root, "data")), ("Web__Port", "0"), ("Settings__File", Path.Combine(_world.Root, "settings.json")),
            ("Sensors__DevRoot", _world.Roots.Dev), ("Sensors__SysfsRoot", _world.Sysfs), ("Sensors__ProcRoot", _world.Proc),
        ];
        var alone = await AskAsync();
        Assert.Contains($"\n  meter: unit 1 at {server.Connection} answers: voltage 230\n\n", alone, StringComparison.Ordinal);
        Assert.Contains("\n  /dev/ttyUSB0: silent", alone, StringComparison.Ordinal);

        await using var module = ChildProcess.StartModule([], environment);
        await Until.True(() => server.Requests.Count > 2);
        var beside = await AskAsync();
        Assert.Contains($"\n  meter: unit 1 at {server.Connection} read by the running module, Working\n\n", beside, StringComparison.Ordinal);
        Assert.Equal(2, server.Connections); // one by the first doctor and one by the module
        Assert.Equal(0, await module.StopAsync());

        async Task<string> AskAsync()
        {
            await using var doctor = ChildProcess.StartModule(["--doctor"], environment);
            Assert.Equal(0, await doctor.ExitCodeAsync());
            return string.Join('\n', doctor.Lines);
        }
    }
}
