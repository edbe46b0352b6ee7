using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>A chip for ConversationSweepTests, whose measured values change a little from reading to reading.</summary>
/// <param name="Kind">The sensor kind that reads the chip.</param>
/// <param name="Address">The I2C address; 0 on SPI.</param>
/// <param name="Make">Creates the chip and its SPI transfer function, for a clock and the number of the reading.</param>
internal sealed record SweptChip(
    string Kind, int Address, Func<TimeProvider, Func<int>, (SimulatedChip Chip, Func<byte[], byte[]>? Spi)> Make)
{
    /// <summary>The step between the bytes to test. Above 1 for chips whose binding sleeps on the real clock or transfers many bytes.</summary>
    public int Stride { get; init; } = 1;

    public string Options { get; init; } = "";

    public static IReadOnlyList<SweptChip> All { get; } =
    [
        new("bme280", 0x76, (_, step) => Bosch(0x60, step)),
        new("bmp280", 0x76, (_, step) => Bosch(0x58, step)),
        new("sht3x", 0x44, (_, step) => Commands(step, at => [0x24, 0x00], Sensirion)),
        new("sht4x", 0x44, (_, step) => Commands(step, at => [0xFD], Sensirion)),
        new("aht20", 0x38, (_, step) => (new CommandChip(command => command switch
        {
            [0x71] => [0x18],
            [0xAC, 0x33, 0x00] => WithCrc([0x1C, 0x80, (byte)(32 * step()), 0x06, 0x00, 0x00]),
            _ => null,
        }), null)),
        new("scd4x", 0x62, (_, step) => (new CommandChip(command => command switch
        {
            [0xE4, 0xB8] => WithCrc([0x80, 0x06]),
            [0xEC, 0x05] => [.. WithCrc([0x01, (byte)(0xF4 + step())]), .. WithCrc([0x66, 0x67]), .. WithCrc([0x5E, 0xB9])],
            _ => null,
        }), null)),
        new("ina219", 0x40, (_, step) => Power(is226: false, step)),
        new("ina226", 0x40, (_, step) => Power(is226: true, step)),
        new("ads1115", 0x48, (clock, step) => (new Following(
            new SimulatedChips.Converter(clock, 0), chip => ((SimulatedChips.Converter)chip).Raw = 0x3E80 + step()), null))
        { Options = "\"channels\":[0,2]" },
        new("bh1750", 0x23, (clock, step) => (new Following(
            new SimulatedChips.LightSensor(clock), chip => ((SimulatedChips.LightSensor)chip).Raw = 0x8390 + (16 * step())), null)),
        Thermometer("mcp9808", 0x18, 5, 0xC194),
        Thermometer("lm75", 0x48, 0, 0x1940),
        Thermometer("tmp102", 0x48, 0, 0x1940),
        new("tsl2561", 0x39, (_, step) => (new SimulatedBoundChips.Measuring(
            [(0x0A, 0x50), (0x01, 0x02)], bytes => (bytes[0] & 3) == 3,
            () => [(0x0C, [(byte)(0xE8 + step()), 0x03]), (0x0E, [0xC8, 0x00])], [0, 1, 2, 3, 4, 5, 6], 0x0F), null)),
        new("mcp3008", 0, (_, step) => (new CommandChip(_ => null), bytes =>
            bytes[0] == 1 && bytes[1] >= 0x80
                ? [0xFF, (byte)(0xF8 | ((bytes[1] >> 4) & 1)), (byte)(0x80 + ((bytes[1] >> 4) & 7) + step())]
                : [0xFF, 0xFF, 0xFF]))
        { Options = "\"channels\":[0,3]" },
        new("mlx90614", 0x5A, (_, step) => (new SimulatedBoundChips.Mlx90614(() => (0x3AF7 + step(), 0x3A98)), null)),
        new("am2320", 0x5C, (_, step) => (new SimulatedBoundChips.Am2320(() => (0x028C, 0x015F + step())), null)),
        new("lps22hb", 0x5C, (_, step) => (new SimulatedBoundChips.Measuring(
            [(0x0F, 0xB1), (0x11, 0x10)], bytes => (bytes[0x10] & 0x70) != 0,
            () => [(0x28, [0x00, (byte)(0x54 + step()), 0x3F]), (0x2B, [0xC4, 0x09])], [0x10, 0x1A], 0x7F), null)),
        new("lps25h", 0x5C, (_, step) => (new SimulatedBoundChips.Measuring(
            [(0x0F, 0xBD), (0x10, 0x05)], bytes => (bytes[0x20] & 0x80) != 0,
            () => [(0x28, [0x00, (byte)(0x54 + step()), 0x3F]), (0x2B, [0x30, 0xDF])], [0x10, 0x20, 0x21], 0x7F), null)),
        new("mcp9600", 0x60, (_, step) => (new SimulatedBoundChips.Mcp9600(() => (0x0191 + step(), 0x0190)), null)),
        new("max31865", 0, (_, step) =>
        {
            var chip = new SimulatedBoundChips.Max31865();
            var spi = SimulatedBoundChips.OnSpi(chip, isReadWithBit: false, 0x7F);
            return (chip, bytes =>
            {
                chip.Raw = 8192 + step();
                return spi(bytes);
            });
        })
        { Stride = 5 },
        new("adxl345", 0, (_, step) =>
        {
            var chip = new SimulatedBoundChips.Measuring(
                [(0x00, 0xE5), (0x2C, 0x0A)], bytes => (bytes[0x2D] & 8) != 0,
                () => [(0x32, [(byte)(10 + step()), 0, 0xF6, 0xFF, 0x80, 0])], [0x2C, 0x2D, 0x31], 0x3F);
            chip.Write([]);
            return (chip, SimulatedBoundChips.OnSpi(chip, isReadWithBit: true, 0x3F));
        }),
        new("lis3dh", 0x18, (_, step) => (new SimulatedBoundChips.Measuring(
            [(0x0F, 0x33), (0x1E, 0x10), (0x20, 0x07)], bytes => bytes[0x20] >> 4 != 0,
            () => [(0x28, [(byte)(16 * (1 + step())), 0, 0, 0xFF, 0, 0x20])], [0x1E, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25], 0x7F), null)),
        new("hmc5883l", 0x1E, (_, step) => (new SimulatedBoundChips.Measuring(
            [(0x00, 0x10), (0x01, 0x20), (0x02, 0x01), (0x0A, 'H'), (0x0B, '4'), (0x0C, '3')], bytes => (bytes[2] & 3) == 0,
            () => [(0x03, [0x02, (byte)(0x21 + step()), 0xFF, 0x00, 0x00, 0x10])], [0, 1, 2]), null)),
        new("amg88xx", 0x68, (_, step) => (new SimulatedBoundChips.Measuring(
            [], _ => true,
            () => [(0x80, [.. Enumerable.Range(0, 64).SelectMany(pixel => new byte[] { (byte)(100 + step() + (pixel % 4)), 0 })]), (0x0E, [0x90, 0x01])],
            [0, 2, 3, 5]), null))
        { Stride = 7 },
        new("vl53l0x", 0x29, (_, step) => (new Following(
            new SimulatedBoundChips.Vl53L0X(), chip => ((SimulatedBoundChips.Vl53L0X)chip).Millimetres = 500 + step()), null))
        { Stride = 53 },
        new("vl53l1x", 0x29, (_, step) => (new Following(
            new SimulatedBoundChips.Vl53L1X(), chip => ((SimulatedBoundChips.Vl53L1X)chip).Millimetres = 500 + step()), null))
        { Stride = 31 },
    ];

    static SweptChip Thermometer(string kind, int address, int register, int word) => new(
        kind, address, (clock, step) => (new Following(
            new SimulatedChips.Thermometer(clock, register, word),
            chip => ((SimulatedChips.Thermometer)chip).Word = word + (16 * step())), null));

    static (SimulatedChip Chip, Func<byte[], byte[]>? Spi) Bosch(byte id, Func<int> step) => (new Following(
        SimulatedChips.Bme280(id),
        chip => ((SimulatedChips.Bosch)chip).Raw = SimulatedChips.Bytes($"655AC0 7EE{4 * step():X}00 7530")), null);

    static (SimulatedChip Chip, Func<byte[], byte[]>? Spi) Power(bool is226, Func<int> step) => (new Following(
        new SimulatedChips.PowerMonitor(is226, ohms: 0.1),
        chip => ((SimulatedChips.PowerMonitor)chip).Amperes = 0.5 + (0.01 * step())), null);

    static (SimulatedChip Chip, Func<byte[], byte[]>? Spi) Commands(
        Func<int> step, Func<int, byte[]> command, Func<int, byte[]> answer) =>
        (new CommandChip(given => given.AsSpan().SequenceEqual(command(step())) ? answer(step()) : null), null);

    static byte[] Sensirion(int step) => [.. WithCrc([0x66, (byte)(0x66 + (8 * step))]), .. WithCrc([0x80, 0x00])];

    static byte[] WithCrc(byte[] bytes) => [.. bytes, Crc8.Sensirion(bytes)];

    /// <summary>A chip whose measured value is updated before every transfer.</summary>
    sealed class Following(SimulatedChip chip, Action<SimulatedChip> move) : SimulatedChip
    {
        public override void Write(ReadOnlySpan<byte> bytes)
        {
            move(chip);
            chip.Write(bytes);
        }

        public override void Read(Span<byte> bytes)
        {
            move(chip);
            chip.Read(bytes);
        }

        public override void Reset() => chip.Reset();
    }
}
