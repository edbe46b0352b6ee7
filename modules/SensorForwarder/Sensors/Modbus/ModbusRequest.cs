using System.Buffers.Binary;

namespace SensorForwarder.Sensors.Modbus;

/// <summary>A request for registers or bits that lie one behind the other: its bytes, and those of its answer, without
/// what TCP and serial lines put around them. MODBUS Application Protocol 1.1b3, section 6.</summary>
/// <param name="Table">Where they are.</param>
/// <param name="Address">The first, from 0.</param>
/// <param name="Count">How many: 1 to <see cref="MaxRegisters"/> or <see cref="MaxBits"/>.</param>
internal sealed record ModbusRequest(ModbusTable Table, int Address, int Count)
{
    public const int MaxRegisters = 125, MaxBits = 2000;

    /// <summary>Function code, address, count.</summary>
    public const int Length = 5;

    /// <summary>What the function code of an answer has added when it is an exception.</summary>
    public const byte ExceptionFlag = 0x80;

    public const int ExceptionLength = 2;

    public bool IsOfBits => Table is ModbusTable.Coil or ModbusTable.Discrete;

    public byte Function => (byte)Table;

    /// <summary>Bytes of the answer, if it is none with an exception: function code, number of bytes, data.</summary>
    public int AnswerLength => 2 + DataLength;

    int DataLength => IsOfBits ? (Count + 7) / 8 : Count * 2;

    public void Write(Span<byte> bytes)
    {
        bytes[0] = Function;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[1..], (ushort)Address);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[3..], (ushort)Count);
    }

    /// <summary>Reads an answer.</summary>
    /// <returns>Null: it is none to this request.</returns>
    public ModbusAnswer? Read(ReadOnlySpan<byte> bytes) => bytes switch
    {
        [var function, var code] when function == (Function | ExceptionFlag) => new([], code),
        [var function, var length, ..] when function == Function && length == DataLength
            && bytes.Length == AnswerLength => new(bytes[2..].ToArray(), null),
        _ => null,
    };
}

/// <summary>What a device answers.</summary>
/// <param name="Data">Registers, each high byte first, or bits, the first one lowest; empty with an exception.</param>
/// <param name="Exception">Why it does not tell; null: it does.</param>
internal sealed record ModbusAnswer(byte[] Data, byte? Exception);
