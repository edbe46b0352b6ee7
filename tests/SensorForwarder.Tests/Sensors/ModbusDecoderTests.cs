using System.Buffers.Binary;
using CsCheck;
using SensorForwarder.Sensors.Modbus;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Decoding of registers, planning of requests, and frames, without a device.</summary>
public sealed class ModbusDecoderTests
{
    static readonly Gen<ModbusOrder> Order = Gen.Int[0, 3].Select(i => (ModbusOrder)i);

    static byte[] Registers(ModbusType type, double number) => type switch
    {
        ModbusType.Int16 => Made(2, bytes => BinaryPrimitives.WriteInt16BigEndian(bytes, (short)number)),
        ModbusType.UInt16 => Made(2, bytes => BinaryPrimitives.WriteUInt16BigEndian(bytes, (ushort)number)),
        ModbusType.Int32 => Made(4, bytes => BinaryPrimitives.WriteInt32BigEndian(bytes, (int)number)),
        ModbusType.UInt32 => Made(4, bytes => BinaryPrimitives.WriteUInt32BigEndian(bytes, (uint)number)),
        ModbusType.Int64 => Made(8, bytes => BinaryPrimitives.WriteInt64BigEndian(bytes, (long)number)),
        ModbusType.UInt64 => Made(8, bytes => BinaryPrimitives.WriteUInt64BigEndian(bytes, (ulong)number)),
        ModbusType.Float32 => Made(4, bytes => BinaryPrimitives.WriteSingleBigEndian(bytes, (float)number)),
        ModbusType.Float64 => Made(8, bytes => BinaryPrimitives.WriteDoubleBigEndian(bytes, number)),
        _ => throw new ArgumentOutOfRangeException(nameof(type)),
    };

    static byte[] Made(int length, Action<byte[]> write)
    {
        var bytes = new byte[length];
        write(bytes);
        return bytes;
    }

    static readonly Gen<(ModbusType Type, double Number)> Number = Gen.OneOf(
        Gen.Short.Select(n => (ModbusType.Int16, (double)n)), Gen.UShort.Select(n => (ModbusType.UInt16, (double)n)),
        Gen.Int.Select(n => (ModbusType.Int32, (double)n)), Gen.UInt.Select(n => (ModbusType.UInt32, (double)n)),
        Gen.Long[-(1L << 53), 1L << 53].Select(n => (ModbusType.Int64, (double)n)), // the integers that a double represents exactly
        Gen.Long[0, 1L << 53].Select(n => (ModbusType.UInt64, (double)n)),
        Gen.Int[-10_000_000, 10_000_000].Select(n => (ModbusType.Float32, Math.Round(n / 1000.0, 3))),
        Gen.Double[-1e300, 1e300].Select(n => (ModbusType.Float64, n)));

    [Fact]
    public void A_number_is_decoded_correctly_in_every_type_byte_order_and_position() =>
        Gen.Select(Number, Order, Gen.Int[0, 5], Gen.Byte.Array[30]).Sample((number, order, place, data) =>
        {
            var registers = Registers(number.Type, number.Number);
            ModbusValue.Arrange(registers, order);
            registers.CopyTo(data, place * 2);
            var value = new ModbusValue("v", ModbusTable.Holding, 100 + place, number.Type, order);
            Assert.Equal(registers.Length, value.Count * 2);
            var read = value.Decode(data, 100);
            if (number.Type == ModbusType.Float32) Assert.Equal((float)number.Number, (float)read);
            else Assert.Equal(number.Number, read);
        });

    [Theory]
    [InlineData("ABCD", "0102030405060708", "0102030405060708")]
    [InlineData("DCBA", "0102030405060708", "0807060504030201")]
    [InlineData("BADC", "0102030405060708", "0201040306050807")]
    [InlineData("CDAB", "0102030405060708", "0708050603040102")]
    [InlineData("DCBA", "01020304", "04030201")]
    [InlineData("BADC", "01020304", "02010403")]
    [InlineData("CDAB", "01020304", "03040102")]
    [InlineData("ABCD", "0102", "0102")]
    [InlineData("DCBA", "0102", "0201")]
    [InlineData("BADC", "0102", "0201")]
    [InlineData("CDAB", "0102", "0102")]
    public void A_byte_order_arranges_the_bytes_and_is_its_own_inverse(string order, string value, string registers)
    {
        var bytes = Convert.FromHexString(value);
        ModbusValue.Arrange(bytes, Enum.Parse<ModbusOrder>(order, ignoreCase: true));
        Assert.Equal(registers, Convert.ToHexString(bytes));
        ModbusValue.Arrange(bytes, Enum.Parse<ModbusOrder>(order, ignoreCase: true));
        Assert.Equal(value, Convert.ToHexString(bytes));
    }

