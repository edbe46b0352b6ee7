using SensorForwarder.Readings;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Serial;

/// <summary>
/// Kind <c>nmea</c>: a GPS, Galileo, GLONASS or BeiDou receiver that speaks NMEA 0183. A reading combines the RMC and
/// GGA sentences of one second, from any talker. Bytes received before the measurement began are discarded.
/// </summary>
internal sealed class NmeaSensor(SerialPort port) : ISensor
{
    const double MetresASecondInAKnot = 1852.0 / 3600;
    const int LongestLine = 256; // 82 by the standard

    // Field numbers of NMEA 0183.
    const int Time = 1, RmcStatus = 2, RmcLatitude = 3, RmcLongitude = 5, RmcKnots = 7, GgaQuality = 6,
        GgaSatellites = 7, GgaAltitude = 9;

    const int NoFix = 0, Estimated = 6;

    static readonly TimeSpan SentBy = TimeSpan.FromSeconds(3);

    public static SensorKind Kind { get; } = SerialPort.Kind(
        "nmea", "a GPS, Galileo or GLONASS receiver that speaks NMEA 0183: position, speed, altitude", 9600,
        [
            new("latitude", "degrees", -90, 90), new("longitude", "degrees", -180, 180),
            new("altitude", "m", -1000, 100_000), new("speed", "m/s", 0, 1000),
            new("satellites", "satellites in use", 0, 99),
            new("fix", "0 none, 1 satellites, 2 differential, 4 and 5 RTK, 6 to 8 estimated", 0, 9),
        ],
        (port, _) => new NmeaSensor(port)) with
    { IsHeardIn = HasSentence };

    readonly byte[] _bytes = new byte[512];
    int _length;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        port.Discard();
        _length = 0;
        NmeaSentence? rmc = null, gga = null;
        var began = port.TimeProvider.GetTimestamp();
        var received = 0;
        while (true)
        {
            var read = port.Read(_bytes.AsSpan(_length), began, SentBy, cancellationToken);
            if (read == 0) throw Missing(received, rmc, gga);
            received += read;
            _length += read;
            while (TakeLine() is { } line)
            {
                if (NmeaSentence.Read(line) is not { } sentence) continue;
                if (sentence.Type == "RMC") rmc = sentence;
                if (sentence.Type == "GGA") gga = sentence;
                if (rmc is not null && gga is not null && rmc.Field(Time) == gga.Field(Time))
                    return ValueTask.FromResult(Combine(rmc, gga));
            }
        }
    }

    public void Dispose() => port.Dispose();

    static bool HasSentence(byte[] bytes)
    {
        foreach (var line in bytes.AsSpan().Split((byte)'\n'))
        {
            if (NmeaSentence.Read(bytes.AsSpan(line)) is { Type: "RMC" or "GGA" }) return true;
        }

        return false;
    }

    /// <summary>Removes the next complete line from the received bytes and returns it without its end; null if there is
    /// none.</summary>
    byte[]? TakeLine()
    {
        var received = _bytes.AsSpan(0, _length);
        var end = received.IndexOf((byte)'\n');
        if (end < 0)
        {
            if (_length > LongestLine) _length = 0; // not NMEA
            return null;
        }

        var line = received[..end].ToArray();
        received[(end + 1)..].CopyTo(_bytes);
        _length -= end + 1;
        return line;
    }

    static Measurement Combine(NmeaSentence rmc, NmeaSentence gga)
    {
        var (fix, satellites) = (gga.Number(GgaQuality) ?? NoFix, gga.Number(GgaSatellites) ?? 0);
        var (latitude, longitude) =
            (rmc.Angle(RmcLatitude, "N", "S", 90), rmc.Angle(RmcLongitude, "E", "W", 180));
        if (rmc.Field(RmcStatus) != "A" || fix == NoFix || latitude is null || longitude is null)
            return Measured.Uncertain(
                FaultReason.NoFix, "the receiver has no position: it needs a view of the sky, and minutes at a start",
                new("satellites", satellites), new("fix", NoFix));
        var values = new List<KeyValuePair<string, double>>
        {
            new("latitude", latitude.Value), new("longitude", longitude.Value),
        };
        if (gga.Number(GgaAltitude) is { } altitude) values.Add(new("altitude", altitude));
        if (rmc.Number(RmcKnots) is { } knots) values.Add(Measured.Value("speed", knots * MetresASecondInAKnot, 3));
        values.Add(new("satellites", satellites));
        values.Add(new("fix", fix));
        if (fix >= Estimated)
            return Measured.Uncertain(FaultReason.NoFix, "the position is estimated, not measured", [.. values]);
        return values.Count == Kind.Values.Count
            ? Measured.Good([.. values])
            : Measured.Uncertain(FaultReason.Partial, "altitude or speed is missing", [.. values]);
    }

    SensorFault Missing(int received, NmeaSentence? rmc, NmeaSentence? gga) => (rmc, gga) switch
    {
        (null, null) when received == 0 => new(
            FaultReason.Timeout, $"nothing received for {SentBy.TotalSeconds:0} s: is it wired to this port?"),
        (null, null) => new(
            FaultReason.Crc, $"{received} bytes received without an intact sentence RMC or GGA: is {port.Format.Baud} "
                + "baud right?"),
        _ => new(
            FaultReason.Timeout, $"the receiver sent {(rmc is null ? "GGA" : gga is null ? "RMC" : "RMC and GGA")}, "
                + $"but not both for the same second within {SentBy.TotalSeconds:0} s: enable both"),
    };
}
