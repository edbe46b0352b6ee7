using System.Buffers.Binary;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Modbus;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Simulated Modbus devices with the faults of real ones. <see cref="ModbusServerTests"/> uses a real server.
/// </summary>
public sealed class ModbusTests : IDisposable
{
    readonly SensorFixture _world = new();
    readonly SensorWorld _system;
    readonly List<IDisposable> _open = [];

    public ModbusTests() => _system = _world.WorldOn(TimeProvider.System);

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

    static SensorSettings Settings(string connection, string values, string options = "", string name = "meter") =>
        SensorFixture.Settings("modbus", $"\"connection\":\"{connection}\",\"values\":{{{values}}}{options}", name);

    SensorSession Session(SensorSettings settings) =>
        Open(new SensorSession(settings, _system, null, 0.5, NullLogger.Instance));

    static Measurement Measure(SensorSession session) => session.Measure(CancellationToken.None);

    static string Show(Measurement measurement) =>
        string.Join(", ", measurement.Values.Select(value => FormattableString.Invariant($"{value.Key} {value.Value}")));

    const string Three = """
        "voltage":{"register":"input","address":0,"type":"float32","unit":"V"},
        "current":{"register":"input","address":2,"scale":0.01,"unit":"A"},
        "relay":{"register":"coil","address":3}
        """;

    /// <summary>A meter: 230.1 V, 12.34 A, relay on; other registers hold their address.</summary>
    static byte[]? Meter(byte unit, byte[] request)
    {
        var (address, count) = (BinaryPrimitives.ReadUInt16BigEndian(request.AsSpan(1)), BinaryPrimitives.ReadUInt16BigEndian(request.AsSpan(3)));
        if (request[0] is 1 or 2) return [request[0], 1, 0xFF];
        var data = new List<byte>();
        for (var register = address; register < address + count; register++)
        {
            var value = register switch { 0 => 0x4366, 1 => 0x199A, 2 => 1234, _ => register };
            data.AddRange([(byte)(value >> 8), (byte)value]);
        }

        return [request[0], (byte)data.Count, .. data];
    }

    [Fact]
    public void Values_are_reported_in_the_order_of_the_settings_and_neighbours_are_read_in_one_request()
    {
        var server = Open(new TcpDevice(Meter));
        var measurement = Measure(Session(Settings(server.Connection, Three, ",\"unit\":17")));
        Assert.Equal((ReadingQuality.Good, "voltage 230.1, current 12.34, relay 1"), (measurement.Quality, Show(measurement)));
        Assert.Equal(["unit 17: 0100030001", "unit 17: 0400000003"], server.Requests);
    }

