using System.Buffers.Binary;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The chips that Iot.Device.Bindings drives, with the content of their registers after a reset and after they
/// have measured, as their data sheets describe them.</summary>
internal static class SimulatedBoundChips
{
    static byte[] Little(int word) => [(byte)word, (byte)(word >> 8)];

    static byte[] Big(int word) => [(byte)(word >> 8), (byte)word];

    /// <summary>A chip with registers of one byte that measures while its configuration enables it.</summary>
    /// <param name="afterReset">Registers that are not 0 after a reset.</param>
    /// <param name="measures">Whether the chip measures with this configuration.</param>
    /// <param name="data">The registers of the measurement and their values.</param>
    /// <param name="writable">The writable registers; writes to others are ignored.</param>
    /// <param name="mask">The significant bits of a register's number.</param>
    public sealed class Measuring(
        (int Register, int Value)[] afterReset, Func<byte[], bool> measures, Func<(int Register, byte[] Value)[]> data,
        int[] writable, int mask = 0xFF) : RegisterChip
    {
        bool _isReady;

        public override void Reset()
        {
            Bytes.AsSpan().Clear();
            foreach (var (register, value) in afterReset) Bytes[register] = (byte)value;
        }

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            if (!_isReady) Reset();
            _isReady = true;
            if (bytes.Length == 0) return;
            var register = bytes[0] & mask;
            base.Write([(byte)register]);
            foreach (var value in bytes[1..])
            {
                if (writable.Contains(register)) Bytes[register] = value;
                register++;
            }
        }

