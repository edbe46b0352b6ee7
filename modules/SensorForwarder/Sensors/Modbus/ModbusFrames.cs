using System.Buffers.Binary;

namespace SensorForwarder.Sensors.Modbus;

/// <summary>Framing of requests and answers: RTU on a serial line (unit, data, CRC) and the TCP header, whose
/// transaction number the answer repeats. MODBUS over Serial Line 1.02, section 2.5.1; MODBUS Messaging on TCP/IP 1.0b,
/// section 3.1.3. Pure.</summary>
internal static class ModbusFrames
{
    /// <summary>The length of the TCP header including the unit, in bytes.</summary>
    public const int TcpHeader = 7;

    const int UnitLength = 1, CrcLength = 2, LongestPdu = 253;

    public static byte[] Rtu(byte unit, ModbusRequest request)
    {
        var frame = new byte[UnitLength + ModbusRequest.Length + CrcLength];
        frame[0] = unit;
        request.Write(frame.AsSpan(UnitLength));
        BinaryPrimitives.WriteUInt16LittleEndian(frame.AsSpan(^CrcLength..), Crc(frame.AsSpan(..^CrcLength)));
        return frame;
    }

    /// <summary>The length of an answer that is not an exception, in bytes.</summary>
    public static int RtuLength(ModbusRequest request) => UnitLength + request.AnswerLength + CrcLength;

    /// <summary>Finds the answer to a request among received bytes. Garbage, the answer of another unit, or an echo of
    /// the request (some adapters receive what they send) may precede it. Null if it has not arrived yet.</summary>
    public static ModbusAnswer? FindRtu(byte unit, ModbusRequest request, ReadOnlySpan<byte> bytes)
    {
        for (var start = 0; start < bytes.Length; start++)
        {
            if (bytes[start] != unit) continue;
            foreach (var length in (ReadOnlySpan<int>)[request.AnswerLength, ModbusRequest.ExceptionLength])
            {
                if (start + UnitLength + length + CrcLength > bytes.Length) continue;
                var frame = bytes.Slice(start, UnitLength + length + CrcLength);
                if (request.Read(frame[UnitLength..^CrcLength]) is { } answer
                    && BinaryPrimitives.ReadUInt16LittleEndian(frame[^CrcLength..]) == Crc(frame[..^CrcLength]))
                    return answer;
            }
        }

        return null;
    }

    public static byte[] Tcp(ushort transaction, byte unit, ModbusRequest request)
    {
        var frame = new byte[TcpHeader + ModbusRequest.Length];
        BinaryPrimitives.WriteUInt16BigEndian(frame, transaction);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(4), UnitLength + ModbusRequest.Length);
        frame[6] = unit;
        request.Write(frame.AsSpan(TcpHeader));
        return frame;
    }

    /// <summary>Reads the header of an answer.</summary>
    /// <param name="header"><see cref="TcpHeader"/> bytes.</param>
    /// <returns>Transaction number, unit, and the number of bytes that follow; null if this is not Modbus.</returns>
    public static (ushort Transaction, byte Unit, int Length)? ReadTcpHeader(ReadOnlySpan<byte> header)
    {
        var (protocol, length) =
            (BinaryPrimitives.ReadUInt16BigEndian(header[2..]), BinaryPrimitives.ReadUInt16BigEndian(header[4..]));
        return protocol == 0 && length - UnitLength is >= ModbusRequest.ExceptionLength and <= LongestPdu
            ? (BinaryPrimitives.ReadUInt16BigEndian(header), header[6], length - UnitLength)
            : null;
    }

    /// <summary>CRC-16 with the polynomial 0x8005, least significant bit first, initial value 0xFFFF.</summary>
    public static ushort Crc(ReadOnlySpan<byte> bytes)
    {
        ushort crc = 0xFFFF;
        foreach (var value in bytes)
        {
            crc ^= value;
            for (var bit = 0; bit < 8; bit++) crc = (ushort)((crc & 1) != 0 ? (crc >> 1) ^ 0xA001 : crc >> 1);
        }

        return crc;
    }
}
