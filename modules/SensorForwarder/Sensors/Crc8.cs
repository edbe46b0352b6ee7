namespace SensorForwarder.Sensors;

/// <summary>The CRC-8 that sensor chips use.</summary>
internal static class Crc8
{
    /// <summary>Polynomial 0x31, initial value 0xFF, most significant bit first: SHT3x
    /// data sheet, section 4.12.</summary>
    public static byte Sensirion(ReadOnlySpan<byte> bytes) => HighBitFirst(bytes, 0x31, 0xFF);

    /// <summary>Polynomial 0x07, initial value 0: the packet error code of SMBus 2.0, section 5.4.</summary>
    public static byte SmBus(ReadOnlySpan<byte> bytes) => HighBitFirst(bytes, 0x07, 0);

    /// <summary>The polynomial 0x31, least significant bit first, initial value 0: Maxim application note 27.</summary>
    public static byte Dallas(ReadOnlySpan<byte> bytes)
    {
        byte crc = 0;
        foreach (var value in bytes)
        {
            crc ^= value;
            for (var bit = 0; bit < 8; bit++) crc = (byte)((crc & 1) != 0 ? (crc >> 1) ^ 0x8C : crc >> 1);
        }

        return crc;
    }

    static byte HighBitFirst(ReadOnlySpan<byte> bytes, byte polynomial, byte initial)
    {
        var crc = initial;
        foreach (var value in bytes)
        {
            crc ^= value;
            for (var bit = 0; bit < 8; bit++) crc = (byte)((crc & 0x80) != 0 ? (crc << 1) ^ polynomial : crc << 1);
        }

        return crc;
    }
}
