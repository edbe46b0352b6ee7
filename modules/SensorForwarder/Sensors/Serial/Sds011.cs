using System.Buffers.Binary;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Serial;

/// <summary>Kind <c>sds011</c>: Nova SDS011 (and SDS018, SDS021), which sends about every second. "Laser Dust Sensor
/// Control Protocol", version 1.3; byte 8 is the sum of bytes 2 to 7.</summary>
internal static class Sds011
{
    const int Fine = 2, Coarse = 4, Checksum = 8;
    const byte Tail = 0xAB;
    const double Highest = 999.9;

    static readonly FrameForm Form = new([0xAA, 0xC0], 10, frame =>
        (byte)FrameForm.Sum(frame.AsSpan(Fine, Checksum - Fine)) == frame[Checksum] && frame[^1] == Tail);

    public static SensorKind Kind { get; } = FrameSensor.Kind(
        "sds011", "Nova SDS011: particulate matter",
        [new("pm2p5", "ug/m3", 0, Highest), new("pm10", "ug/m3", 0, Highest)], Form, request: [], Read,
        warmUpSeconds: 30);

    static Measurement Read(byte[] frame) => Measured.Good(
        Measured.Value("pm2p5", BinaryPrimitives.ReadUInt16LittleEndian(frame.AsSpan(Fine)) / 10.0, 1),
        Measured.Value("pm10", BinaryPrimitives.ReadUInt16LittleEndian(frame.AsSpan(Coarse)) / 10.0, 1));
}
