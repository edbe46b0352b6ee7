using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A month without network, ten readings a second, in the default <c>bufferMaxMegabytes</c> of 512.</summary>
public sealed class MonthOfflineTests(ITestOutputHelper output) : IDisposable
{
    const int DefaultMegabytes = 512;
    const double ReadingsOfMonth = 26_000_000;

    readonly BufferFixture _fixture = new(inMemory: true);

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public async Task A_month_of_readings_without_network_is_kept_at_full_resolution()
    {
        // Scaled down: a part of the month, in the same part of the database's share.
        var megabytes = Tier.Size("TEST_BUFFER_MONTH_MEGABYTES", quick: 1, full: 8, deep: DefaultMegabytes);
        var limits = new BufferLimits { CommitInterval = TimeSpan.FromMinutes(1), MaxBytes = (long)megabytes << 20 };
        var part = (double)StorageBudget.Of(limits).DatabaseBytes / StorageBudget.Of(new()).DatabaseBytes;
        var seconds = (int)(ReadingsOfMonth * part / RoomSensors.Count);
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(limits, time);
        for (var second = 0; second < seconds; second++)
        {
            for (var sensor = 0; sensor < RoomSensors.Count; sensor++)
                _ = buffer.EnqueueAsync(RoomSensors.Read((second * RoomSensors.Count) + sensor, time.GetUtcNow()), BufferFixture.Token).AsTask();
            await buffer.CommitAsync(BufferFixture.Token);
            time.Advance(TimeSpan.FromSeconds(1));
        }
        var status = buffer.GetStatus();
        output.WriteLine($"{status.Depth} readings, {(double)status.UsedBytes / status.Depth:0.0} bytes each, in {megabytes} MB");
        Assert.Empty(status.Evicted);
        Assert.Equal((long)seconds * RoomSensors.Count, status.Depth);
        Assert.InRange(status.FileBytes, 1, (long)megabytes << 20);
        Assert.Equal(1, buffer.PeekBatch(0, 1, 1)[0].Id);

        // The figure of docs/sizing.md.
        Assert.InRange((double)status.UsedBytes / status.Depth, 1, 16);
    }
}
