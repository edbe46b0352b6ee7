using System.Globalization;
using System.Text;

namespace SensorForwarder.Sensors.Serial;

/// <summary>An intact sentence of NMEA 0183: <c>$GPRMC,123519,A,..*6A</c>, where the two digits are the exclusive or of
/// all between <c>$</c> and <c>*</c>. Immutable.</summary>
/// <param name="Type">The three letters behind the talker's two: RMC, GGA.</param>
/// <param name="Fields">What stands between the commas; the first is talker and type.</param>
internal sealed record NmeaSentence(string Type, IReadOnlyList<string> Fields)
{
    const int AddressLength = 5, ChecksumLength = 3;

    /// <param name="line">Without the line break. A sentence begins at its last <c>$</c>: what is before it lost its
    /// end.</param>
    /// <returns>Null: it is no intact sentence.</returns>
    public static NmeaSentence? Read(ReadOnlySpan<byte> line)
    {
        line = line[Math.Max(0, line.LastIndexOf((byte)'$'))..].TrimEnd((byte)'\r');
        if (line.Length <= 1 + AddressLength + ChecksumLength || line[0] != '$' || line[^ChecksumLength] != '*'
            || !byte.TryParse(
                line[^(ChecksumLength - 1)..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture,
                out var expected)) return null;
        var text = line[1..^ChecksumLength];

        // The checksum has eight bits only, so what can be seen to be wrong is rejected before it is asked.
        if (text.ContainsAnyExceptInRange((byte)' ', (byte)'~')) return null;
        byte sum = 0;
        foreach (var character in text) sum ^= character;
        if (sum != expected) return null;
        var fields = Encoding.ASCII.GetString(text).Split(',');
        return fields[0].Length == AddressLength ? new(fields[0][^3..], fields) : null;
    }

    /// <summary>A field; empty when there is none.</summary>
    public string Field(int index) => index < Fields.Count ? Fields[index] : "";

    /// <summary>A field as a number; null: it is empty, or no number.</summary>
    public double? Number(int index) => double.TryParse(
        Field(index), NumberStyles.Float & ~NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out var number)
        && double.IsFinite(number) ? number : null;

    /// <summary>An angle of two fields, such as <c>4807.038,N</c>: degrees and minutes, then the direction. Degrees;
    /// south and west are negative. Null: there is none.</summary>
    /// <param name="index">The first of the two.</param>
    /// <param name="positive">The direction that is positive: N or E.</param>
    /// <param name="negative">The other one.</param>
    /// <param name="most">The largest angle.</param>
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
