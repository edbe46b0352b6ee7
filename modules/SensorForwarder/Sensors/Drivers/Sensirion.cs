namespace SensorForwarder.Sensors.Drivers;

/// <summary>The data format of Sensirion's chips: words of 16 bits, each with a checksum.</summary>
internal static class Sensirion
{
    const int WordLength = 3;

    /// <summary>The words of an answer.</summary>
    /// <exception cref="SensorFault">A checksum does not match.</exception>
    public static int[] Words(byte[] answer)
    {
        if (!IsIntact(answer)) throw new SensorFault(FaultReason.Crc, "a checksum does not match: noise on the wires?");
        return [.. answer.Chunk(WordLength).Select(word => (word[0] << 8) | word[1])];
    }

    public static bool IsIntact(byte[] answer) =>
        answer.Chunk(WordLength).All(word => Crc8.Sensirion(word.AsSpan(0, 2)) == word[2]);

    /// <summary>-45..130 degrees Celsius over 16 bits: SHT3x data sheet, section 4.13;
    /// SHT4x, 4.6; SCD4x, 3.5.2.</summary>
    public static KeyValuePair<string, double> Temperature(int word) =>
        Measured.Value("temperature", -45 + (175.0 * word / 65_535), 2);
}
