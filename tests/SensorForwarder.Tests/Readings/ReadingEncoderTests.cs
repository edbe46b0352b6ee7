using System.Text;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.Readings;

/// <summary>The exact JSON of a reading, since receivers depend on it.</summary>
public sealed class ReadingEncoderTests
{
    static readonly Reading Bare = new()
    {
        Sensor = "attic",
        Kind = "simulated",
        Time = new(2026, 11, 24, 14, 20, 31, 123, TimeSpan.FromHours(2)),
    };

    static string Encode(Reading reading) => Encoding.UTF8.GetString(ReadingEncoder.Encode(reading));

    [Fact]
    public void A_payload_contains_its_properties_in_a_fixed_order()
    {
        Assert.Equal(
            """{"sensor":"attic","kind":"simulated","time":"2026-11-24T12:20:31.123Z","quality":"good","values":{}}""",
            Encode(Bare));
        var full = Bare with
        {
            Label = "Attic \u00b0 <north> & \"south\"",
            Unit = "m3/h",
            Quality = ReadingQuality.Uncertain,
            Reason = "range",
            Values = [new("a", 21.43), new("b", double.NaN), new("c", double.PositiveInfinity), new("d", -1e-7)],
        };
        Assert.Equal(
            "{\"sensor\":\"attic\",\"kind\":\"simulated\",\"label\":\"Attic \u00b0 <north> & \\\"south\\\"\","
            + "\"unit\":\"m3/h\",\"time\":\"2026-11-24T12:20:31.123Z\",\"quality\":\"uncertain\",\"reason\":\"range\","
            + "\"values\":{\"a\":21.43,\"b\":null,\"c\":null,\"d\":-1E-07}}",
            Encode(full));
        var bad = Encode(Bare with { Quality = ReadingQuality.Bad });
        Assert.Contains("\"quality\":\"bad\"", bad, StringComparison.Ordinal);
    }

    [Fact]
    public void A_huge_reading_does_not_affect_the_next_one()
    {
        var small = Encode(Bare);
        var huge = Encode(Bare with { Label = new('x', 70_000) });
        Assert.Equal(small.Length + 70_000 + "\"label\":\"\",".Length, huge.Length);
        Assert.Equal(small, Encode(Bare));
        Assert.Equal(small, Encode(Bare));
    }

    [Theory]
    [InlineData("attic")]
    [InlineData("r\u00e4ume<1>'")]
    public void Each_payload_begins_with_its_sensor(string sensor) => Assert.StartsWith(
        ReadingEncoder.BeginningOf(sensor), Encode(Bare with { Sensor = sensor }), StringComparison.Ordinal);

    [Theory]
    [InlineData(0, "1970-01-01T00:00:00.000Z")]
    [InlineData(1_095_379_199_007, "2004-09-16T23:59:59.007Z")]
    [InlineData(-62_135_596_800_000, "0001-01-01T00:00:00.000Z")]
    [InlineData(253_402_300_799_999, "9999-12-31T23:59:59.999Z")]
    public void A_time_has_24_characters(long unixMs, string expected)
    {
        var text = new byte[ReadingEncoder.TimeLength];
        ReadingEncoder.FormatTime(DateTimeOffset.FromUnixTimeMilliseconds(unixMs), text);
        Assert.Equal(expected, Encoding.ASCII.GetString(text));
    }
}
