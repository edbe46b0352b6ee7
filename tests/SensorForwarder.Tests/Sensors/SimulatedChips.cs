using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Chips as their data sheets describe them, with the values of the vectors in the reference.</summary>
internal static class SimulatedChips
{
    static readonly byte[] Calibration = Words(27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000);

    /// <summary>A BME280 (or BMP280) that shows 25.08 degrees, 1006.53 hPa, 54.997 percent.</summary>
    public static Bosch Bme280(byte id = 0x60) => new(id);

    public static CommandChip Sht3x(TimeProvider clock, string frame = "666693 8000A2") => WithDelay(
        clock, TimeSpan.FromMilliseconds(15.5), command => command switch
        {
            [0x24, 0x00] => Bytes(frame),
            _ => null,
        });

    public static CommandChip Sht4x(string frame = "666693 8000A2") => new(command => command is [0xFD] ? Bytes(frame) : null);

    public static CommandChip Aht20(string frame = "1C80000600004E", byte status = 0x18) => new(command => command switch
    {
        [0x71] => [status],
        [0xAC, 0x33, 0x00] => Bytes(frame),
        _ => null,
    });

    public static CommandChip Scd4x(Func<bool> isReady, string frame = "01F433 6667A2 5EB93C") => new(command => command switch
    {
        [0xE4, 0xB8] => isReady() ? [0x80, 0x06, Crc8.Sensirion([0x80, 0x06])] : [0x80, 0x00, 0xA2],
        [0xEC, 0x05] => isReady() ? Bytes(frame) : null,
        _ => null,
    });

    public static byte[] Bytes(string hex) => Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));

    // It does not acknowledge a read while it measures.
    static CommandChip WithDelay(TimeProvider clock, TimeSpan delay, Func<byte[], byte[]?> answer)
    {
        var began = 0L;
        return new(command =>
        {
            began = clock.GetTimestamp();
            return answer(command);
        })
        {
            IsReady = () => clock.GetElapsedTime(began) >= delay,
        };
    }

    static byte[] Words(params int[] words) => [.. words.SelectMany(word => new[] { (byte)word, (byte)(word >> 8) })];

    /// <summary>Registers, modes and reset of a BME280.</summary>
    public sealed class Bosch : RegisterChip
    {
        readonly byte _id;

        public Bosch(byte id)
        {
            _id = id;
            Reset();
            Written = Take;
        }

        /// <summary>Pressure, temperature, humidity as they stand in its registers.</summary>
        public byte[] Raw { get; set; } = Bytes("655AC0 7EED00 7530");

        /// <summary>Makes it another specimen.</summary>
        public void Calibrate(int temperature) => Words(temperature).CopyTo(Bytes, 0x88);

        public override void Reset()
        {
            Bytes.AsSpan().Clear();
            Bytes[0xD0] = _id;
            Calibration.CopyTo(Bytes, 0x88);
            Bytes[0xA1] = 75;
            SimulatedChips.Bytes("6A010013 29031E").CopyTo(Bytes, 0xE1);
            SimulatedChips.Bytes("800000 800000 8000").CopyTo(Bytes, 0xF7);
        }

        void Take(int register, byte[] value)
        {
            if (register == 0xE0 && value[0] == 0xB6) Reset();
            if (register != 0xF4 || (value[0] & 3) == 0) return;
            Bytes[0xF4] &= 0xFC; // forced mode goes back to sleep
            Raw.CopyTo(Bytes, 0xF7);
            if ((Bytes[0xF2] & 7) == 0) SimulatedChips.Bytes("8000").CopyTo(Bytes, 0xFD);
        }
    }
}
