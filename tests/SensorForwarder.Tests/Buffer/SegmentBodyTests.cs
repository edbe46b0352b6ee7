using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Buffer;

/// <summary>The body of a segment: it reads back unchanged, and damage never yields other readings.</summary>
public sealed class SegmentBodyTests
{
    static readonly StoredReading[] Three =
    [
        new(7, 1_000, 0, "{\"sensor\":\"a\"}"u8.ToArray()),
        new(9, -5, int.MaxValue, Array.Empty<byte>()),
        new(10, long.MaxValue, 3, "{\"b\":\t1}"u8.ToArray()),
    ];

    [Fact]
    public void A_written_segment_body_reads_back_unchanged()
    {
        var random = new Random(1);
        for (var round = 0; round < 100; round++)
        {
            var id = random.NextInt64(1, 1L << 52);
            var readings = Enumerable.Range(0, random.Next(1, 40)).Select(_ => new StoredReading(
                id += random.Next(1, 5), random.NextInt64(long.MinValue, long.MaxValue), random.Next(),
                new string((char)random.Next(' ', '~'), random.Next(0, 3_000)).Select(c => (byte)c).ToArray())).ToArray();
            var text = TextOf(readings);
            Assert.Equal((readings.Length, readings[0].Id, readings[^1].Id), (text.Count, text.FirstId, text.LastId));
            Assert.Equal(readings.Min(reading => reading.RecordedAtMs), text.OldestAtMs);
            Assert.Equal(readings.Max(reading => reading.RecordedAtMs), text.NewestAtMs);
            foreach (var level in (CompressionLevel[])[CompressionLevel.Optimal, CompressionLevel.Fastest])
            {
                ExpectSame(readings, SegmentBody.Read(text.Compress(level), out var isWhole));
                Assert.True(isWhole);
            }
            ExpectSame(readings, text.Parse());
        }
    }

    [Fact]
    public void A_line_break_between_tokens_becomes_a_space()
    {
        var text = TextOf(new StoredReading(1, 2, 3, "{\n\"a\":1,\n\"b\":2}"u8.ToArray()));
        Assert.Equal("{ \"a\":1, \"b\":2}", Encoding.UTF8.GetString(Assert.Single(text.Parse()).Payload.Span));
    }

    [Fact]
    public void A_segment_is_full_at_the_limit_of_readings_or_of_bytes()
    {
        var few = new SegmentText();
        for (var id = 1; id < Segments.MaxReadings; id++)
            few.Add(id, 0, 0, "1"u8);
        Assert.False(few.IsFull);
        few.Add(Segments.MaxReadings, 0, 0, "1"u8);
        Assert.True(few.IsFull);

        const string Line = "1\t0\t0\t\n";
        var big = TextOf(new StoredReading(1, 0, 0, new byte[Segments.MaxTextBytes - Line.Length - 1]));
        Assert.False(big.IsFull);
        big = TextOf(new StoredReading(1, 0, 0, new byte[Segments.MaxTextBytes - Line.Length]));
        Assert.True(big.IsFull);
    }

    [Fact]
    public void A_truncated_body_yields_its_beginning_only_on_request()
    {
        var body = TextOf(Three).Compress(CompressionLevel.Optimal);
        for (var length = 0; length < body.Length; length++)
        {
            Assert.Empty(SegmentBody.Read(body[..length], out var isWhole));
            Assert.False(isWhole);
            var beginning = SegmentBody.ReadBeginning(body[..length]);
            ExpectSame(Three.AsSpan(0, beginning.Length), beginning);
        }
        ExpectSame(Three, SegmentBody.ReadBeginning(body[..^8]));
    }

    [Fact]
    public void A_body_with_a_flipped_bit_yields_the_original_readings_or_none()
    {
        var body = TextOf(Three).Compress(CompressionLevel.Optimal);
        for (var bit = 0; bit < body.Length * 8; bit++)
        {
            var damaged = body.ToArray();
            damaged[bit / 8] ^= (byte)(1 << (bit % 8));
            var readings = SegmentBody.Read(damaged, out var isWhole);
            Assert.Equal(isWhole, readings.Length > 0);
            if (isWhole)
                ExpectSame(Three, readings); // a bit of the header that gzip ignores
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(uint.MaxValue)]
    public void A_trailer_with_a_wrong_length_is_damage(uint length)
    {
        var body = TextOf(Three).Compress(CompressionLevel.Optimal);
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(body.Length - 4), length);
        Assert.Empty(SegmentBody.Read(body, out var isWhole));
        Assert.False(isWhole);
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("\n", 0)]
    [InlineData("1\t2\t3\t{}", 0)] // without a line end
    [InlineData("1\t2\t3\n", 0)] // without a payload
    [InlineData("1\t2\t3", 0)]
    [InlineData("x\t2\t3\t{}\n", 0)]
    [InlineData("1 \t2\t3\t{}\n", 0)]
    [InlineData("1\t2\t-1\t{}\n", 0)]
    [InlineData("1\t2\t2147483648\t{}\n", 0)]
    [InlineData("0\t2\t3\t{}\n", 0)]
    [InlineData("99999999999999999999\t2\t3\t{}\n", 0)]
    [InlineData("1\t2\t3\t{}\n1\t2\t3\t{}\n", 1)]
    [InlineData("5\t2\t3\t{}\n4\t2\t3\t{}\n6\t2\t3\t{}\n", 1)]
    [InlineData("5\t2\t3\t{}\nrubbish\n6\t2\t3\t{}\n", 1)]
    [InlineData("5\t2\t3\t{}\n6\t2\t3\t{}\nrubbish", 2)]
    public void A_damaged_text_is_read_up_to_the_first_invalid_line(string text, int readings)
    {
        using var body = new MemoryStream();
        using (var gzip = new GZipStream(body, CompressionLevel.Optimal, leaveOpen: true))
            gzip.Write(Encoding.UTF8.GetBytes(text));
        Assert.Empty(SegmentBody.Read(body.ToArray(), out var isWhole));
        Assert.False(isWhole);
        Assert.Equal(readings, SegmentBody.ReadBeginning(body.ToArray()).Length);
    }

    [Fact]
    public void An_epoch_applies_from_its_first_id_to_the_first_id_of_the_next_one()
    {
        var epochs = new Epochs([(50, "second"), (10, "first")], "third");
        Assert.Equal(["third", "first", "first", "second", "second"],
            ((long[])[9, 10, 49, 50, 1_000]).Select(epochs.Of));
        Assert.True(new Epochs([(10, "first")], "first").HasCurrent);
        Assert.False(epochs.HasCurrent);
        // An epoch without readings is replaced by the next one, which begins with the same id.
        var replaced = epochs.WithCurrentFrom(50);
        Assert.Equal(["first", "third"], ((long[])[49, 50]).Select(replaced.Of));
        Assert.True(replaced.HasCurrent);
        Assert.Equal(["second", "third"], ((long[])[59, 60]).Select(epochs.WithCurrentFrom(60).Of));
    }

    static SegmentText TextOf(params ReadOnlySpan<StoredReading> readings)
    {
        var text = new SegmentText();
        foreach (var reading in readings)
            text.Add(reading.Id, reading.RecordedAtMs, reading.Clock, reading.Payload.Span);
        return text;
    }

    static void ExpectSame(ReadOnlySpan<StoredReading> expected, ReadOnlySpan<StoredReading> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i] with { Payload = default }, actual[i] with { Payload = default });
            Assert.True(expected[i].Payload.Span.SequenceEqual(actual[i].Payload.Span));
        }
    }
}
