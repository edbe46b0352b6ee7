namespace SensorForwarder.Sensors.Drivers;

/// <summary>
/// Kinds <c>ina219</c> and <c>ina226</c>: TI's current and power monitors, measuring all the time. Registers and formulas:
/// data sheets SBOS448 section 8.5 and SBOS547 section 7.5.
/// </summary>
internal sealed class PowerMonitor : ISensor
{
    const byte ConfigRegister = 0, BusRegister = 2, PowerRegister = 3, CurrentRegister = 4, CalibrationRegister = 5;
    const int CurrentSteps = 32_768;
    static readonly int[] Addresses = [.. Enumerable.Range(0x40, 16)];
    static readonly SensorValue[] Values = [new("voltage", "V"), new("current", "A"), new("power", "W")];

    static readonly SensorOption<double> Shunt = SensorOption.Number("shuntOhms", 0.0001, 100, 0.1, "Resistance of the shunt, in ohms.");

    static readonly SensorOption<double> MaxAmperes = SensorOption.Number(
        "maxAmperes", 0.001, 1000, 3.2, "The largest current to measure; the resolution is 1/32768 of it.");

    public static SensorKind Ina219 { get; } = I2cPort.Kind(
        "ina219", "TI INA219: voltage, current, power", Addresses, Values,
        (port, settings) => new PowerMonitor(port, settings, Chip.Ina219), Shunt, MaxAmperes)
        with
    { Probe = new([ConfigRegister], 2, answer => answer is [0x39, 0x9F]) { IsGuess = true } };

    public static SensorKind Ina226 { get; } = I2cPort.Kind(
        "ina226", "TI INA226: voltage, current, power", Addresses, Values,
        (port, settings) => new PowerMonitor(port, settings, Chip.Ina226), Shunt, MaxAmperes)
        with
    { Probe = new([0xFF], 2, answer => answer is [0x22, 0x60]) };

    /// <summary>What differs from chip to chip.</summary>
    /// <param name="CalibrationScale">The constant in the formula of the calibration register.</param>
    /// <param name="PowerSteps">The power's step in steps of the current.</param>
    sealed record Chip(double CalibrationScale, double PowerSteps, int Config, double ConversionMilliseconds)
    {
        // Both continuously, 12 bits, 32 V; both continuously, 1.1 ms, no average: the values after power-on.
        public static readonly Chip Ina219 = new(0.04096, 20, 0x399F, 2), Ina226 = new(0.00512, 25, 0x4127, 4);
    }

    readonly I2cPort _port;
    readonly Chip _chip;
    readonly double _ampereStep;
    readonly int _calibration;

    PowerMonitor(I2cPort port, SensorSettings settings, Chip chip)
    {
        (_port, _chip) = (port, chip);
        var (ohms, amperes) = (settings.Get(Shunt), settings.Get(MaxAmperes));
        _ampereStep = amperes / CurrentSteps;
        _calibration = (int)Math.Min(Math.Floor((chip.CalibrationScale / (_ampereStep * ohms)) + 1e-6), int.MaxValue);
        if (_calibration is < 1 or > 0xFFFE)
        {
            throw new SensorSettingsException(FormattableString.Invariant(
                $"maxAmperes: {amperes} with shuntOhms {ohms} is more than the chip can be calibrated for; their product may be {chip.CalibrationScale * CurrentSteps / 0xFFFE:0.####}..{chip.CalibrationScale * CurrentSteps:0} V"));
        }
    }

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        // It forgets its calibration when the supply dips, and would then say 0 A.
        if (!IsCalibrated())
        {
            _port.WriteWord(ConfigRegister, _chip.Config);
            _port.WriteWord(CalibrationRegister, _calibration);
            _port.Pause(_chip.ConversionMilliseconds, cancellationToken);
            if (!IsCalibrated()) throw new SensorFault(FaultReason.Invalid, "the chip does not keep its calibration");
        }

        var bus = _port.ReadWord(BusRegister);
        var is219 = _chip == Chip.Ina219;
        var volts = is219 ? (bus >> 3) * 0.004 : bus * 0.00125;
        KeyValuePair<string, double>[] values =
        [
            Measured.Value("voltage", volts, 4),
            Measured.Value("current", (short)_port.ReadWord(CurrentRegister) * _ampereStep, 6),
            Measured.Value("power", _port.ReadWord(PowerRegister) * _chip.PowerSteps * _ampereStep, 6),
        ];
        var overflow = is219 && (bus & 1) != 0;
        return ValueTask.FromResult(overflow
            ? Measured.Uncertain(FaultReason.OverRange, "the current is above maxAmperes", values)
            : Measured.Good(values));
    }

    public void Dispose() => _port.Dispose();

    // The lowest bit of the INA219's register is always 0.
    bool IsCalibrated() => ((_port.ReadWord(CalibrationRegister) ^ _calibration) & 0xFFFE) == 0;
}
