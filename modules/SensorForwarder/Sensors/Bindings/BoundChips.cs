using System.Device.Spi;
using System.Numerics;
using Iot.Device.Adxl345;
using Iot.Device.Am2320;
using Iot.Device.Amg88xx;
using Iot.Device.Hmc5883l;
using Iot.Device.Lis3DhAccelerometer;
using Iot.Device.Lps22hb;
using Iot.Device.Lps25h;
using Iot.Device.Max31865;
using Iot.Device.Mcp960x;
using Iot.Device.Mlx90614;
using Iot.Device.Vl53L0X;
using Iot.Device.Vl53L1X;
using SensorForwarder.Options;
using SensorForwarder.Sensors.Drivers;
using UnitsNet;

namespace SensorForwarder.Sensors.Bindings;

/// <summary>
/// The chips driven by Iot.Device.Bindings 4.2, with the ranges of their data sheets. Code beyond calling a binding
/// corrects an omission or error of the binding, which a comment names.
/// </summary>
internal static class BoundChips
{
    const double StandardGravity = 9.80665, AbsoluteZero = -273.15;
    const int SpiRead = 0x80, SpiMany = 0x40;

    static readonly SensorValue[] Acceleration = [.. new[] { "X", "Y", "Z" }.Select(
        axis => new SensorValue($"accel{axis}", "m/s2", -78.5, 78.5))]; // 8 g

    static readonly Option<int> Gravities = Option.Choice(
        "fullScaleG", [("2", 2), ("4", 4), ("8", 8)], 4, "The largest acceleration to measure, in multiples of g.");

    static readonly Option<ThermocoupleType> Thermocouple = Option.Choice(
        "thermocouple", [.. Enum.GetValues<ThermocoupleType>().Select(type => ($"{type}", type))], ThermocoupleType.K,
        "The type of the thermocouple.");

    static readonly Option<int> Wires = Option.Choice(
        "wires", [("2", 2), ("3", 3), ("4", 4)], 2, "Wires of the probe; the board must be configured for as many.");

    static readonly Option<int> Nominal = Option.Choice(
        "probe", [("pt100", 100), ("pt1000", 1000)], 100, "The probe.");

    static readonly Option<double> Reference = Option.Number(
        "referenceOhms", 100, 10_000, 430, "The board's reference resistor; usually 430 with a PT100 and 4300 with a "
            + "PT1000.");

    static readonly Option<int> Mains = Option.Choice(
        "mainsHertz", [("50", 50), ("60", 60)], 50, "The frequency of the mains, whose hum is filtered out.");

