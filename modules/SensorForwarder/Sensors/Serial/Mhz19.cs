using SensorForwarder.Options;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Serial;

/// <summary>Kind <c>mhz19</c>: Winsen MH-Z19B, MH-Z19C. Data sheet of the MH-Z19B, command 0x86; its checksum is the
/// two's complement of the sum of bytes 1 to 7.</summary>
internal static class Mhz19
{
    const double HighestPpm = 10_000, WarmUpSeconds = 180;

    static readonly Option<double> WarmUp = FrameSensor.WarmUpOption(WarmUpSeconds);

    static readonly FrameForm Form = new(
        [0xFF, 0x86], 9, frame => (byte)FrameForm.Sum(frame.AsSpan(1, 8)) == 0);

    public static SensorKind Kind { get; } = SerialPort.Kind(
        "mhz19", "Winsen MH-Z19: CO2", 9600, [new("co2", "ppm", 1, HighestPpm)], (port, settings) => new FrameSensor(
            port, Form, [0xFF, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79], Read, TimeSpan.FromSeconds(settings.Get(WarmUp))),
        WarmUp);

    static Measurement Read(byte[] frame) =>
        Measured.Good(Measured.Value("co2", (frame[2] << 8) | frame[3], 0));
}
