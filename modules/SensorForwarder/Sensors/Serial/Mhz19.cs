using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Serial;

/// <summary>Kind <c>mhz19</c>: Winsen MH-Z19B, MH-Z19C. Data sheet of the MH-Z19B, command 0x86; its checksum is the
/// two's complement of the sum of bytes 1 to 7.</summary>
internal static class Mhz19
{
    const double HighestPpm = 10_000;

    static readonly FrameForm Form = new(
        [0xFF, 0x86], 9, frame => (byte)FrameForm.Sum(frame.AsSpan(1, 8)) == 0);

    public static SensorKind Kind { get; } = FrameSensor.Kind(
        "mhz19", "Winsen MH-Z19: CO2", [new("co2", "ppm", 1, HighestPpm)], Form,
        request: [0xFF, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79], Read, warmUpSeconds: 180);

    static Measurement Read(byte[] frame) =>
        Measured.Good(Measured.Value("co2", (frame[2] << 8) | frame[3], 0));
}
