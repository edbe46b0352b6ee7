using System.Buffers.Binary;

namespace SensorForwarder.Sensors.Modbus;

/// <summary>A request for consecutive registers or bits, without framing. MODBUS Application Protocol 1.1b3, section 6.
/// </summary>
/// <param name="Address">The address of the first, from 0.</param>
/// <param name="Count">The number of them: 1 to <see cref="MaxRegisters"/> or <see cref="MaxBits"/>.</param>
internal sealed record ModbusRequest(ModbusTable Table, int Address, int Count)
{
    public const int MaxRegisters = 125, MaxBits = 2000;

    /// <summary>Function code, address, count.</summary>
    public const int Length = 5;

    /// <summary>Set in the function code of an exception.</summary>
    public const byte ExceptionFlag = 0x80;

    public const int ExceptionLength = 2;

    public bool IsOfBits => Table is ModbusTable.Coil or ModbusTable.Discrete;

    public byte Function => (byte)Table;

    /// <summary>The length of an answer that is not an exception: function code, number of bytes, data.</summary>
    public int AnswerLength => 2 + DataLength;

    int DataLength => IsOfBits ? (Count + 7) / 8 : Count * 2;

    public void Write(Span<byte> bytes)
    {
        bytes[0] = Function;
        BinaryPrimitives.WriteUInt16BigEndian(bytes[1..], (ushort)Address);
        BinaryPrimitives.WriteUInt16BigEndian(bytes[3..], (ushort)Count);
    }

    /// <summary>Reads an answer.</summary>
    /// <returns>Null if it does not belong to this request.</returns>
    public ModbusAnswer? Read(ReadOnlySpan<byte> bytes) => bytes switch
    {
        [var function, var code] when function == (Function | ExceptionFlag) => new([], code),
        [var function, var length, ..] when function == Function && length == DataLength
            && bytes.Length == AnswerLength => new(bytes[2..].ToArray(), null),
        _ => null,
    };
}

/// <summary>The answer of a device.</summary>
/// <param name="Data">Registers, each high byte first, or bits, the first one lowest; empty with an exception.</param>
/// <param name="Exception">The exception code; null if there is none.</param>
internal sealed record ModbusAnswer(byte[] Data, byte? Exception);