    [Theory]
    [InlineData("FFFE", "Int16", -2)]
    [InlineData("FFFE", "UInt16", 65534)]
    [InlineData("FFFFFFFE", "Int32", -2)]
    [InlineData("FFFFFFFE", "UInt32", 4294967294)]
    [InlineData("FFFFFFFFFFFFFFFE", "Int64", -2)]
    [InlineData("000000000000000A", "UInt64", 10)]
    [InlineData("4366199A", "Float32", 230.1)]
    [InlineData("406CC33333333333", "Float64", 230.1)]
    [InlineData("7FC00000", "Float32", double.NaN)]
    [InlineData("7F800000", "Float32", double.PositiveInfinity)]
    public void Registers_are_decoded_according_to_their_type(string registers, string type, double expected) => Assert.Equal(
        expected,
        new ModbusValue("v", ModbusTable.Input, 7, Enum.Parse<ModbusType>(type)).Decode(Convert.FromHexString(registers), 7));

    [Fact]
    public void Scale_and_offset_leave_no_binary_rounding_errors()
    {
        var value = new ModbusValue("v", ModbusTable.Input, 0, ModbusType.UInt16, Scale: 0.1, Offset: -0.05);
        Assert.Equal(230.05, value.Decode([0x08, 0xFD], 0));
    }

    [Fact]
    public void Every_bit_of_a_register_and_of_a_coil_answer_is_decoded() =>
        Gen.Select(Gen.Byte.Array[2], Gen.Int[0, 15], Order).Sample((bytes, bit, order) =>
        {
            var word = order is ModbusOrder.Abcd or ModbusOrder.Cdab ? (bytes[0] << 8) | bytes[1] : (bytes[1] << 8) | bytes[0];
            var register = new ModbusValue("v", ModbusTable.Holding, 9, ModbusType.Bool, order, bit);
            Assert.Equal((word >> bit) & 1, register.Decode(bytes, 9));
            var coil = new ModbusValue("v", ModbusTable.Coil, 20 + bit, ModbusType.Bool);
            Assert.Equal((((bytes[1] << 8) | bytes[0]) >> bit) & 1, coil.Decode(bytes, 20));
        });

    [Fact]
    public void Frames_match_the_Modbus_standard()
    {
        Assert.Equal("01040000000271CB", Convert.ToHexString(ModbusFrames.Rtu(1, new(ModbusTable.Input, 0, 2))));
        Assert.Equal(0x4B37, ModbusFrames.Crc("123456789"u8)); // CRC-16/MODBUS
        Assert.Equal("000700000006FF03006B0003", Convert.ToHexString(ModbusFrames.Tcp(7, 0xFF, new(ModbusTable.Holding, 0x6B, 3))));
    }

    static byte[] Framed(params byte[] bytes)
    {
        var crc = ModbusFrames.Crc(bytes);
        return [.. bytes, (byte)crc, (byte)(crc >> 8)];
    }

    static readonly ModbusRequest ThreeRegisters = new(ModbusTable.Holding, 0x6B, 3);

