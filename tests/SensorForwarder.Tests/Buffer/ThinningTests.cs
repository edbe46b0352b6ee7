using System.Text;
using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Which readings are kept when a sensor's readings are halved.</summary>
public sealed class ThinningTests
{
    static byte[] Payload(string values, string quality = "good") =>
        Encoding.UTF8.GetBytes($$"""{"sensor":"a","quality":"{{quality}}","values":{ {{values}} } }""");

    static string Choose(params byte[][] payloads) =>
        string.Concat(Thinning.Choose([.. payloads.Select(payload => new ReadOnlyMemory<byte>(payload))]).Select(stays => stays ? '#' : '.'));

    static string Choose(params double[] values) => Choose([.. values.Select(value =>
        Payload(FormattableString.Invariant($"\"t\":{value}")))]);

    [Theory]
    [InlineData(0, "")]
    [InlineData(1, "#")]
    [InlineData(2, "##")]
    [InlineData(3, "#.#")]
    [InlineData(4, "#..#")]
    [InlineData(5, "##..#")]
    [InlineData(8, "##..#..#")]
    [InlineData(12, "##..##..#..#")]
    public void Of_constant_values_the_ends_and_the_first_two_of_each_group_are_kept(int count, string stays) =>
        Assert.Equal(stays, Choose([.. Enumerable.Repeat(20.0, count)]));

    [Fact]
    public void The_lowest_and_the_highest_value_of_a_group_are_kept()
    {
        Assert.Equal("#.#..##.#..#", Choose(5, 5, 9, 5, 5, 1, 9, 5, 5, 5, 5, 5));
        Assert.Equal("##...#.##..#", Choose(5, 0, 5, 5, 5, 6, 5, 4, 5, 5, 5, 5));
    }

    [Fact]
    public void In_a_group_with_the_first_or_last_reading_the_value_furthest_from_the_others_is_kept()
    {
        Assert.Equal("#..##..#", Choose(5, 5.2, 5, 9, 5, 5, 5, 5));
        Assert.Equal("#.#.#..#", Choose(5, 5.2, 1, 5, 5, 5, 5, 5));
    }

    [Fact]
    public void A_peak_is_kept_despite_the_noise_of_another_value()
    {
        // "b" has a range of 1, so noise of 0.1 is small; "a" changes only at its peak.
        byte[] At(double a, double b) => Payload(FormattableString.Invariant($"\"a\":{a},\"b\":{b}"));
        Assert.Equal("##..#.#.#..#", Choose(
            At(1, 0), At(1, 1), At(1, 0), At(1, 0),
            At(1, 0.1), At(1, 0), At(2, 0), At(1, 0),
            At(1, 0), At(1, 0), At(1, 0), At(1, 0)));
    }

    [Fact]
    public void A_reading_at_a_change_of_quality_is_kept()
    {
        var (good, bad) = (Payload("\"t\":1"), Payload("\"t\":1", "uncertain"));
        Assert.Equal("##...##.#..#", Choose(good, good, good, good, good, bad, good, good, good, good, good, good));
        // The first reading of a group is compared with the last one of the group before.
        var (low, high) = (Payload("\"t\":0.9", "uncertain"), Payload("\"t\":1.1", "uncertain"));
        Assert.Equal("##..#..##..#", Choose(
            Payload("\"t\":9"), Payload("\"t\":1"), good, good, bad, bad, low, high, bad, bad, bad, bad));
    }

    [Fact]
    public void Values_that_are_not_numbers_are_ignored_by_thinning()
    {
        var missing = Payload("\"t\":null,\"u\":{\"x\":[1]},\"v\":\"9\"");
        Assert.Equal("##..#.#.#..#", Choose(
            missing, Payload("\"t\":1"), Payload(""), Payload("\"t\":1"),
            Payload("\"t\":1"), missing, Payload("\"t\":3"), Payload("\"t\":1.5"),
            "no JSON"u8.ToArray(), [], missing, missing));
    }

    [Fact]
    public void Of_payloads_in_another_format_every_other_one_is_kept()
    {
        var pushed = (byte[][])[.. Enumerable.Range(0, 11).Select(n => Encoding.UTF8.GetBytes($"{{\"rpm\":{n}}}"))];
        Assert.Equal("#.#.#.#.#.#", Choose(pushed));
    }
}
