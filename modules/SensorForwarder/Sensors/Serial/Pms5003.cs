using System.Buffers.Binary;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Serial;

/// <summary>Kind <c>pms5003</c>: Plantower PMS5003 and its relatives with frames of 32 bytes (PMS7003, PMSA003), which
/// send about every second. Data sheet, appendix I; the last word is the sum of the 30 bytes before.</summary>
internal static class Pms5003
{
    const int FirstAtmospheric = 10, ErrorCode = 29, Checksum = 30;
    const double Highest = 1000;

    static readonly FrameForm Form = new([0x42, 0x4D, 0x00, 0x1C], 32, frame =>
        FrameForm.Sum(frame.AsSpan(0, Checksum)) == BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(Checksum)));

    public static SensorKind Kind { get; } = FrameSensor.Kind(
        "pms5003", "Plantower PMS5003, PMS7003: particulate matter",
        [
            new("pm1", "ug/m3", 0, Highest), new("pm2p5", "ug/m3", 0, Highest), new("pm10", "ug/m3", 0, Highest),
        ],
        Form, request: [], Read, warmUpSeconds: 30);

    static Measurement Read(byte[] frame)
    {
        if (frame[ErrorCode] != 0)
            return Measurement.Bad(FaultReason.Invalid, $"the device reports error 0x{frame[ErrorCode]:x2}");
        return Measured.Good([.. ((string[])["pm1", "pm2p5", "pm10"]).Select((name, i) => Measured.Value(
            name, BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(FirstAtmospheric + (2 * i))), 0))]);
    }
}
