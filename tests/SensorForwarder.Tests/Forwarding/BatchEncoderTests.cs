using System.Text;
using System.Text.Json;
using CsCheck;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Readings;

namespace SensorForwarder.Tests.Forwarding;

public sealed class BatchEncoderTests
{
    static readonly Gen<BufferedReading[]> Readings =
        from start in Gen.Long[1, long.MaxValue - 1000]
        from texts in Gen.String[0, 200].Array[1, 60]
        select texts.Select((text, i) => new BufferedReading(
            start + i, DateTimeOffset.UnixEpoch, JsonSerializer.SerializeToUtf8Bytes(new { sensor = text }))
        {
            Epoch = "0197",
        }).ToArray();

    [Fact]
    public void The_body_holds_the_stored_bytes_in_order_and_does_not_exceed_the_maximum_size()
    {
        Gen.Select(Readings, Gen.Int[1, 5000], Gen.String[1, 20]).Sample((readings, maxBytes, name) =>
        {
            var batch = new BatchEncoder(name, "m\"odule").Encode(readings, maxBytes);

            Assert.True(batch.Body.Length <= maxBytes || batch.Readings.Count == 1);
            var whole = batch.Readings.Count == readings.Length
                || new BatchEncoder(name, "m\"odule").Encode([.. readings.Take(batch.Readings.Count + 1)], int.MaxValue).Body.Length > maxBytes;
            Assert.True(whole, "one more reading would have fitted");
            Assert.Equal($"0197:{readings[0].Id}-{batch.Readings[^1].Id}", batch.Id);

            using var json = JsonDocument.Parse(batch.Body);
            // A lone surrogate can't be written in UTF-8; every writer replaces it in the same way.
            Assert.Equal(JsonSerializer.Deserialize<string>(JsonSerializer.Serialize(name)), json.RootElement.GetProperty("device").GetString());
            var entries = json.RootElement.GetProperty("batch").EnumerateArray().ToList();
            Assert.Equal(batch.Readings.Count, entries.Count);
            for (var i = 0; i < entries.Count; i++)
            {
                Assert.Equal(readings[i].Id, entries[i].GetProperty("id").GetInt64());
                Assert.Equal(Encoding.UTF8.GetString(readings[i].Payload.Span), entries[i].GetProperty("data").GetRawText());
            }
        });
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Readings_that_exactly_fill_the_maximum_size_are_in_one_batch(bool isGzip)
    {
        var encoder = new BatchEncoder("d", "m");
        BufferedReading[] readings = [.. Enumerable.Range(1, 30).Select(id => new BufferedReading(
            id, DateTimeOffset.UnixEpoch, Encoding.UTF8.GetBytes($$"""{"sensor":"a","value":{{id * 7919 % 1000}}}""")) { Epoch = "e" })];
        int Bytes(Batch batch) => isGzip ? batch.Gzip!.Value.Length : batch.Body.Length;
        var all = Bytes(encoder.Encode(readings, int.MaxValue, isGzip: isGzip));

        Assert.Equal(30, encoder.Encode(readings, all, isGzip: isGzip).Readings.Count);
        Assert.InRange(encoder.Encode(readings, all - 1, isGzip: isGzip).Readings.Count, 1, 29);
    }

    [Theory, InlineData(1_000, 32_000), InlineData(245_760, 4 << 20), InlineData(5 << 20, 5 << 20)]
    public void A_compressed_batch_reads_32_times_its_size_at_most_4_MiB_or_its_size(int maxBytes, int plainBytes) =>
        Assert.Equal(plainBytes, BatchEncoder.PlainBytes(maxBytes));

    [Fact]
    public void A_batch_id_and_body_contain_the_epoch_of_the_readings()
    {
        var encoder = new BatchEncoder("d", "m");
        var reading = new BufferedReading(1, DateTimeOffset.UnixEpoch, "{}"u8.ToArray());
        Assert.Equal("one:1-1", encoder.Encode([reading with { Epoch = "one" }], 1000).Id);
        var batch = encoder.Encode([reading with { Epoch = "two" }], 1000);
        Assert.Equal("two:1-1", batch.Id);
        Assert.Contains("\"epoch\":\"two\"", Encoding.UTF8.GetString(batch.Body.Span), StringComparison.Ordinal);
    }

    [Fact]
    public void The_tags_of_the_module_appear_once_in_a_batch()
    {
        var reading = new BufferedReading(1, DateTimeOffset.UnixEpoch, "{}"u8.ToArray()) { Epoch = "0197" };
        var encoder = new BatchEncoder("pi", "m") { Tags = TagsTests.Of("""{"site":"north","rack":"7"}""") };
        var batch = encoder.Encode([reading, reading with { Id = 2 }], 1000);
        Assert.Equal(
            """{"device":"pi","module":"m","epoch":"0197","tags":{"rack":"7","site":"north"},"batch":[{"id":1,"data":{}},{"id":2,"data":{}}]}""",
            Encoding.UTF8.GetString(batch.Body.Span));
        Assert.Equal(encoder.Tags, batch.Tags);

        encoder.Tags = Tags.None;
        Assert.Equal("""{"device":"pi","module":"m","epoch":"0197","batch":[{"id":1,"data":{}}]}""", Encoding.UTF8.GetString(encoder.Encode([reading], 1000).Body.Span));
        Assert.Equal(2, batch.Tags.Labels.Count);
    }

    [Fact]
    public void The_body_has_exactly_the_documented_format()
    {
        var reading = new BufferedReading(1, DateTimeOffset.UnixEpoch, "{\"sensor\":\"attic\"}"u8.ToArray()) { Epoch = "0197" };
        var batch = new BatchEncoder("pi-7", "SensorForwarder").Encode([reading, reading with { Id = 2 }], 1000);
        Assert.Equal(
            """{"device":"pi-7","module":"SensorForwarder","epoch":"0197","batch":[{"id":1,"data":{"sensor":"attic"}},{"id":2,"data":{"sensor":"attic"}}]}""",
            Encoding.UTF8.GetString(batch.Body.Span));
    }
}
