namespace SensorForwarder.Sensors;

/// <summary>The two CRC-8 that sensor chips use.</summary>
internal static class Crc8
{
    /// <summary>Polynomial 0x31, initial value 0xFF, most significant bit first: SHT3x
    /// data sheet, section 4.12.</summary>
    public static byte Sensirion(ReadOnlySpan<byte> bytes)
    {
        byte crc = 0xFF;
        foreach (var value in bytes)
        {
            crc ^= value;
            for (var bit = 0; bit < 8; bit++) crc = (byte)((crc & 0x80) != 0 ? (crc << 1) ^ 0x31 : crc << 1);
        }

        return crc;
    }

    /// <summary>The same polynomial, least significant bit first, initial value 0: Maxim application note 27.</summary>
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
}
