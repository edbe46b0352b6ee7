using System.Buffers.Binary;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>
/// Kinds <c>bme280</c> and <c>bmp280</c>: Bosch's temperature, pressure and humidity chips. One forced measurement a
/// reading. Registers and compensation formulas: BME280 data sheet BST-BME280-DS001, sections 4.2.3, 5.3 and 5.4.
/// </summary>
internal sealed class Bme280(I2cPort port, bool hasHumidity) : ISensor
{
    const byte IdRegister =
        0xD0, ResetRegister = 0xE0, HumidityControl = 0xF2, Status = 0xF3, Control = 0xF4, Config = 0xF5, Data = 0xF7;
    const byte Reset = 0xB6, HumidityOnce = 1, ForcedOnce = 0x25, ControlAfterwards = 0x24, Measuring = 0x08,
        CopyingCalibration = 0x01;
    const int BmeId = 0x60, BmpId = 0x58, Skipped20Bits = 0x80000, Skipped16Bits = 0x8000, All20Bits = 0xFFFFF;

    public static SensorKind Bme { get; } = Describe(
        "bme280", "Bosch BME280: temperature, humidity, pressure", hasHumidity: true);

    public static SensorKind Bmp { get; } = Describe(
        "bmp280", "Bosch BMP280: temperature, pressure", hasHumidity: false);

    // Limits for the fastest plausible changes: a window that is opened, a breath, a lift.
    readonly Plausibility _plausibility = new(
        port.TimeProvider, new("temperature", 5, 1), new("pressure", 10, 2), new("humidity", 20, 5));

