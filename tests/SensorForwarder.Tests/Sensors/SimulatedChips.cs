using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Chips as described in their data sheets, with the values of the test vectors.</summary>
internal static class SimulatedChips
{
    static readonly byte[] Calibration = Words(27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000);

    /// <summary>A BME280 (or BMP280) that measures 25.08 degrees, 1006.53 hPa, 54.997 percent.</summary>
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

    // A chip that does not acknowledge reads during a measurement.
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

    /// <summary>An INA219 or INA226 with a current flowing (data sheets SBOS448 and SBOS547). It measures when its
    /// configuration is written, and sets its ready flag until it is read.</summary>
    public sealed class PowerMonitor : RegisterChip
    {
        readonly bool _is226;
        readonly double _ohms;
        double _amperes;
        double _volts;
        bool _hasMeasured;

        public PowerMonitor(bool is226, double ohms)
            : base(2)
        {
            (_is226, _ohms) = (is226, ohms);
            Reset();
            Written = (register, value) =>
            {
                if (!_is226 && register == 5) value[1] &= 0xFE; // that bit is always 0
                // The mode: shunt and bus voltage, once or continuously.
                if (register == 0 && (value[1] & 3) == 3) (_amperes, _volts, _hasMeasured) = (Amperes, Volts, true);
            };
        }

        public double Amperes { get; set; } = 0.5;

        public double Volts { get; set; } = 12;

        public override void Reset()
        {
            Words.Clear();
            Set(0, _is226 ? 0x4127 : 0x399F);
            (_amperes, _volts, _hasMeasured) = (0, 0, false);
        }

        public override void Read(Span<byte> bytes)
        {
            var limit = _is226 ? 0x7FFF : 32_000;
            var flowing = Math.Round(_amperes * _ohms / (_is226 ? 2.5e-6 : 10e-6));
            var shunt = (int)Math.Clamp(flowing, _is226 ? short.MinValue : -limit, limit);
            var current = (long)shunt * Get(5) / (_is226 ? 2048 : 4096);
            var bus = (int)Math.Min(Math.Round(_volts / (_is226 ? 0.00125 : 0.004)), _is226 ? 0x7FFF : 8000);
            var power = Math.Abs(current) * bus / (_is226 ? 20_000 : 5000);
            var overflow = Math.Abs(current) > 0x7FFF || power > 0xFFFF;
            Set(1, shunt);
            Set(2, _is226 ? bus : (bus << 3) | (_hasMeasured ? 2 : 0) | (overflow ? 1 : 0));
            Set(3, (int)power);
            Set(4, (int)current);
            if (_is226) Set(6, (_hasMeasured ? 8 : 0) | (overflow ? 4 : 0));
            base.Read(bytes);
            if (Pointer == (_is226 ? 6 : 3)) _hasMeasured = false;
        }

        int Get(int register) => Words.TryGetValue(register, out var word) ? (word[0] << 8) | word[1] : 0;

        void Set(int register, int word) => Words[register] = [(byte)(word >> 8), (byte)word];
    }

    /// <summary>An ADS1115 whose inputs all have the same voltage. A conversion takes 8 ms.</summary>
    public sealed class Converter : RegisterChip
    {
        readonly TimeProvider _clock;
        long _begun;
        bool _isConverting;

        public Converter(TimeProvider clock, int raw)
            : base(2)
        {
            (_clock, Raw) = (clock, raw);
            Reset();
            Written = (register, value) =>
            {
                if (register != 1 || value[0] < 0x80) return;
                (_begun, _isConverting) = (_clock.GetTimestamp(), true);
            };
        }

        public int Raw { get; set; }

        public override void Reset()
        {
            Words[0] = [0, 0];
            Words[1] = [0x85, 0x83];
            _isConverting = false;
        }