        public override void Read(Span<byte> bytes)
        {
            foreach (var (register, value) in data()) (measures(Bytes) ? value : new byte[value.Length]).CopyTo(Bytes, register);
            base.Read(bytes);
        }
    }

    /// <summary>An SPI chip with registers whose number has the bit 0x80 for one direction.</summary>
    public static Func<byte[], byte[]> OnSpi(SimulatedChip chip, bool isReadWithBit, int mask) => bytes =>
    {
        var answer = new byte[bytes.Length];
        var isRead = ((bytes[0] & 0x80) != 0) == isReadWithBit;
        byte[] register = [(byte)(bytes[0] & mask)];
        if (isRead)
        {
            chip.Write(register);
            chip.Read(answer.AsSpan(1));
        }
        else
        {
            chip.Write([.. register, .. bytes[1..]]);
        }

        return answer;
    };

    /// <summary>SMBus words with a checksum: data sheet 3901090614, section 8.4.</summary>
    public sealed class Mlx90614(Func<(int Target, int Ambient)> raw) : SimulatedChip
    {
        byte _register;

        public override void Write(ReadOnlySpan<byte> bytes) => _register = bytes[0];

        public override void Read(Span<byte> bytes)
        {
            var word = Little(_register switch { 6 => raw().Ambient, 7 => raw().Target, _ => 0x1234 });
            byte[] answer = [.. word, Crc8.SmBus([0xB4, _register, 0xB5, .. word])];
            for (var i = 0; i < bytes.Length; i++) bytes[i] = i < 3 ? answer[i] : (byte)0xFF;
        }
    }

    /// <summary>Modbus-like frames with a CRC-16: data sheet AM2320, section 8.2. It sleeps, and does not acknowledge what
    /// wakes it.</summary>
    public sealed class Am2320(Func<(int Humidity, int Temperature)> raw) : SimulatedChip
    {
        bool _isAwake;
        byte[]? _answer;

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            var wasAwake = _isAwake;
            _isAwake = true;
            if (!wasAwake) throw Nack();
            _answer = null;
            if (bytes is not [0x03, 0x00, 0x04]) return;
            byte[] frame = [0x03, 0x04, .. Big(raw().Humidity), .. Big(raw().Temperature)];
            _answer = [.. frame, .. Little(Crc16(frame))];
        }

        public override void Read(Span<byte> bytes)
        {
            if (_answer is not { } answer) throw Nack();
            answer.AsSpan(0, bytes.Length).CopyTo(bytes);
            (_answer, _isAwake) = (null, false);
        }

        public override void Reset() => (_answer, _isAwake) = (null, false);

        static int Crc16(byte[] bytes)
        {
            var crc = 0xFFFF;
            foreach (var value in bytes)
            {
                crc ^= value;
                for (var bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xA001 : crc >> 1;
            }

            return crc;
        }
    }

    /// <summary>An MCP9600: registers of one or two bytes, pointer and data in one write; data sheet DS20005426, section 5.
    /// </summary>
    public sealed class Mcp9600(Func<(int Hot, int Cold)> raw) : SimulatedChip
    {
        readonly Dictionary<int, byte> _written = [];
        int _pointer;

        public int Status { get; set; }

        public override void Reset() => _written.Clear();

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            _pointer = bytes[0];
            if (bytes.Length > 1 && _pointer is >= 4 and <= 0x13) _written[_pointer] = bytes[1];
        }

        public override void Read(Span<byte> bytes)
        {
            var answer = Answer();
            for (var i = 0; i < bytes.Length; i++) bytes[i] = i < answer.Length ? answer[i] : (byte)0;
        }

        byte[] Answer() => _pointer switch
        {
            0x00 => Big(IsSetUp ? raw().Hot : 0),
            0x02 => Big(raw().Cold),
            0x04 => [(byte)Status],
            0x20 => [0x40, 0x12],
            _ => [_written.GetValueOrDefault(_pointer)],
        };

        bool IsSetUp => _written.ContainsKey(5);
    }

    /// <summary>A MAX31865: one conversion when the bits for bias and one shot are set; data sheet 19-6478, table 1.</summary>
    public sealed class Max31865 : RegisterChip
    {
        public Max31865()
        {
            Reset();
        }

        public int Raw { get; set; } = 8192;

        public int Faults { get; set; }

        public override void Reset()
        {
            Bytes.AsSpan().Clear();
            (Bytes[3], Bytes[4]) = (0xFF, 0xFF);
        }

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            var register = bytes[0];
            base.Write([register]);
            for (var i = 1; i < bytes.Length; i++)
            {
                var at = register + i - 1;
                if (at is 0 or (>= 3 and <= 6)) Bytes[at] = bytes[i];
            }

            if (register != 0 || bytes.Length < 2) return;
            if ((bytes[1] & 0xA0) == 0xA0)
            {
                Big((Raw << 1) | (Faults != 0 ? 1 : 0)).CopyTo(Bytes, 1);
                Bytes[7] = (byte)Faults;
            }
            else if ((bytes[1] & 0x20) != 0) Big(0).CopyTo(Bytes, 1); // without bias there is no current

            Bytes[0] = (byte)(bytes[1] & ~0x22);
        }
    }

    /// <summary>The parts of a VL53L0X that its binding uses: pages by register 0xFF, a strobe that is always ready, and a
    /// measurement that ends at once. Its tuning changes nothing here.</summary>
    public sealed class Vl53L0X : SimulatedChip
    {
        readonly Dictionary<(int Page, int Register), byte> _registers = [];
        int _page;
        int _pointer;

        public Vl53L0X() => Reset();

        public int Millimetres { get; set; } = 500;

        public int State { get; set; } = 11;

        public override void Reset()
        {
            _registers.Clear();
            _page = 0;
            (_registers[(0, 0x01)], _registers[(0, 0x50)], _registers[(0, 0x70)]) = (0xFF, 6, 4);
        }

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            _pointer = bytes[0];
            for (var i = 1; i < bytes.Length; i++)
            {
                if (_pointer + i - 1 == 0xFF) _page = bytes[i];
                else _registers[(_page, (_pointer + i - 1) & 0xFF)] = bytes[i];
            }
        }

        public override void Read(Span<byte> bytes)
        {
            for (var i = 0; i < bytes.Length; i++)
            {
                bytes[i] = ((_pointer + i) & 0xFF) switch
                {
                    0x83 => 1,
                    0x00 when _page == 0 => 0,
                    0x13 when _page == 0 => 4,
                    0x14 when _page == 0 => (byte)(State << 3),
                    0x1E when _page == 0 => (byte)(Millimetres >> 8),
                    0x1F when _page == 0 => (byte)Millimetres,
                    0xC0 when _page == 0 => 0xEE,
                    var register => _registers.GetValueOrDefault((_page, register)),
                };
            }
        }
    }

    /// <summary>A VL53L1X: registers with numbers of two bytes; a measurement is ready some reads after it was begun.</summary>
    public sealed class Vl53L1X : SimulatedChip
    {
        readonly Dictionary<int, byte> _registers = [];
        int _pointer;
        int _reads;
        int _latched;

        public int Millimetres { get; set; } = 500;

        public int State { get; set; } = 9;

        public override void Reset()
        {
            _registers.Clear();
            (_reads, _latched) = (0, 0);
        }

        public override void Write(ReadOnlySpan<byte> bytes)
        {
            if (bytes.Length < 2) return;
            _pointer = BinaryPrimitives.ReadUInt16BigEndian(bytes);
            for (var i = 2; i < bytes.Length; i++) _registers[_pointer + i - 2] = bytes[i];
            if (bytes.Length > 2 && _pointer == 0x86) _reads = 0;
        }

        public override void Read(Span<byte> bytes)
        {
            var isRanging = _registers.GetValueOrDefault(0x87) == 0x40;
            if (_pointer == 0x31 && isRanging && ++_reads == 4) _latched = Millimetres;
            for (var i = 0; i < bytes.Length; i++)
            {
                bytes[i] = (_pointer + i) switch
                {
                    0x31 => isRanging && _reads >= 4 ? (byte)3 : (byte)2,
                    0x89 => (byte)State,
                    0x96 => (byte)(_latched >> 8),
                    0x97 => (byte)_latched,
                    0xE5 => 3,
                    0x10F => 0xEA,
                    0x110 => 0xCC,
                    var register => _registers.GetValueOrDefault(register),
                };
            }
        }
    }
}