    readonly Flatline _flatline = new();
    byte[] _last = [];
    Calibration? _calibration;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken) =>
        ValueTask.FromResult(Measure(cancellationToken));

    public void Dispose() => port.Dispose();

    static SensorKind Describe(string name, string text, bool hasHumidity) => I2cPort.Kind(
        name, text, [0x76, 0x77],
        [
            new("temperature", "degrees Celsius", -40, 85), new("pressure", "hPa", 300, 1100),
            .. hasHumidity ? [new SensorValue("humidity", "percent", 0, 100)] : Array.Empty<SensorValue>(),
        ],
        (port, _) => new Bme280(port, hasHumidity))
        with
    { Probe = new([IdRegister], 1, answer => answer[0] == (hasHumidity ? BmeId : BmpId)) };

    Measurement Measure(CancellationToken cancellationToken)
    {
        // A chip that has been reset or replaced lacks the register values of the last measurement.
        if (_calibration is null || !HasKeptItsRegisters()) _calibration = Start(cancellationToken);
        var raw = Force(cancellationToken);
        // The chip is noisy: identical raw data may be the previous measurement, after a command that was lost.
        if (raw.AsSpan().SequenceEqual(_last)) raw = Force(cancellationToken);
        _last = raw;
        var rawPressure = (raw[0] << 12) | (raw[1] << 4) | (raw[2] >> 4);
        var rawTemperature = (raw[3] << 12) | (raw[4] << 4) | (raw[5] >> 4);
        if (rawTemperature is Skipped20Bits or All20Bits or 0 || rawPressure is Skipped20Bits or All20Bits or 0)
            return Measurement.Bad(
                FaultReason.Invalid, "the chip has not measured: was it reset? Check supply and wires");
        var fine = _calibration.FineTemperature(rawTemperature);
        var values = new List<KeyValuePair<string, double>>
        {
            Measured.Value("temperature", Calibration.Temperature(fine), 2),
            Measured.Value("pressure", _calibration.Pressure(rawPressure, fine) / 256.0 / 100, 3),
        };
        if (hasHumidity)
        {
            var rawHumidity = (raw[6] << 8) | raw[7];
            if (rawHumidity == Skipped16Bits) return Measurement.Bad(
                FaultReason.Invalid, "the chip has not measured humidity: was it reset?");
            values.Add(Measured.Value("humidity", _calibration.Humidity(rawHumidity, fine) / 1024.0, 2));
        }

        if (_plausibility.FindMisread(values) is { } jump)
            return Measured.Uncertain(FaultReason.Range, jump, [.. values]);
        return _flatline.IsFlat(raw)
            ? Measured.Uncertain(
                FaultReason.Flatline, $"not one bit has changed in {Flatline.Polls} readings", [.. values])
            : Measured.Good([.. values]);
    }

    byte[] Force(CancellationToken cancellationToken)
    {
        if (hasHumidity) port.Write(HumidityControl, HumidityOnce); // takes effect with the next write
        port.Write(Control, ForcedOnce);
        port.Pause(10, cancellationToken); // 9.3 ms at most for three values, section 9.1
        WaitFor(Measuring, cancellationToken);
        return port.ReadTwice([Data], hasHumidity ? 8 : 6);
    }

    bool HasKeptItsRegisters()
    {
        var registers = port.ReadTwice([HumidityControl], 4);
        return registers[2] == ControlAfterwards && (!hasHumidity || (registers[0] & 7) == HumidityOnce);
    }

    Calibration Start(CancellationToken cancellationToken)
    {
        var id = port.ReadTwice([IdRegister], 1)[0];
        if (id != (hasHumidity ? BmeId : BmpId))
        {
            throw new SensorFault(FaultReason.Invalid, id switch
            {
                BmeId => "this is a BME280: use kind bme280",
                BmpId => "this is a BMP280, which has no humidity: use kind bmp280",
                0x61 => "this is a BME680: use kind iio with its kernel driver (dtoverlay=i2c-sensor,bme680)",
                _ => $"the chip's id is 0x{id:x2}, not that of a {(hasHumidity ? "BME280" : "BMP280")}",
            });
        }

        _plausibility.Forget();
        port.Write(ResetRegister, Reset);
        port.Pause(2, cancellationToken);
        WaitFor(CopyingCalibration, cancellationToken);
        var first = port.ReadTwice([0x88], 26);
        var second = hasHumidity ? port.ReadTwice([0xE1], 7) : new byte[7];
        port.Write(Config, 0);
        return Calibration.Read(first, second);
    }

    void WaitFor(byte bit, CancellationToken cancellationToken)
    {
        const int Tries = 20;
        for (var i = 0; i < Tries; i++)
        {
            if ((port.ReadRegisters(Status, 1)[0] & bit) == 0) return;
            port.Pause(2, cancellationToken);
        }

        throw new SensorFault(FaultReason.Invalid, "the chip does not finish its measurement");
    }

    /// <summary>The calibration values of a chip and the compensation formulas.</summary>
    sealed record Calibration(
        int T1, int T2, int T3, long P1, long P2, long P3, long P4, long P5, long P6, long P7, long P8, long P9,
        int H1, int H2, int H3, int H4, int H5, int H6)
    {
        /// <param name="low">Registers 0x88 to 0xA1.</param>
        /// <param name="high">Registers 0xE1 to 0xE7.</param>
        public static Calibration Read(byte[] low, byte[] high)
        {
            var p1 = Unsigned(low, 6);
            if (p1 == 0) throw new SensorFault(FaultReason.Invalid, "the chip's calibration is empty");
            return new(
                Unsigned(low, 0), Signed(low, 2), Signed(low, 4), p1, Signed(low, 8), Signed(low, 10), Signed(low, 12),
                Signed(low, 14), Signed(low, 16), Signed(low, 18), Signed(low, 20), Signed(low, 22),
                low[25], Signed(high, 0), high[2],
                ((sbyte)high[3] << 4) | (high[4] & 0x0F), ((sbyte)high[5] << 4) | (high[4] >> 4), (sbyte)high[6]);
        }

        public int FineTemperature(int raw)
        {
            var first = (((raw >> 3) - (T1 << 1)) * T2) >> 11;
            var offset = (raw >> 4) - T1;
            return first + ((((offset * offset) >> 12) * T3) >> 14);
        }

        /// <summary>In degrees Celsius.</summary>
        public static double Temperature(int fine) => ((fine * 5) + 128 >> 8) / 100.0;

        /// <summary>In 1/256 Pa.</summary>
        public long Pressure(int raw, int fine)
        {
            var first = fine - 128_000L;
            var second = (first * first * P6) + ((first * P5) << 17) + (P4 << 35);
            first = ((first * first * P3) >> 8) + ((first * P2) << 12);
            first = (((1L << 47) + first) * P1) >> 33;
            if (first == 0) throw new SensorFault(FaultReason.Invalid, "the chip's calibration is invalid");
            var pressure = ((((1_048_576L - raw) << 31) - second) * 3125) / first;
            first = (P9 * (pressure >> 13) * (pressure >> 13)) >> 25;
            second = (P8 * pressure) >> 19;
            return ((pressure + first + second) >> 8) + (P7 << 4);
        }

        /// <summary>In 1/1024 percent.</summary>
        public int Humidity(int raw, int fine)
        {
            var v = fine - 76_800;
            v = ((((raw << 14) - (H4 << 20) - (H5 * v)) + 16_384) >> 15)
                * (((((((v * H6) >> 10) * (((v * H3) >> 11) + 32_768)) >> 10) + 2_097_152) * H2 + 8_192) >> 14);
            v -= (((v >> 15) * (v >> 15) >> 7) * H1) >> 4;
            return Math.Clamp(v, 0, 419_430_400) >> 12;
        }

        static int Unsigned(byte[] bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at));

        static int Signed(byte[] bytes, int at) => BinaryPrimitives.ReadInt16LittleEndian(bytes.AsSpan(at));
    }
}
