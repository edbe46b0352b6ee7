using System.Globalization;
using System.Text;

namespace SensorForwarder.Sensors.Serial;

/// <summary>An NMEA 0183 sentence with a valid checksum: <c>$GPRMC,123519,A,..*6A</c>, where the two digits are the XOR
/// of the characters between <c>$</c> and <c>*</c>. Immutable.</summary>
/// <param name="Type">The three letters after the talker id: RMC, GGA.</param>
/// <param name="Fields">The comma-separated fields; the first is talker and type.</param>
internal sealed record NmeaSentence(string Type, IReadOnlyList<string> Fields)
{
    const int AddressLength = 5, ChecksumLength = 3;

    /// <param name="line">A line without its end. The sentence begins at the last <c>$</c>: anything before it is an
    /// incomplete sentence.</param>
    /// <returns>Null if the line is not an intact sentence.</returns>
    public static NmeaSentence? Read(ReadOnlySpan<byte> line)
    {
        line = line[Math.Max(0, line.LastIndexOf((byte)'$'))..].TrimEnd((byte)'\r');
        if (line.Length <= 1 + AddressLength + ChecksumLength || line[0] != '$' || line[^ChecksumLength] != '*'
            || !byte.TryParse(
                line[^(ChecksumLength - 1)..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture,
                out var expected)) return null;
        var text = line[1..^ChecksumLength];

        // The checksum has only eight bits, so anything else that is visibly wrong is rejected as well.
        if (text.ContainsAnyExceptInRange((byte)' ', (byte)'~')) return null;
        byte sum = 0;
        foreach (var character in text) sum ^= character;
        if (sum != expected) return null;
        var fields = Encoding.ASCII.GetString(text).Split(',');
        return fields[0].Length == AddressLength ? new(fields[0][^3..], fields) : null;
    }

    /// <summary>A field; empty if it does not exist.</summary>
    public string Field(int index) => index < Fields.Count ? Fields[index] : "";

    /// <summary>A field as a number; null if it is empty or not a number.</summary>
    public double? Number(int index) => double.TryParse(
        Field(index), NumberStyles.Float & ~NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out var number)
        && double.IsFinite(number) ? number : null;

    /// <summary>Two fields such as <c>4807.038,N</c> (degrees and minutes, then the direction) as degrees; south and
    /// west are negative. Null if the fields are empty or invalid.</summary>
    /// <param name="positive">The positive direction: N or E.</param>
    /// <param name="negative">The negative direction.</param>
    /// <param name="most">The largest valid angle.</param>
    public double? Angle(int index, string positive, string negative, double most)
    {
        const int Decimals = 7; // a centimetre
        if (Number(index) is not (>= 0 and var number)) return null;
        var degrees = Math.Floor(number / 100);
        var minutes = number - (degrees * 100);
        var angle = Math.Round(degrees + (minutes / 60), Decimals);
        if (minutes >= 60 || angle > most) return null;
        var direction = Field(index + 1);
        return direction == positive ? angle : direction == negative ? -angle : null;
    }
}