    public static IReadOnlyList<SensorKind> All { get; } =
    [
        // The binding treats the error flag (bit 15) as a sign bit. A raw value of 0 is invalid as well.
        BoundChip.Kind(
            "mlx90614", "Melexis MLX90614: temperature of a surface, by infrared", [0x5A, 0x5B, 0x5C, 0x5D],
            [
                new("temperatureObject", "degrees Celsius", -70, 382.2),
                new("temperatureAmbient", "degrees Celsius", -40, 125),
            ],
            BoundReads.Checked, static (port, _) =>
            {
                var chip = new Mlx90614(port);
                return _ => (chip.ReadObjectTemperature().DegreesCelsius,
                    chip.ReadAmbientTemperature().DegreesCelsius) is var (target, ambient)
                    && target > AbsoluteZero && ambient > AbsoluteZero
                        ? Measured.Good(
                            Measured.Value("temperatureObject", target, 2),
                            Measured.Value("temperatureAmbient", ambient, 2))
                        : Measurement.Bad(FaultReason.Invalid, "the chip says that it has no valid measurement");
            }),

        BoundChip.Kind(
            "am2320", "Aosong AM2320: temperature, humidity; new values every 2 s", [0x5C],
            [new("temperature", "degrees Celsius", -40, 80), new("humidity", "percent", 0, 99.9)],
            BoundReads.Once, static (port, _) => new MeasuredAm2320(port).Measure),

        BoundChip.Kind(
            "lps22hb", "ST LPS22HB: pressure, temperature", [0x5C, 0x5D],
            [new("pressure", "hPa", 260, 1260), new("temperature", "degrees Celsius", -40, 85)],
            BoundReads.Twice, static (port, _) =>
            {
                var chip = new Lps22hb(port);
                port.Expect(0x0F, 0xB1);
                port.Expect(0x10, 0x3A); // 25 Hz, filtered, both bytes of one measurement
                port.Pause(200, default); // the filter settles in a few measurements
                return _ => chip.TryReadPressure(out var pressure) && chip.TryReadTemperature(out var temperature)
                    ? Weather(pressure, temperature)
                    : Measurement.Bad(FaultReason.Io, "a read failed");
            },
            probe: new([0x0F], 1, answer => answer[0] == 0xB1)),

        // The binding does not check the chip id.
        BoundChip.Kind(
            "lps25h", "ST LPS25H, LPS25HB (Sense HAT): pressure, temperature", [0x5C, 0x5D],
            [new("pressure", "hPa", 260, 1260), new("temperature", "degrees Celsius", -30, 105)],
            BoundReads.Twice, static (port, _) =>
            {
                var chip = new Lps25h(port);
                port.Expect(0x0F, 0xBD);
                port.Expect(0x10, 0x0F, 0x0F);
                port.Expect(0x20, 0xC4);
                port.Pause(200, default);
                return _ => Weather(chip.Pressure, chip.Temperature);
            },
            probe: new([0x0F], 1, answer => answer[0] == 0xBD)),

        // The binding decodes negative temperatures wrongly and ignores the status flags, so the registers are read
        // here.
        BoundChip.Kind(
            "mcp9600", "Microchip MCP9600, MCP9601: temperature of a thermocouple", [.. Enumerable.Range(0x60, 8)],
            [
                new("temperature", "degrees Celsius", -270, 1820),
                new("temperatureAmbient", "degrees Celsius", -40, 125),
            ],
            BoundReads.Twice, static (port, settings) =>
            {
                var type = settings.Get(Thermocouple);
                _ = new Mcp960x(port, thermocoupleType: type);
                port.Expect(0x20, 0x40, 0xFE); // MCP9601: 0x41
                port.Expect(0x05, (int)type | (int)DigitalFilterCoefficientsType.N4);
                port.Expect(0x06, 0);
                port.Pause(700, default); // 320 ms a conversion, and a filter
                return _ => (port.Register(0x04) & 0x30) == 0
                    ? Measured.Good(
                        Measured.Value("temperature", Sixteenths(port.Registers(0x00, 2)), 4),
                        Measured.Value("temperatureAmbient", Sixteenths(port.Registers(0x02, 2)), 4))
                    : Measurement.Bad(
                        FaultReason.OverRange, "the thermocouple is open, shorted, or beyond its range");
            },
            [Thermocouple], new([0x20], 2, answer => answer[0] is 0x40 or 0x41)),

        // The binding ignores the chip's fault flags.
        BoundChip.SpiKind(
            "max31865", "Maxim MAX31865: temperature of a PT100 or PT1000", 1_000_000, SpiMode.Mode1,
            [new("temperature", "degrees Celsius", -200, 850)], static command => command < SpiRead,
            static (port, settings) =>
            {
                var chip = new Max31865(
                    port, (PlatinumResistanceThermometerType)settings.Get(Nominal),
                    (ResistanceTemperatureDetectorWires)settings.Get(Wires),
                    ElectricResistance.FromOhms(settings.Get(Reference)),
                    settings.Get(Mains) == 50 ? ConversionFilterMode.Filter50Hz : ConversionFilterMode.Filter60Hz);
                // A fault threshold without effect on measurements. The chip loses it in a reset, which reveals the
                // reset.
                port.Write([0x83, 0xFF, 0xFC]);
                port.Expect(0x03, 0xFF, 0xFC);
                port.Expect(
                    0x00, (byte)((settings.Get(Wires) == 3 ? 0x10 : 0) | (settings.Get(Mains) == 50 ? 1 : 0)));
                return _ =>
                {
                    var celsius = chip.Temperature.DegreesCelsius;
                    var faults = port.Registers(0x07, 1)[0] & 0xFC;
                    var resistance = port.Registers(0x01, 2);
                    return (resistance[1] & 1) == 0 && faults == 0 && (resistance[0] | resistance[1]) != 0
                        ? Measured.Good(Measured.Value("temperature", celsius, 2))
                        : Measurement.Bad(FaultReason.OverRange, $"the probe is open or shorted (0x{faults:x2})");
                };
            },
            Wires, Nominal, Reference, Mains),

        BoundChip.SpiKind(
            "adxl345", "Analog Devices ADXL345, on SPI: acceleration", 1_000_000, SpiMode.Mode3, Acceleration,
            static command => command >= SpiRead, static (port, settings) =>
            {
                var gravities = settings.Get(Gravities);
                var range = gravities switch
                {
                    2 => GravityRange.Range02,
                    4 => GravityRange.Range04,
                    _ => GravityRange.Range08,
                };
                var chip = new Adxl345(port, range);
                port.Expect(SpiRead, 0xE5);
                port.Expect(SpiRead | 0x2D, 0x08);
                port.Expect(SpiRead | 0x31, (byte)range);
                port.Pause(25, default); // the first measurement at 100 Hz, and its start
                return _ => Gravity(chip.Acceleration, gravities, 511.0 / 512);
            },
            Gravities),

        BoundChip.Kind(
            "lis3dh", "ST LIS3DH: acceleration", [0x18, 0x19], Acceleration, BoundReads.Twice,
            static (port, settings) =>
            {
                var gravities = settings.Get(Gravities);
                var scale = gravities switch
                {
                    2 => AccelerationScale.Scale02G,
                    4 => AccelerationScale.Scale04G,
                    _ => AccelerationScale.Scale08G,
                };
                var chip = Lis3Dh.Create(
                    port, DataRate.DataRate10Hz,
                    Iot.Device.Lis3DhAccelerometer.OperatingMode.HighResolutionMode, scale);
                port.Expect(0x0F, 0x33);
                port.Expect(0x20, 0x27);
                port.Expect(0x23, ((int)scale << 4) | 0x08);
                port.Pause(800, default); // seven measurements until it has turned on in high resolution
                return _ => Gravity(chip.Acceleration, gravities, 2047.0 / 2048);
            },
            [Gravities], new([0x0F], 1, answer => answer[0] == 0x33)),

        BoundChip.Kind(
            "hmc5883l", "Honeywell HMC5883L: magnetic field", [0x1E],
            [.. new[] { "X", "Y", "Z" }.Select(axis => new SensorValue($"field{axis}", "uT", -130, 130))],
            BoundReads.Twice, static (port, _) =>
            {
                const double CountsPerMicrotesla = 10.9;
                const int Saturated = -4096;
                var chip = new Hmc5883l(port);
                port.Expect(0x0A, 'H');
                port.Expect(0x0B, '4');
                port.Expect(0x0C, '3');
                port.Expect(0x00, 0x10);
                port.Expect(0x01, 0x20);
                port.Expect(0x02, 0x00, 0x03);
                port.Pause(140, default); // two measurements at 15 Hz
                return _ =>
                {
                    var field = chip.DirectionVector;
                    return field.X <= Saturated || field.Y <= Saturated || field.Z <= Saturated
                        ? Measurement.Bad(FaultReason.OverRange, "the field is stronger than the chip can measure")
                        : Measured.Good(
                            Measured.Value("fieldX", field.X / CountsPerMicrotesla, 2),
                            Measured.Value("fieldY", field.Y / CountsPerMicrotesla, 2),
                            Measured.Value("fieldZ", field.Z / CountsPerMicrotesla, 2));
                };
            },
            probe: new([0x0A], 3, answer => answer is [0x48, 0x34, 0x33])),

        BoundChip.Kind(
            "amg88xx", "Panasonic AMG8833, AMG8834: 64 temperatures by infrared; their least, mean and largest",
            [0x68, 0x69],
            [
                new("temperatureMin", "degrees Celsius", -20, 100), new("temperatureMean", "degrees Celsius", -20, 100),
                new("temperatureMax", "degrees Celsius", -20, 100), new("temperatureChip", "degrees Celsius", -20, 80),
            ],
            BoundReads.Twice, static (port, _) =>
            {
                var chip = new Amg88xx(port) { OperatingMode = Iot.Device.Amg88xx.OperatingMode.Normal };
                port.Write([0x02, 0x01]); // one picture a second: the binding sets another bit
                port.Expect(0x00, 0x00);
                port.Expect(0x02, 0x01);
                port.Pause(2000, default); // two pictures
                return _ =>
                {
                    chip.ReadImage();
                    var picture = Enumerable.Range(0, Amg88xx.PixelCount).Select(
                        pixel => chip[pixel % Amg88xx.Width, pixel / Amg88xx.Width].DegreesCelsius).ToList();
                    KeyValuePair<string, double>[] values =
                    [
                        Measured.Value("temperatureMin", picture.Min(), 2),
                        Measured.Value("temperatureMean", picture.Average(), 2),
                        Measured.Value("temperatureMax", picture.Max(), 2),
                        Measured.Value("temperatureChip", chip.SensorTemperature.DegreesCelsius, 4),
                    ];
                    var flags = port.Register(0x04);
                    if ((flags & 0x0C) == 0) return Measured.Good(values);
                    chip.ClearAllFlags();
                    return Measured.Uncertain(FaultReason.OverRange, "beyond what the chip can measure", values);
                };
            }),

        // The binding ignores the range status.
        BoundChip.Kind(
            "vl53l0x", "ST VL53L0X: distance", [0x29], [new("distance", "m", 0, 2.2)], BoundReads.Twice,
            static (port, _) =>
            {
                const int Valid = 11;
                if (port.Register(0xC0) != 0xEE)
                    throw new SensorFault(FaultReason.Invalid, "the chip's id is not that of a VL53L0X");
                var chip = new Vl53L0X(port);
                port.Expect(0xC0, 0xEE);
                port.Expect(0x01, 0xE8);
                port.Expect(0x0A, 0x04);
                return _ => Distance(
                    chip.DistanceSingleMeasurement, (port.Register(0x14) >> 3) & 0x0F, Valid);
            },
            probe: new([0xC0], 1, answer => answer[0] == 0xEE)),

        // The binding does not wait for a measurement: it reads the interrupt's polarity instead of its state.
        BoundChip.Kind(
            "vl53l1x", "ST VL53L1X: distance", [0x29], [new("distance", "m", 0, 4.2)], BoundReads.Twice,
            static (port, _) =>
            {
                const int Valid = 9, Tries = 100;
                if (port.Register(0x010F) != 0xEA || port.Register(0x0110) != 0xCC)
                    throw new SensorFault(FaultReason.Invalid, "the chip's id is not that of a VL53L1X");
                var chip = new Vl53L1X(port);
                chip.StartRanging();
                port.Expect(0x010F, 0xEA);
                port.Expect(0x0087, 0x40);
                return cancellationToken =>
                {
                    chip.ClearInterrupt(); // discards the previous measurement
                    for (var i = 0; i < Tries && (port.Register(0x0031) & 1) == 0; i++)
                        port.Pause(10, cancellationToken);
                    if ((port.Register(0x0031) & 1) == 0)
                        return Measurement.Bad(FaultReason.Invalid, "the chip does not finish its measurement");
                    var state = port.Register(0x0089) & 0x1F;
                    return Distance((int)chip.GetDistance().Millimeters, state, Valid);
                };
            },
            registerBytes: 2),
    ];

