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

    /// <summary>An INA219 or INA226 through which a current flows: data sheets SBOS448 and SBOS547.</summary>
    public sealed class PowerMonitor : RegisterChip
    {
        readonly bool _is226;
        readonly double _ohms;

        public PowerMonitor(bool is226, double ohms)
            : base(2)
        {
            (_is226, _ohms) = (is226, ohms);
            Reset();
        }

        public double Amperes { get; set; } = 0.5;

        public double Volts { get; set; } = 12;

        public override void Reset()
        {
            Words.Clear();
            Set(0, _is226 ? 0x4127 : 0x399F);
        }

        public override void Read(Span<byte> bytes)
        {
            var limit = _is226 ? 0x7FFF : 32_000;
            var flowing = Math.Round(Amperes * _ohms / (_is226 ? 2.5e-6 : 10e-6));
            var shunt = (int)Math.Clamp(flowing, _is226 ? short.MinValue : -limit, limit);
            var current = (long)shunt * Get(5) / (_is226 ? 2048 : 4096);
            var bus = (int)Math.Min(Math.Round(Volts / (_is226 ? 0.00125 : 0.004)), _is226 ? 0x7FFF : 8000);
            var power = Math.Abs(current) * bus / (_is226 ? 20_000 : 5000);
            var overflow = Math.Abs(current) > 0x7FFF || power > 0xFFFF;
            Set(1, shunt);
            Set(2, _is226 ? bus : (bus << 3) | 2 | (overflow ? 1 : 0));
            Set(3, (int)power);
            Set(4, (int)current);
            if (_is226) Set(6, overflow ? 4 : 0);
            base.Read(bytes);
        }

        int Get(int register) => Words.TryGetValue(register, out var word) ? (word[0] << 8) | word[1] : 0;

        void Set(int register, int word) => Words[register] = [(byte)(word >> 8), (byte)word];
    }

    /// <summary>An ADS1115 whose inputs all have the same voltage.</summary>
    public sealed class Converter : RegisterChip
    {
        public Converter()
            : base(2)
        {
            Reset();
            Written = (register, value) =>
            {
                if (register == 1 && value[0] >= 0x80) Words[0] = [0x3E, 0x80];
            };
        }

        public override void Reset()
        {
            Words[0] = [0, 0];
            Words[1] = [0x85, 0x83];
        }
    }

    /// <summary>A BH1750 in the sun: it has no value until it was asked for one and had its time.</summary>
    public sealed class LightSensor(TimeProvider clock) : SimulatedChip
    {
        long? _began;

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            if (bytes is [0x20]) _began = clock.GetTimestamp();
        }

        public override void Read(Span<byte> bytes)
        {
            var hasMeasured = _began is { } began && clock.GetElapsedTime(began) >= TimeSpan.FromMilliseconds(180);
            (hasMeasured ? [0x83, 0x90] : (byte[])[0, 0]).CopyTo(bytes);
        }

        public override void Reset() => _began = null;
    }

    /// <summary>A thermometer whose register holds 0 after power-on, until its first conversion ends.</summary>
    public sealed class Thermometer : RegisterChip
    {
        readonly TimeProvider _clock;
        readonly int _register;
        readonly int _word;
        long _began;

        public Thermometer(TimeProvider clock, int register, int word)
            : base(2)
        {
            (_clock, _register, _word) = (clock, register, word);
            (Words[6], Words[7]) = ([0x00, 0x54], [0x04, 0x00]);
            Reset();
        }

        public override void Reset() => _began = _clock.GetTimestamp();

        public override void Read(Span<byte> bytes)
        {
            var hasMeasured = _clock.GetElapsedTime(_began) >= TimeSpan.FromMilliseconds(300);
            Words[_register] = hasMeasured ? [(byte)(_word >> 8), (byte)_word] : [0, 0];
            base.Read(bytes);
        }
    }

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