        public override void Read(Span<byte> bytes)
        {
            if (_isConverting && _clock.GetElapsedTime(_begun) >= TimeSpan.FromMilliseconds(8))
            {
                _isConverting = false;
                Words[0] = [(byte)(Raw >> 8), (byte)Raw];
            }

            base.Read(bytes);
            if (Pointer == 1) bytes[0] = (byte)(_isConverting ? bytes[0] & 0x7F : bytes[0] | 0x80);
        }
    }

    /// <summary>A BH1750 in sunlight. It returns 0 until a requested measurement is complete.</summary>
    public sealed class LightSensor(TimeProvider clock) : SimulatedChip
    {
        const double StandardTime = 69;

        long? _began;
        int _factor = 1;
        int _time = 69;

        public int Raw { get; set; } = 0x8390;

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            switch (bytes)
            {
                case [0x10 or 0x11 or 0x13 or 0x20 or 0x21 or 0x23]:
                    (_began, _factor) = (clock.GetTimestamp(), bytes[0] % 16 == 1 ? 2 : 1);
                    break;
                case [var high] when high >> 3 == 8:
                    _time = (_time & 0x1F) | ((high & 7) << 5);
                    break;
                case [var low] when low >> 5 == 3:
                    _time = (_time & 0xE0) | (low & 0x1F);
                    break;
                default:
                    break;
            }
        }

        public override void Read(Span<byte> bytes)
        {
            var hasMeasured = _began is { } began && clock.GetElapsedTime(began) >= TimeSpan.FromMilliseconds(180);
            var counts = hasMeasured ? (int)Math.Min(Raw * _factor * _time / StandardTime, 0xFFFF) : 0;
            ((byte[])[(byte)(counts >> 8), (byte)counts])[..Math.Min(2, bytes.Length)].CopyTo(bytes);
        }

        public override void Reset() => (_began, _factor, _time) = (null, 1, 69);
    }

    /// <summary>A thermometer whose register is 0 from power-on until the end of its first conversion.</summary>
    public sealed class Thermometer : RegisterChip
    {
        readonly TimeProvider _clock;
        readonly int _register;
        long _began;

        public Thermometer(TimeProvider clock, int register, int word)
            : base(2)
        {
            (_clock, _register, Word) = (clock, register, word);
            (Words[1], Words[2], Words[3]) = ([0x00, 0x00], [0x4B, 0x00], [0x50, 0x00]);
            (Words[6], Words[7]) = ([0x00, 0x54], [0x04, 0x00]);
            Reset();
        }

        public int Word { get; set; }

        public override void Reset() => _began = _clock.GetTimestamp();

        public override void Read(Span<byte> bytes)
        {
            var hasMeasured = _clock.GetElapsedTime(_began) >= TimeSpan.FromMilliseconds(300);
            Words[_register] = hasMeasured ? [(byte)(Word >> 8), (byte)Word] : [0, 0];
            base.Read(bytes);
        }
    }

    /// <summary>A BME280 with registers, modes and reset.</summary>
    public sealed class Bosch : RegisterChip
    {
        readonly byte _id;

        public Bosch(byte id)
        {
            _id = id;
            Reset();
            Written = Take;
        }

        /// <summary>Raw pressure, temperature and humidity of the next measurement.</summary>
        public byte[] Raw { get; set; } = Bytes("655AC0 7EED00 7530");

        /// <summary>Changes the calibration, as if the chip was replaced by another one.</summary>
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

        // Only four registers are writable.
        public override void Write(ReadOnlySpan<byte> bytes) => base.Write(
            bytes is [0xE0 or 0xF2 or 0xF4 or 0xF5, ..] ? bytes : bytes[..Math.Min(1, bytes.Length)]);

        void Take(int register, byte[] value)
        {
            if (register == 0xE0 && value[0] == 0xB6) Reset();
            if (register != 0xF4 || (value[0] & 3) == 0) return;
            Bytes[0xF4] &= 0xFC; // Forced mode returns to sleep after a measurement.
            Raw.CopyTo(Bytes, 0xF7);
            if ((Bytes[0xF2] & 7) == 0) SimulatedChips.Bytes("8000").CopyTo(Bytes, 0xFD);
        }
    }
}
