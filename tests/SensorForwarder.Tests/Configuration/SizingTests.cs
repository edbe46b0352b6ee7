using System.Globalization;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The tables of docs/sizing.md: computed from the buffer's budget and from the encoded size of readings of ten room
/// sensors.</summary>
public sealed class SizingTests
{
    const string Page = "docs/sizing.md";
    const int ChunkBytes = 4096;
    const int SecondsPerDay = 86_400;

    /// <summary>The limit of the benchmark volume.bytesPerReading.</summary>
    const int StoredBytes = 16;

    static readonly int[] Megabytes = [64, 512, 4096];

    // With the limits of the benchmarks device.bytesPerReading.sparse, .1, .10 and .100.
    static readonly (double PerSecond, int WrittenBytes)[] Rates = [(0.1, 10_000), (1, 6_000), (10, 700), (100, 150)];

    // batchSize and uploadIntervalSeconds: the defaults, and few large batches.
    static readonly (int Size, int Seconds)[] Batches = [(50, 10), (1000, 300)];

    [Fact]
    public void The_table_of_days_without_network_matches_the_buffer_size()
    {
        Assert.Contains($"{StoredBytes} bytes", WrittenFile.Read(Page), StringComparison.Ordinal);
        WrittenFile.CheckTable(Page, "| readings per second | days in 64 MB |", Rates.Select(rate => Row(
        [
            Text(rate.PerSecond),
            .. Megabytes.Select(size => Text(
                StorageBudget.Of(new() { MaxBytes = (long)size << 20 }).DatabaseBytes / (StoredBytes * rate.PerSecond * SecondsPerDay))),
            $"{Text(rate.PerSecond * SecondsPerDay * rate.WrittenBytes / 1e6)} MB",
        ])));
    }

    [Fact]
    public void The_table_of_traffic_matches_the_batch_size() =>
        WrittenFile.CheckTable(Page, "| readings per second | batches |", Rates.SelectMany(rate => Batches.Select(batch => Traffic(rate.PerSecond, batch))));

    static string Traffic(double perSecond, (int Size, int Seconds) settings)
    {
        var readings = (int)Math.Min(settings.Size, Math.Max(1, perSecond * settings.Seconds));
        var (plain, gzip) = Encode(readings);
        var batches = perSecond * SecondsPerDay / readings;
        return Row(
        [
            Text(perSecond), $"{settings.Size} or {settings.Seconds} s", Text(batches),
            Text(batches * Chunks(plain)), Text(batches * plain / 1e6), Text(batches * Chunks(gzip)), Text(batches * gzip / 1e6),
        ]);
    }

    static int Chunks(int bytes) => (bytes + Quota.PropertyBytes + ChunkBytes - 1) / ChunkBytes;

    /// <summary>The size of a batch, rounded up to a twentieth, since compressed sizes differ a little between processors.</summary>
    static (int Plain, int Gzip) Encode(int readings)
    {
        var batch = new BatchEncoder("pi-7", "SensorForwarder").Encode(
            [
                .. Enumerable.Range(0, readings).Select(i => new BufferedReading(
                    i + 1_000_000, BufferFixture.Noon, ReadingEncoder.Encode(RoomSensors.Read(i, BufferFixture.Noon.AddSeconds(i / RoomSensors.Count))).ToArray())
                { Epoch = "01936a7e-8f00-7abc-8def-0123456789ab" }),
            ],
            int.MaxValue);
        return (RoundUp(batch.Body.Length), RoundUp(BatchEncoder.Compress(batch.Body.Span, []).Length));

        static int RoundUp(int bytes)
        {
            var unit = Math.Pow(10, Math.Floor(Math.Log10(bytes))) / 20;
            return (int)(Math.Ceiling(bytes / unit) * unit);
        }
    }

    static string Row(IEnumerable<string> cells) => $"| {string.Join(" | ", cells)} |";

    /// <summary>Two significant digits.</summary>
    static string Text(double number)
    {
        var unit = Math.Pow(10, Math.Floor(Math.Log10(number)) - 1);
        return (Math.Round(number / unit) * unit).ToString(number < 10 ? "0.##" : "#,0", CultureInfo.InvariantCulture);
    }
}