    [Fact]
    public void A_frame_with_one_flipped_bit_is_never_accepted()
    {
        var right = Framed(0x11, 0x03, 6, 0x02, 0x2B, 0x00, 0x00, 0x00, 0x64);
        Assert.Equal("022B00000064", Convert.ToHexString(ModbusFrames.FindRtu(0x11, ThreeRegisters, right)!.Data));
        for (var bit = 0; bit < right.Length * 8; bit++)
        {
            var wrong = (byte[])right.Clone();
            wrong[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.Null(ModbusFrames.FindRtu(0x11, ThreeRegisters, wrong));
        }
    }

    [Fact]
    public void An_answer_is_found_after_garbage_an_echo_and_the_answer_of_another_unit() =>
        Gen.Select(Gen.Byte.Array[0, 20], Gen.Bool, Gen.Bool, Gen.Byte.Array[6]).Sample((garbage, hasEcho, hasOther, data) =>
        {
            byte[] come =
            [
                .. garbage, .. hasEcho ? ModbusFrames.Rtu(0x11, ThreeRegisters) : [],
                .. hasOther ? Framed([0x12, 3, 6, 9, 9, 9, 9, 9, 9]) : [], .. Framed([0x11, 3, 6, .. data]),
            ];
            Assert.Equal(data, ModbusFrames.FindRtu(0x11, ThreeRegisters, come)!.Data);
            Assert.Null(ModbusFrames.FindRtu(0x11, ThreeRegisters, come.AsSpan(..^1)));
        });

    [Fact]
    public void An_exception_answer_is_distinguished_from_data()
    {
        Assert.Equal((byte?)2, ModbusFrames.FindRtu(0x11, ThreeRegisters, Framed(0x11, 0x83, 2))!.Exception);
        Assert.Null(ModbusFrames.FindRtu(0x11, ThreeRegisters, Framed(0x11, 0x84, 2))); // the answer to another function
        Assert.Null(ThreeRegisters.Read([3, 4, 0, 0, 0, 0])); // too short
    }

    static readonly Gen<ModbusValue> Value = Gen.Select(Gen.Int[1, 4], Gen.Int[0, 3000], Gen.Int[1, 8]).Select((table, address, type) =>
        new ModbusValue($"{table}-{address}-{type}", (ModbusTable)table, address, table <= 2 ? ModbusType.Bool : (ModbusType)type));

    [Fact]
    public void Every_value_is_covered_by_exactly_one_request_and_no_request_is_too_long() =>
        Value.Array[1, 60].Sample(values =>
        {
            var readings = ModbusPlan.Make(values);
            Assert.Equal(
                values.Select(value => value.Name).Order(StringComparer.Ordinal),
                readings.SelectMany(reading => reading.Values).Select(value => value.Name).Order(StringComparer.Ordinal));
            foreach (var (request, held) in readings.Select(reading => (reading.Request, reading.Values)))
            {
                Assert.InRange(request.Count, 1, request.IsOfBits ? ModbusRequest.MaxBits : ModbusRequest.MaxRegisters);
                Assert.All(held, value => Assert.True(
                    value.Table == request.Table && value.Address >= request.Address
                        && value.Address + value.Count <= request.Address + request.Count));
                Assert.Contains(held, value => value.Address + value.Count == request.Address + request.Count);
                Assert.Equal(held.Min(value => value.Address), request.Address);
            }
        });

    [Theory]
    [InlineData(new[] { 0, 1, 2 }, "0+3")]
    [InlineData(new[] { 0, 9 }, "0+10")]
    [InlineData(new[] { 0, 10 }, "0+1, 10+1")]
    [InlineData(new[] { 5, 5, 6 }, "5+2")]
    public void Neighbouring_registers_are_read_in_one_request(int[] addresses, string requests) => Assert.Equal(
        requests,
        string.Join(", ", ModbusPlan.Make(addresses.Select((address, i) => new ModbusValue($"{i}", ModbusTable.Holding, address, ModbusType.UInt16)))
            .Select(reading => $"{reading.Request.Address}+{reading.Request.Count}")));

    [Fact]
    public void A_request_reads_at_most_125_registers_or_2000_bits()
    {
        var registers = Enumerable.Range(0, 130).Select(i => new ModbusValue($"{i}", ModbusTable.Input, i, ModbusType.Int16));
        Assert.Equal([125, 5], ModbusPlan.Make(registers).Select(reading => reading.Request.Count));
        var bits = Enumerable.Range(0, 2010).Select(i => new ModbusValue($"{i}", ModbusTable.Coil, i, ModbusType.Bool));
        Assert.Equal([2000, 10], ModbusPlan.Make(bits).Select(reading => reading.Request.Count));
        var wide = Enumerable.Range(0, 32).Select(i => new ModbusValue($"{i}", ModbusTable.Input, i * 4, ModbusType.Float64));
        Assert.Equal([124, 4], ModbusPlan.Make(wide).Select(reading => reading.Request.Count));
    }
}
