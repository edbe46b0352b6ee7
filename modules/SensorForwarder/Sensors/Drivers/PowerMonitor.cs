using SensorForwarder.Options;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>
/// Kinds <c>ina219</c> and <c>ina226</c>: TI's current and power monitors. Each reading starts one measurement, so the
/// registers do not change while they are read. Registers and formulas: data sheets SBOS448 section 8.5 and SBOS547
/// section 7.5.
/// </summary>
internal sealed class PowerMonitor : ISensor
{
    const byte ConfigRegister = 0, ShuntRegister = 1, BusRegister = 2, PowerRegister = 3, CurrentRegister = 4;
    const byte CalibrationRegister = 5, MaskRegister = 6;
    const int CurrentSteps = 32_768;
    static readonly int[] Addresses = [.. Enumerable.Range(0x40, 16)];
    static readonly Option<double> Shunt = Option.Number(
        "shuntOhms", 0.0001, 100, 0.1, "Resistance of the shunt, in ohms.");

    static readonly Option<double> MaxAmperes = Option.Number(
        "maxAmperes", 0.001, 1000, 3.2, "The largest current to measure; the resolution is 1/32768 of it.");

    public static SensorKind Ina219 { get; } = I2cPort.Kind(
        "ina219", "TI INA219: voltage, current, power", Addresses, Values(32),
        (port, settings) => new PowerMonitor(port, settings, Chip.Ina219), Shunt, MaxAmperes)
        with
    { Probe = new([ConfigRegister], 2, answer => answer is [0x39, 0x9F or 0x9B]) { IsGuess = true } };

    public static SensorKind Ina226 { get; } = I2cPort.Kind(
        "ina226", "TI INA226: voltage, current, power", Addresses, Values(40.96),
        (port, settings) => new PowerMonitor(port, settings, Chip.Ina226), Shunt, MaxAmperes)
        with
    { Probe = new([0xFF], 2, answer => answer is [0x22, 0x60]) };

    // The range of current and power depends on the shunt.
    static SensorValue[] Values(double mostVolts) =>
        [new("voltage", "V", 0, mostVolts), new("current", "A"), new("power", "W")];

    /// <summary>What differs from chip to chip.</summary>
    /// <param name="CalibrationScale">The constant in the formula of the calibration register.</param>
    /// <param name="CalibrationMax">The largest value of that register.</param>
    /// <param name="PowerSteps">The step of the power, in steps of the current.</param>
    /// <param name="Config">Measures shunt and bus once, without averaging. After a reset the chip measures
    /// continuously.</param>
    /// <param name="ConfigMask">The bits of the configuration that have a meaning.</param>
    /// <param name="ShuntMax">The largest value of the shunt register.</param>
    /// <param name="BusMax">The largest value of the bus register, in steps.</param>
    sealed record Chip(
        double CalibrationScale, int CalibrationMax, double PowerSteps, int Config, int ConfigMask,
        double ConversionMilliseconds, double ShuntStepVolts, int ShuntMax, double BusStepVolts, int BusMax)
    {
        // 12 bits, 32 V, 320 mV across the shunt.
        public static readonly Chip Ina219 =
            new(0.04096, 0xFFFE, 20, 0x399B, 0x3FFF, 2, 10e-6, 32_000, 0.004, 8000);

        // 1.1 ms for each, 81.92 mV across the shunt.
        public static readonly Chip Ina226 =
            new(0.00512, 0x7FFF, 25, 0x4123, 0x0FFF, 4, 2.5e-6, 0x7FFF, 0.00125, 0x7FFF);
    }

    readonly I2cPort _port;
    readonly Chip _chip;
    readonly double _ohms;
    readonly double _ampereStep;
    readonly int _calibration;