    [Fact]
    public void A_value_that_the_device_lacks_does_not_fail_the_others_and_is_requested_separately_from_then_on()
    {
        var server = Open(new TcpDevice((unit, request) => Covers(request, 5) ? [(byte)(request[0] | 0x80), 2] : Meter(unit, request)));
        var session = Session(Settings(server.Connection, """ "a":{"address":3},"b":{"address":5},"c":{"address":6} """));
        var measurement = Measure(session);
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.Partial, "a 3, c 6"), (measurement.Quality, measurement.Reason, Show(measurement)));
        Assert.Equal("b: the device has no such address (exception 2)", measurement.Detail);
        Assert.Equal(["0300030004", "0300030001", "0300050001", "0300060001"], server.Requests.Select(request => request.Split(' ')[2]));
        server.Requests.Clear();
        Measure(session);
        Assert.Equal(["0300030001", "0300050001", "0300060001"], server.Requests.Select(request => request.Split(' ')[2]));

        var alone = Measure(Session(Settings(server.Connection, """ "b":{"address":5} """)));
        Assert.Equal((ReadingQuality.Bad, FaultReason.Refused), (alone.Quality, alone.Reason));

        static bool Covers(byte[] request, int register) =>
            request[2] <= register && register < request[2] + request[4];
    }

    [Theory]
    [InlineData(1, FaultReason.Refused, "the device refuses (exception 1)")]
    [InlineData(3, FaultReason.Refused, "the device has no such address (exception 3)")]
    [InlineData(4, FaultReason.Refused, "the device refuses (exception 4)")]
    [InlineData(5, FaultReason.Busy, "the device is busy (exception 5)")]
    [InlineData(6, FaultReason.Busy, "the device is busy (exception 6)")]
    [InlineData(10, FaultReason.Timeout, "the gateway does not reach the device (exception 10)")]
    [InlineData(11, FaultReason.Timeout, "the gateway does not reach the device (exception 11)")]
    public void A_Modbus_exception_is_reported_with_its_reason_and_is_not_retried_at_once(int code, string reason, string detail)
    {
        var server = Open(new TcpDevice((_, request) => [(byte)(request[0] | 0x80), (byte)code]));
        var measurement = Measure(Session(Settings(server.Connection, """ "v":{"address":7} """)));
        Assert.Equal((ReadingQuality.Bad, reason, detail), (measurement.Quality, measurement.Reason, measurement.Detail));
        Assert.Single(server.Requests);
    }

    [Fact]
    public void A_value_that_is_not_a_number_does_not_fail_the_others()
    {
        var server = Open(new TcpDevice((_, request) => request[2] == 0 ? [request[0], 4, 0x7F, 0xC0, 0, 0] : [request[0], 2, 0, 42]));
        var measurement = Measure(Session(Settings(server.Connection, """ "v":{"address":0,"type":"float32"},"w":{"address":50} """)));
        Assert.Equal((FaultReason.Partial, "w 42", "v: the device holds no finite number"), (measurement.Reason, Show(measurement), measurement.Detail));
    }

    [Fact]
    public void A_connection_is_shared_and_reopened_after_the_server_closed_it()
    {
        var server = Open(new TcpDevice(Meter));
        var (first, second) = (Session(Settings(server.Connection, Three)), Session(Settings(server.Connection, Three, ",\"unit\":2", "other")));
        for (var poll = 0; poll < 3; poll++)
        {
            Assert.Equal(ReadingQuality.Good, Measure(first).Quality);
            Assert.Equal(ReadingQuality.Good, Measure(second).Quality);
        }

        Assert.Equal(1, server.Connections);
        first.Dispose();
        Assert.Equal(ReadingQuality.Good, Measure(second).Quality);
        Assert.Equal(1, server.Connections);
        server.CloseConnections();
        Assert.Equal(ReadingQuality.Good, Measure(second).Quality);
        Assert.Equal(2, server.Connections);
    }

    [Fact]
    public void An_answer_to_an_earlier_request_or_from_another_unit_is_ignored()
    {
        var server = Open(new TcpDevice(Meter) { Before = frame => [.. Changed(frame, 1, 0x55), .. Changed(frame, 6, 9)] });
        var measurement = Measure(Session(Settings(server.Connection, """ "v":{"address":300} """)));
        Assert.Equal((ReadingQuality.Good, "v 300"), (measurement.Quality, Show(measurement)));

        // The answer to the request, with wrong data.
        static byte[] Changed(byte[] frame, int at, byte by)
        {
            var changed = (byte[])frame.Clone();
            changed[at] ^= by;
            changed[^1] ^= 0xFF;
            return changed;
        }
    }

    [Theory]
    [InlineData("0001000100030103")] // another protocol
    [InlineData("000100000000010302")] // no length
    public void An_answer_that_is_not_Modbus_is_invalid(string answer)
    {
        var server = Open(new TcpDevice(Meter) { Before = _ => Convert.FromHexString(answer) });
        var measurement = Measure(Session(Settings(server.Connection, """ "v":{"address":300} """)));
        Assert.Equal((ReadingQuality.Bad, FaultReason.Invalid), (measurement.Quality, measurement.Reason));
    }

    [Fact]
    public void A_silent_device_is_queried_only_once_and_one_unanswered_value_does_not_fail_the_others()
    {
        var server = Open(new TcpDevice((unit, request) => unit == 9 || request[2] == 0x80 ? null : Meter(unit, request)));
        const string Values = """ "a":{"address":3},"b":{"address":128},"c":{"address":200} """;
        var off = Measure(Session(Settings(server.Connection, Values, ",\"unit\":9,\"timeoutSeconds\":0.2")));
        Assert.Equal((ReadingQuality.Bad, FaultReason.Timeout), (off.Quality, off.Reason));
        Assert.Equal($"unit 9 at {server.Connection} did not answer within 0.2 s", off.Detail);
        Assert.Single(server.Requests);

        var partial = Measure(Session(Settings(server.Connection, Values, ",\"timeoutSeconds\":2", "other")));
        Assert.Equal((FaultReason.Partial, "a 3, c 200"), (partial.Reason, Show(partial)));
    }

    [Fact]
    public async Task A_dead_gateway_does_not_delay_sensors_on_other_connections()
    {
        using var files = new BufferFixture();
        using var hole = new TcpDevice((_, _) => null);
        using var server = new TcpDevice(Meter);
        await using var buffer = await files.OpenAsync();
        using var scheduler = new SensorScheduler(
            _system, buffer, TimeProvider.System, new NoJitter(), NullLogger<SensorScheduler>.Instance);
        SensorSettings[] sensors =
        [
            Settings(hole.Connection, Three, ",\"timeoutSeconds\":3", "dead1"), Settings(hole.Connection, Three, ",\"timeoutSeconds\":3", "dead2"),
            Settings(server.Connection, Three, "", "meter") with { Interval = TimeSpan.FromMilliseconds(50) },
        ];
        await scheduler.ApplyAsync(sensors.ToDictionary(sensor => sensor.Name), TestContext.Current.CancellationToken);
        await Until.True(() => hole.Requests.Count == 1);
        var before = server.Requests.Count;
        await Until.True(() => hole.Requests.Count == 2); // the first request has timed out
        Assert.InRange(server.Requests.Count, before + 6, int.MaxValue);
        await scheduler.StopAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task Units_from_the_settings_are_reported_with_the_values()
    {
        using var files = new BufferFixture();
        using var server = new TcpDevice(Meter);
        await using var buffer = await files.OpenAsync();
        using var scheduler = new SensorScheduler(
            _system, buffer, TimeProvider.System, new NoJitter(), NullLogger<SensorScheduler>.Instance);
        var meter = Settings(server.Connection, Three);
        await scheduler.ApplyAsync(
            new Dictionary<string, SensorSettings> { ["meter"] = meter }, TestContext.Current.CancellationToken);
        await Until.True(() => BufferFixture.ReadAll(buffer).Count > 0);
        await scheduler.StopAsync(TestContext.Current.CancellationToken);
        Assert.Contains(
            "\"units\":{\"voltage\":\"V\",\"current\":\"A\"}", Encoding.UTF8.GetString(BufferFixture.ReadAll(buffer)[0].Payload.Span), StringComparison.Ordinal);
    }

    [Fact]
    public void A_refused_connection_is_reported_as_io()
    {
        var connection = $"tcp://127.0.0.1:{FreePort.Find()}";
        var measurement = Measure(Session(Settings(connection, Three)));
        Assert.Equal((ReadingQuality.Bad, FaultReason.Io), (measurement.Quality, measurement.Reason));
        Assert.StartsWith($"{connection}: Connection refused", measurement.Detail, StringComparison.Ordinal);
    }

    /// <summary>A device on a serial line, as /dev/ttyUSB0.</summary>
    PseudoTerminal Line(Func<byte, byte[], byte[]?> answer, Func<byte[], byte[]>? frame = null)
    {
        var device = Open(new PseudoTerminal(request =>
            answer(request[0], request[1..^2]) is { } pdu ? (frame ?? (sent => sent))(Framed([request[0], .. pdu])) : null));
        File.Delete(Path.Combine(_world.Root, "dev/ttyUSB0"));
        File.CreateSymbolicLink(Path.Combine(_world.Root, "dev/ttyUSB0"), device.Path);
        return device;
    }

    static byte[] Framed(byte[] bytes)
    {
        var crc = ModbusFrames.Crc(bytes);
        return [.. bytes, (byte)crc, (byte)(crc >> 8)];
    }

    [Fact]
    public void A_serial_line_is_read_despite_garbage_and_again_after_it_was_unplugged()
    {
        var device = Line(Meter, frame => [0x00, 0xFF, .. frame]);
        var session = Session(Settings("/dev/ttyUSB0", Three, ",\"parity\":\"even\",\"unit\":5"));
        Assert.Equal("voltage 230.1, current 12.34, relay 1", Show(Measure(session)));
        device.Dispose();
        File.Delete(Path.Combine(_world.Root, "dev/ttyUSB0"));
        Assert.Equal(FaultReason.Absent, Measure(session).Reason);
        Line(Meter);
        Assert.Equal("voltage 230.1, current 12.34, relay 1", Show(Measure(session)));
    }

    [Fact]
    public void A_flipped_bit_on_a_serial_line_is_reported_as_crc()
    {
        var bit = 0;
        Line(Meter, frame =>
        {
            frame[bit / 8] ^= (byte)(1 << (bit % 8));
            return frame;
        });
        var settings = Settings("/dev/ttyUSB0", """ "v":{"address":300} """, ",\"timeoutSeconds\":0.05,\"pauseMilliseconds\":0");
        using var sensor = settings.Kind.Make(settings, _system);
        for (; bit < 7 * 8; bit += 3)
        {
            SensorFault fault;
            do // on a busy machine the answer may come after the timeout
            {
                fault = Assert.Throws<SensorFault>(() => sensor.MeasureAsync(CancellationToken.None).AsTask().GetAwaiter().GetResult());
            }
            while (fault.Reason == FaultReason.Timeout);
            Assert.Equal(FaultReason.Crc, fault.Reason);
        }
    }

    [Fact]
    public void A_late_answer_is_not_taken_as_the_answer_to_the_next_request()
    {
        PseudoTerminal? device = null;
        byte[] late = [];
        device = Line((unit, request) =>
        {
            if (late.Length > 0) return Meter(unit, request);
            late = Framed([unit, .. Meter(unit, request)!]);
            return null;
        });
        var sent = 0;
        var world = _world.WorldOn(new PausingClock(() =>
        {
            // The module pauses before the next request, and now the answer to the previous one arrives.
            sent++;
            device.Send(late);
        }));
        var (first, second) = (
            Settings("/dev/ttyUSB0", """ "v":{"address":300} """, ",\"timeoutSeconds\":1"),
            Settings("/dev/ttyUSB0", """ "v":{"address":500} """, ",\"timeoutSeconds\":1", "other"));
        using var one = new SensorSession(first, world, null, 0.5, NullLogger.Instance);
        using var other = new SensorSession(second, world, null, 0.5, NullLogger.Instance);
        Assert.Equal(FaultReason.Timeout, Measure(one).Reason);
        Assert.Equal(0, sent);
        Assert.Equal("v 500", Show(Measure(other)));
        Assert.Equal(1, sent);
    }

    [Fact]
    public void A_second_sensor_with_different_serial_settings_on_the_same_line_is_refused()
    {
        Line(Meter);
        Assert.Equal(ReadingQuality.Good, Measure(Session(Settings("/dev/ttyUSB0", Three))).Quality);
        var other = Measure(Session(Settings("/dev/ttyUSB0", Three, ",\"baud\":19200", "other")));
        Assert.Equal((ReadingQuality.Bad, FaultReason.Ambiguous), (other.Quality, other.Reason));
        Assert.Equal(
            "/dev/ttyUSB0 is used with 9600 baud, parity none, 1 stop bits by another sensor: all sensors on a line need the same format",
            other.Detail);
    }

    /// <summary>A clock that does not advance, and on which every pause ends at once.</summary>
    sealed class PausingClock(Action pausing) : TimeProvider
    {
        public override long GetTimestamp() => 0;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            pausing();
            return System.CreateTimer(callback, state, TimeSpan.Zero, period);
        }
    }
}
