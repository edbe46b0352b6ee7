using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Kind modbus against an independent server, pymodbus, over TCP and, through socat, on a serial line.
/// tests/run installs both; without them the tests are skipped, unless TEST_MODBUS_REQUIRED is 1.</summary>
public sealed class ModbusServerTests : IDisposable
{
    const string Python = "/usr/bin/python3"; // Debian's Python, which finds Debian's packages

    static readonly Lazy<string?> Missing = new(() =>
        Has(Python, "-c", "import pymodbus, serial_asyncio") ? Has("socat", "-V") ? null : "socat is not installed"
            : "python3-pymodbus and python3-serial-asyncio are not installed");

    readonly SensorFixture _world = new();
    readonly List<Process> _processes = [];

    public void Dispose()
    {
        foreach (var process in _processes)
        {
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
            process.Dispose();
        }

        _world.Dispose();
    }

    static void Require()
    {
        if (Missing.Value is not { } missing) return;
        Assert.False(Environment.GetEnvironmentVariable("TEST_MODBUS_REQUIRED") == "1", missing);
        Assert.Skip($"{missing}; tests/run installs what this test needs");
    }

    static bool Has(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments)
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    Process Start(string program, params string[] arguments)
    {
        var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        _processes.Add(process);
        return process;
    }

    void StartServer(string mode, string place)
    {
        var server = Start(Python, Path.Combine(AppContext.BaseDirectory, "Sensors/modbus-server.py"), mode, place);
        Assert.Equal("ready", server.StandardOutput.ReadLine());
    }

    Measurement Measure(string connection, string values, string options = "")
    {
        var settings = SensorFixture.Settings("modbus", $"\"connection\":\"{connection}\",\"values\":{{{values}}}{options}");
        using var session = new SensorSession(
            settings, _world.WorldOn(TimeProvider.System), null, 0.5, NullLogger.Instance);
        return session.Measure(CancellationToken.None);
    }

    static string Show(Measurement measurement) =>
        string.Join(", ", measurement.Values.Select(value => FormattableString.Invariant($"{value.Key} {value.Value}")));

    const string Values = """
        "voltage":{"register":"input","address":0,"type":"float32"},
        "temperature":{"address":0,"type":"int16","scale":0.01},
        "energy":{"address":1,"type":"uint32"},
        "leakage":{"address":10,"type":"float64"},
        "frequency":{"address":100,"type":"float32","order":"DCBA"},
        "total":{"address":"0x9c41","type":"int64"},
        "third":{"register":"discrete","address":3},
        "fourth":{"register":"discrete","address":4},
        "last":{"register":"discrete","address":2097},
        "relay":{"register":"coil","address":7},
        "flag":{"address":0,"type":"bool","bit":1}
        """;

    const string Expected = "voltage 230.1, temperature -12.34, energy 3000000000, leakage -0.000125, frequency 51.5, "
        + "total -5000000000, third 1, fourth 0, last 1, relay 1, flag 1";

    [Fact]
    public async Task Pymodbus_is_read_over_TCP()
    {
        Require();
        var port = FreePort.Find();
        StartServer("tcp", $"{port}");
        var connection = $"tcp://127.0.0.1:{port}";
        await Until.True(() => Measure(connection, Values).Quality == ReadingQuality.Good);
        Assert.Equal(Expected, Show(Measure(connection, Values)));
        Assert.Equal(Expected.Replace("230.1", "119.5", StringComparison.Ordinal), Show(Measure(connection, Values, ",\"unit\":17")));
        CheckFaults(connection, "");
    }

    [Fact]
    public async Task Pymodbus_is_read_on_a_serial_line()
    {
        Require();
        var (module, device) = (Path.Combine(_world.Root, "dev/ttyUSB0"), Path.Combine(_world.Root, "dev/ttyUSB1"));
        Start("socat", $"pty,raw,echo=0,link={module}", $"pty,raw,echo=0,link={device}");
        await Until.True(() => File.Exists(module) && File.Exists(device));
        StartServer("rtu", device);
        const string Options = ",\"baud\":19200"; // a pseudo-terminal has no parity
        await Until.True(() => Measure("/dev/ttyUSB0", Values, Options).Quality == ReadingQuality.Good);
        Assert.Equal(Expected, Show(Measure("/dev/ttyUSB0", Values, Options)));
        CheckFaults("/dev/ttyUSB0", Options);
    }

    void CheckFaults(string connection, string options)
    {
        var partial = Measure(connection, """ "energy":{"address":1,"type":"uint32"},"none":{"address":5} """, options);
        Assert.Equal((FaultReason.Partial, "energy 3000000000"), (partial.Reason, Show(partial)));
        Assert.Equal("none: the device has no such address (exception 2)", partial.Detail);
        var refused = Measure(connection, """ "none":{"address":5000} """, options);
        Assert.Equal((ReadingQuality.Bad, FaultReason.Refused), (refused.Quality, refused.Reason));
        var absent = Measure(connection, """ "v":{"address":0} """, options + ",\"unit\":9,\"timeoutSeconds\":0.5");
        Assert.Equal(ReadingQuality.Bad, absent.Quality);
    }
}
