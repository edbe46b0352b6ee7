using System.Text;
using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Serial;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Devices on serial ports: recorded and corrupted streams on pseudo-terminals.</summary>
public sealed class SerialSensorTests : IDisposable
{
    // MH-Z19B: 608 ppm. PMS5003: recorded, 5, 9 and 11 ug/m3. SDS011: the example of its data sheet.
    const string Mhz19 = "FF86026047000000D1";
    const string Pms5003 = "424D001C00050009000B00050009000B03E8012C0032000A00020001970002CB";
    const string Sds011 = "AAC0D4043A0AA1601DAB";

    readonly SensorFixture _world = new();
    readonly List<PseudoTerminal> _devices = [];

    public void Dispose()
    {
        _devices.ForEach(device => device.Dispose());
        _world.Dispose();
    }

    static byte[] Bytes(string hex) => Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));

    static byte[] Sentence(string text) =>
        Encoding.ASCII.GetBytes($"${text}*{text.Aggregate(0, (sum, c) => sum ^ c):X2}\r\n");

    static byte[] Fix(string time = "123519.00", string status = "A", int quality = 1) =>
    [
        .. Sentence($"GNRMC,{time},{status},4807.03812,N,01131.00012,W,022.4,084.4,230394,003.1,W,A"),
        .. Sentence("GPGSV,1,1,02,01,40,083,46,02,17,308,41"),
        .. Sentence($"GNGGA,{time},4807.03812,N,01131.00012,W,{quality},08,0.9,545.4,M,46.9,M,,"),
    ];

    static byte[] Stream(string kind) => kind switch
    {
        "mhz19" => Bytes(Mhz19),
        "pms5003" => Bytes(Pms5003),
        "sds011" => Bytes(Sds011),
        _ => Fix(),
    };

    /// <summary>Plugs a device in, as /dev/ttyUSB0.</summary>
    PseudoTerminal Plug(Func<byte[], byte[]?>? answer = null)
    {
        var device = new PseudoTerminal(answer);
        _devices.Add(device);
        var link = Path.Combine(_world.Root, "dev/ttyUSB0");
        File.Delete(link);
        File.CreateSymbolicLink(link, device.Path);
        return device;
    }

    static SensorSettings Settings(string kind, string options = "") =>
        SensorFixture.Settings(kind, $"\"port\":\"/dev/ttyUSB0\"{options}");

    ISensor Sensor(string kind) => Settings(kind).Kind.Make(Settings(kind), _world.WorldOn(_world.Waits));

    /// <summary>Measures while the device sends all streams once, and then the last one repeatedly until the measurement ends.</summary>
    static Measurement Measure(Func<Measurement> measure, PseudoTerminal device, params byte[][] streams)
    {
        var measuring = Begin(measure, device);
        device.Send([.. streams.SelectMany(stream => stream)]);
        return Measure(measuring, () => device.Send(streams[^1]));
    }

    static Measurement Measure(Task<Measurement> measuring, Action send)
    {
        while (!measuring.Wait(TimeSpan.FromMilliseconds(20))) send();
        return measuring.GetAwaiter().GetResult();
    }

    /// <summary>Starts a measurement. On return, earlier data has been discarded and new data is being read.</summary>
    static Task<Measurement> Begin(Func<Measurement> measure, PseudoTerminal device)
    {
        device.Send((byte)'\n'); // a terminal that has not been opened yet counts only complete lines
        SpinWait.SpinUntil(() => device.Waiting > 0);
        var measuring = Task.Run(measure);
        SpinWait.SpinUntil(() => device.Waiting == 0 || measuring.IsCompleted);
        return measuring;
    }

    static Measurement Ask(ISensor sensor) => sensor.MeasureAsync(CancellationToken.None).AsTask().GetAwaiter().GetResult();

    static string Show(Measurement measurement) =>
        string.Join(", ", measurement.Values.Select(value => FormattableString.Invariant($"{value.Key} {value.Value}")));

    const string Position = "latitude 48.117302, longitude -11.5166687, altitude 545.4, speed 11.524, satellites 8, fix 1";

    [Theory]
    [InlineData("mhz19", "co2 608")]
    [InlineData("pms5003", "pm1 5, pm2p5 9, pm10 11")]
    [InlineData("sds011", "pm2p5 123.6, pm10 261.8")]
    [InlineData("nmea", Position)]
    public void A_device_is_read_and_its_values_are_good_after_its_warm_up(string kind, string expected)
    {
        var isAsked = kind == "mhz19";
        var device = Plug(isAsked ? _ => Stream(kind) : null);
        using var session = _world.Session(Settings(kind));
        Measurement Measured() => isAsked
            ? session.Measure(CancellationToken.None)
            : Measure(() => session.Measure(CancellationToken.None), device, Stream(kind));

        var first = Measured();
        Assert.Equal(expected, Show(first));
        if (kind != "nmea")
        {
            Assert.Equal((ReadingQuality.Uncertain, FaultReason.PowerOn), (first.Quality, first.Reason));
            _world.Waits.Advance(TimeSpan.FromMinutes(3));
        }

        var second = Measured();
        Assert.Equal((ReadingQuality.Good, expected), (second.Quality, Show(second)));
    }

    [Fact]
    public void An_mhz19_is_polled_with_the_command_of_its_data_sheet()
    {
        byte[] asked = [];
        Plug(request =>
        {
            asked = request;
            return Stream("mhz19");
        });
        using var session = _world.Session(Settings("mhz19", ",\"warmUpSeconds\":0"));
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        Assert.Equal("FF0186000000000079", Convert.ToHexString(asked));
    }

    [Theory]
    [InlineData("mhz19")]
    [InlineData("pms5003")]
    [InlineData("sds011")]
    [InlineData("nmea")]
    public void One_flipped_bit_in_the_data_of_a_device_never_gives_a_wrong_value(string kind)
    {
        var right = Stream(kind);
        var answer = right;
        var device = Plug(kind == "mhz19" ? _ => answer : null);
        using var sensor = Sensor(kind);
        string Measured(byte[] first) => Show(kind == "mhz19"
            ? Ask(sensor)
            : Measure(() => Ask(sensor), device, first, right));

        var expected = Measured(right);
        Assert.NotEmpty(expected);
        for (var bit = 0; bit < right.Length * 8; bit++)
        {
            var wrong = (byte[])right.Clone();
            wrong[bit / 8] ^= (byte)(1 << (bit % 8));
            answer = [.. wrong, .. right];
            var measured = Measured(wrong);
            Assert.True(expected == measured, $"bit {bit}: {measured}");
        }
    }

    [Theory]
    [InlineData("pms5003")]
    [InlineData("sds011")]
    [InlineData("nmea")]
    public void Garbage_between_frames_is_skipped(string kind)
    {
        var right = Stream(kind);
        var device = Plug();
        using var sensor = Sensor(kind);
        var expected = Show(Measure(() => Ask(sensor), device, right));
        var piece = Gen.OneOf(
            Gen.Byte.Array[0, 40], // anything
            Gen.Int[0, right.Length].Select(length => right[..length]), // the beginning of a frame
            Gen.Int[0, right.Length].Select(length => right[length..])); // the end of one
        Gen.Select(piece, piece, piece).Sample(
            (first, second, third) =>
            {
                byte[] garbage = [.. first, .. second, .. third];
                if (HasAnotherFrame(kind, [.. garbage, .. right], right)) return;
                Assert.Equal(expected, Show(Measure(() => Ask(sensor), device, garbage, right)));
            },
            iter: Tier.Size("TEST_SERIAL_GARBAGE", quick: 200, full: 2_000, deep: 20_000), threads: 1);
    }

    /// <summary>Whether the garbage contains a valid frame by chance, which cannot be detected.</summary>
    static bool HasAnotherFrame(string kind, byte[] stream, byte[] right)
    {
        if (kind == "nmea")
        {
            return stream.Aggregate(new List<List<byte>> { new() }, (lines, b) =>
            {
                if (b == '\n') lines.Add([]);
                else lines[^1].Add(b);
                return lines;
            }).Any(line => right.AsSpan().IndexOf([.. line]) < 0 && NmeaSentence.Read([.. line]) is not null);
        }

        var length = kind == "sds011" ? 10 : 32;
        return Enumerable.Range(0, Math.Max(0, stream.Length - length + 1)).Select(i => stream[i..(i + length)])
            .Any(frame => right.AsSpan().IndexOf(frame) < 0 && (kind == "sds011"
                ? frame[0] == 0xAA && frame[9] == 0xAB && (byte)frame[2..8].Sum(b => b) == frame[8]
                : frame[0] == 0x42 && frame[1] == 0x4D && frame[..30].Sum(b => b) == (frame[30] << 8 | frame[31])));
    }

    [Fact]
    public void Data_received_before_a_measurement_is_discarded()
    {
        var device = Plug();
        using var session = _world.Session(Settings("sds011", ",\"warmUpSeconds\":0"));
        Assert.Equal(ReadingQuality.Good, Measure(() => session.Measure(CancellationToken.None), device, Stream("sds011")).Quality);
        var old = Bytes("AAC001000200A16004AB"); // 0.1 and 0.2
        foreach (var copies in (int[])[1, 100, 380])
        {
            for (var copy = 0; copy < copies; copy++) device.Send(old);
            SpinWait.SpinUntil(() => device.Waiting >= copies * old.Length);
            Assert.Equal("pm2p5 123.6, pm10 261.8", Show(Measure(() => session.Measure(CancellationToken.None), device, Stream("sds011"))));
        }
    }

    [Fact]
    public void A_port_with_a_full_receive_buffer_is_still_read()
    {
        var device = Plug();
        using var session = _world.Session(Settings("sds011", ",\"warmUpSeconds\":0"));
        for (var poll = 0; poll < 3; poll++)
        {
            device.Fill(Stream("sds011"));
            Assert.Equal("pm2p5 123.6, pm10 261.8", Show(Measure(
                Task.Run(() => session.Measure(CancellationToken.None)), () => device.Fill(Stream("sds011")))));
        }
    }

    [Fact]
    public void An_unplugged_port_is_reopened_by_its_path_and_the_device_warms_up_again()
    {
        Plug(_ => Stream("mhz19"));
        using var session = _world.Session(Settings("mhz19"));
        session.Measure(CancellationToken.None);
        _world.Waits.Advance(TimeSpan.FromMinutes(3));
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);

        _devices[0].Dispose();
        File.Delete(Path.Combine(_world.Root, "dev/ttyUSB0"));
        var gone = session.Measure(CancellationToken.None);
        Assert.Equal((ReadingQuality.Bad, FaultReason.Absent), (gone.Quality, gone.Reason));
        Assert.Contains("/dev/ttyUSB0 does not exist: plug it in", gone.Detail, StringComparison.Ordinal);

        Plug(_ => Stream("mhz19")); // a different device node
        var back = session.Measure(CancellationToken.None);
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.PowerOn, "co2 608"), (back.Quality, back.Reason, Show(back)));
        _world.Waits.Advance(TimeSpan.FromMinutes(3));
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
    }

    [Fact]
    public void A_port_unplugged_while_waiting_for_data_fails_at_once()
    {
        var device = Plug();
        using var sensor = Sensor("sds011");
        var measuring = Begin(() => Ask(sensor), device);
        device.Dispose();
        var fault = Assert.Throws<SensorFault>(() => measuring.GetAwaiter().GetResult());
        Assert.Equal(FaultReason.Io, fault.Reason);
    }

    [Fact]
    public void A_silent_device_and_unrecognised_data_are_reported_differently()
    {
        var device = Plug(request => null);
        using var silent = new SensorSession(
            Settings("mhz19"), _world.WorldOn(TimeProvider.System), null, 0.5, NullLogger.Instance);
        var nothing = silent.Measure(CancellationToken.None);
        Assert.Equal(FaultReason.Timeout, nothing.Reason);
        Assert.Equal("nothing received for 1 s: is it wired to this port?", nothing.Detail);

        Plug(request => [1, 2, 3]);
        using var other = new SensorSession(
            Settings("mhz19", ",\"baud\":4800"), _world.WorldOn(TimeProvider.System), null, 0.5, NullLogger.Instance);
        var garbage = other.Measure(CancellationToken.None);
        Assert.Equal(FaultReason.Crc, garbage.Reason);
        Assert.StartsWith("3 bytes received without an intact frame: is 4800 baud right", garbage.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_path_that_is_not_a_serial_port_is_reported_as_absent()
    {
        _world.Write("dev/ttyUSB0", "");
        var file = _world.Measure("mhz19", "\"port\":\"/dev/ttyUSB0\"");
        Assert.Equal((FaultReason.Absent, "/dev/ttyUSB0 is not a serial port"), (file.Reason, file.Detail));
    }

    [Theory]
    [InlineData("mhz19", "FF860000000000007A", FaultReason.Range, "co2 0")]
    [InlineData("mhz19", "FF867FFF00000000FC", FaultReason.Range, "co2 32767")]
    [InlineData("sds011", "AAC0FFFF0000A160FFAB", FaultReason.Range, "pm2p5 6553.5, pm10 0")]
    [InlineData("pms5003", "424D001C00000000000003E900000000 00000000000000000000000097000000", FaultReason.Range, "pm1 1001, pm2p5 0, pm10 0")]
    [InlineData("pms5003", "424D001C000000000000000000000000 00000000000000000000000097010000", FaultReason.Invalid, "")]
    public void A_value_that_the_device_cannot_have_measured_is_not_good(string kind, string frame, string reason, string values)
    {
        var bytes = Bytes(frame);
        var sum = bytes[..^2].Sum(value => value);
        if (kind == "pms5003") (bytes[^2], bytes[^1]) = ((byte)(sum >> 8), (byte)sum);

        var device = Plug(kind == "mhz19" ? _ => bytes : null);
        using var session = _world.Session(Settings(kind, ",\"warmUpSeconds\":0"));
        var measurement = kind == "mhz19"
            ? session.Measure(CancellationToken.None)
            : Measure(() => session.Measure(CancellationToken.None), device, bytes);
        Assert.NotEqual(ReadingQuality.Good, measurement.Quality);
        Assert.Equal((reason, values), (measurement.Reason, Show(measurement)));
    }

    [Fact]
    public void A_receiver_without_a_fix_is_uncertain_and_reports_no_position()
    {
        var device = Plug();
        using var sensor = Sensor("nmea");
        foreach (var stream in (byte[][])[Fix(status: "V", quality: 0), Fix(status: "V"), Fix(quality: 0)])
        {
            var measurement = Measure(() => Ask(sensor), device, stream);
            Assert.Equal((ReadingQuality.Uncertain, FaultReason.NoFix), (measurement.Quality, measurement.Reason));
            Assert.Equal("satellites 8, fix 0", Show(measurement));
        }

        byte[] cold = [.. Sentence("GPRMC,,V,,,,,,,,,,N"), .. Sentence("GPGGA,,,,,,0,00,99.99,,,,,,")];
        Assert.Equal("satellites 0, fix 0", Show(Measure(() => Ask(sensor), device, cold)));
        Assert.Equal(FaultReason.NoFix, Measure(() => Ask(sensor), device, Fix(quality: 6)).Reason);
    }

    [Fact]
    public void NMEA_sentences_of_different_seconds_are_not_combined()
    {
        var device = Plug();
        using var sensor = Sensor("nmea");
        byte[] torn =
        [
            .. Sentence("GPRMC,100000,A,1000.000,N,01000.000,E,0.0,0.0,010126,,,A"),
            .. Sentence("GPGGA,100001,2000.000,N,02000.000,E,1,08,0.9,1.0,M,0,M,,"),
            .. Sentence("GPRMC,100001,A,2000.000,N,02000.000,E,1.0,0.0,010126,,,A"),
        ];
        Assert.Equal(
            "latitude 20, longitude 20, altitude 1, speed 0.514, satellites 8, fix 1",
            Show(Measure(() => Ask(sensor), device, torn)));
    }
}