    PowerMonitor(I2cPort port, SensorSettings settings, Chip chip)
    {
        (_port, _chip) = (port, chip);
        _ohms = settings.Get(Shunt);
        var amperes = settings.Get(MaxAmperes);
        _ampereStep = amperes / CurrentSteps;
        _calibration = (int)Math.Min(Math.Floor((chip.CalibrationScale / (_ampereStep * _ohms)) + 1e-6), int.MaxValue);
        if (_calibration < 1 || _calibration > chip.CalibrationMax)
        {
            var most = chip.CalibrationScale * CurrentSteps;
            throw new SensorSettingsException(
                $"maxAmperes: {amperes} with shuntOhms {_ohms} is not what the chip can be calibrated for; "
                + $"their product may be {most / chip.CalibrationMax:0.####}..{most:0} V");
        }
    }

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        // A dip of the supply resets the calibration, and the current then reads as 0 A.
        if (!IsSetUp())
        {
            _port.WriteWord(ConfigRegister, _chip.Config);
            _port.WriteWord(CalibrationRegister, _calibration);
            if (!IsSetUp()) throw new SensorFault(FaultReason.Invalid, "the chip does not keep its calibration");
        }

        _port.WriteWord(ConfigRegister, _chip.Config); // begins a measurement
        _port.Pause(_chip.ConversionMilliseconds, cancellationToken);
        var is219 = _chip == Chip.Ina219;
        var bus = _port.ReadWord(BusRegister);
        var shunt = (short)_port.ReadWord(ShuntRegister);
        var current = (short)_port.ReadWord(CurrentRegister);
        // Reading the mask (INA226) or the power (INA219) clears the flag that the measurement has ended.
        var mask = is219 ? 0 : _port.ReadRegisters(MaskRegister, 2)[1];
        var power = _port.ReadWord(PowerRegister);
        if (!IsSetUp()) throw new SensorFault(FaultReason.Invalid, "the chip was reset while it was read");
        if (is219 ? (bus & 2) == 0 : (mask & 8) == 0)
            throw new SensorFault(FaultReason.Invalid, "the chip has not measured");

        var hasOverflowed = is219 ? (bus & 1) != 0 : (mask & 4) != 0;
        return ValueTask.FromResult(Judge(is219 ? bus >> 3 : bus, shunt, current, power, hasOverflowed));
    }

    public void Dispose() => _port.Dispose();

    /// <summary>Omits values whose register is saturated; the true value is larger.</summary>
    Measurement Judge(int busSteps, int shunt, int current, int power, bool hasOverflowed)
    {
        var values = new List<KeyValuePair<string, double>>(3);
        string? problem = null;
        if (busSteps < _chip.BusMax) values.Add(Measured.Value("voltage", busSteps * _chip.BusStepVolts, 4));
        else problem = $"the voltage is above the {_chip.BusMax * _chip.BusStepVolts:0.##} V that the chip can measure";
        if (Math.Abs(shunt) >= _chip.ShuntMax)
        {
            var most = _chip.ShuntMax * _chip.ShuntStepVolts / _ohms;
            problem = $"the current is above the {most:0.###} A that the chip can measure with shuntOhms {_ohms}: "
                + "use a smaller shunt";
        }
        else if (hasOverflowed || current is short.MaxValue or short.MinValue)
        {
            problem = "the current or power is above what the chip can count with this maxAmperes: set a larger one";
        }
        else
        {
            values.Add(Measured.Value("current", current * _ampereStep, 6));
            // The power is the product, and only as good as the voltage.
            if (problem is null) values.Add(Measured.Value("power", power * _chip.PowerSteps * _ampereStep, 6));
        }

        if (problem is null) return Measured.Good([.. values]);
        return values.Count > 0
            ? Measured.Uncertain(FaultReason.OverRange, problem, [.. values])
            : Measurement.Bad(FaultReason.OverRange, problem);
    }

    // The lowest bit of the INA219's calibration is always 0.
    bool IsSetUp() => ((_port.ReadWord(ConfigRegister) ^ _chip.Config) & _chip.ConfigMask) == 0
        && ((_port.ReadWord(CalibrationRegister) ^ _calibration) & (_chip == Chip.Ina219 ? 0xFFFE : 0xFFFF)) == 0;
}
