namespace SensorForwarder.Sensors.Drivers;

/// <summary>Kind <c>aht20</c>: Aosong AHT20, AHT21, DHT20: data sheet AHT20, sections 5.3 and 5.4.</summary>
internal sealed class Aht20(I2cPort port) : ISensor
{
    const byte Busy = 0x80, Calibrated = 0x18;
    const double Span = 1 << 20;

    public static SensorKind Kind { get; } = I2cPort.Kind(
        "aht20", "Aosong AHT20, AHT21, DHT20: temperature, humidity", [0x38],
        [new("temperature", "degrees Celsius", -40, 85), new("humidity", "percent", 0, 100)],
        (port, _) => new Aht20(port))
        with
    { Probe = new([0x71], 1, answer => (answer[0] & Busy) == 0) { IsGuess = true } };

    bool _isStarted;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        if (!_isStarted) Start(cancellationToken);
        port.Write(0xAC, 0x33, 0x00);
        port.Pause(80, cancellationToken);
        var frame = ReadFrame(cancellationToken);
        if (Crc8.Sensirion(frame.AsSpan(0, 6)) != frame[6])
            throw new SensorFault(FaultReason.Crc, "the checksum does not match: noise on the wires?");
        if ((frame[0] & Calibrated) != Calibrated)
            return ValueTask.FromResult(Measurement.Bad(FaultReason.Invalid, "the chip was reset"));
        var humidity = (frame[1] << 12) | (frame[2] << 4) | (frame[3] >> 4);
        var temperature = ((frame[3] & 0x0F) << 16) | (frame[4] << 8) | frame[5];
        return ValueTask.FromResult(Measured.Good(
            Measured.Value("temperature", (temperature / Span * 200) - 50, 2), Measured.Value(
                "humidity", humidity / Span * 100, 2)));
    }

    public void Dispose() => port.Dispose();

    void Start(CancellationToken cancellationToken)
    {
        port.Pause(40, cancellationToken); // the chip may have been powered on just now
        if ((port.WriteRead([0x71], 1)[0] & Calibrated) != Calibrated)
        {
            port.Write(0xBE, 0x08, 0x00);
            port.Pause(10, cancellationToken);
        }

        _isStarted = true;
    }

    byte[] ReadFrame(CancellationToken cancellationToken)
    {
        const int Tries = 5;
        for (var i = 0; i < Tries; i++)
        {
            var frame = port.Read(7);
            if ((frame[0] & Busy) == 0) return frame;
            port.Pause(10, cancellationToken);
        }

        throw new SensorFault(FaultReason.Invalid, "the chip does not finish its measurement");
    }
}