    static Measurement Weather(Pressure pressure, Temperature temperature) => Measured.Good(
        Measured.Value("pressure", pressure.Hectopascals, 3),
        Measured.Value("temperature", temperature.DegreesCelsius, 2));

    static double Sixteenths(byte[] word) => (short)((word[0] << 8) | word[1]) / 16.0;

    /// <param name="gravities">The full scale, in multiples of g.</param>
    /// <param name="last">The largest reading as a fraction of the full scale.</param>
    static Measurement Gravity(Vector3 acceleration, int gravities, double last)
    {
        KeyValuePair<string, double>[] values =
        [
            Measured.Value("accelX", acceleration.X * StandardGravity, 3),
            Measured.Value("accelY", acceleration.Y * StandardGravity, 3),
            Measured.Value("accelZ", acceleration.Z * StandardGravity, 3),
        ];
        if (acceleration == default) return Measurement.Bad(FaultReason.Invalid, "the chip has not measured");
        return Vector3.Abs(acceleration) is var size && Math.Max(size.X, Math.Max(size.Y, size.Z)) >= gravities * last
            ? Measured.Uncertain(FaultReason.OverRange, "an acceleration is at the end of fullScaleG", values)
            : Measured.Good(values);
    }

    static Measurement Distance(int millimetres, int state, int valid) => state == valid
        ? Measured.Good(Measured.Value("distance", millimetres / 1000.0, 3))
        : Measurement.Bad(FaultReason.OverRange, $"nothing in reach, or too dark or too bright (state {state})");

    /// <summary>
    /// The binding caches values for 1.5 s of wall-clock time, or longer if the clock steps back, so each measurement
    /// uses a new one. It decodes negative temperatures as two's complement, but the chip sends sign and magnitude
    /// (data sheet, section 8.2). The chip is read at most every 2 s.
    /// </summary>
    sealed class MeasuredAm2320(BoundPort port)
    {
        static readonly TimeSpan Pace = TimeSpan.FromSeconds(2);

        long? _measured;

        public Measurement Measure(CancellationToken cancellationToken)
        {
            if (_measured is { } before && port.TimeProvider.GetElapsedTime(before) < Pace) return Measurement.Nothing;
            var chip = new Am2320(port);
            if (!chip.TryReadTemperature(out var temperature) || !chip.TryReadHumidity(out var humidity))
                return Measurement.Bad(FaultReason.Crc, "the checksum does not match: noise on the wires?");
            _measured = port.TimeProvider.GetTimestamp();
            var celsius = temperature.DegreesCelsius;
            if (celsius < -1000) celsius = -(celsius + 3276.8);
            return Measured.Good(
                Measured.Value("temperature", celsius, 1), Measured.Value("humidity", humidity.Percent, 1));
        }
    }
}
