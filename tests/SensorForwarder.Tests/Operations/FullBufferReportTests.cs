using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Operations;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

/// <summary>What page, status, health and metrics say of a buffer that is full.</summary>
public sealed class FullBufferReportTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("rejectNew", "Refusing", "RejectNew", "new readings are refused")]
    [InlineData("thin", "Ok", "Thin", "old readings are thinned")]
    [InlineData("dropOldest", "Ok", "DropOldest", "the oldest readings are dropped")]
    public async Task A_full_buffer_is_told_everywhere(string whenFull, string state, string givesUp, string what)
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync(
            $$"""{"sink":"http","httpEndpoint":"http://localhost/","bufferMaxMegabytes":1,"whenFull":"{{whenFull}}","commitIntervalMs":0,"sensors":{ } }""");
        using var operations = new OperationParts(parts, TimeProvider.System);
        using var health = new Health(parts.Buffer, parts.Forwarder, parts.Scheduler, parts.Store, TimeProvider.System);
        using var metrics = new ModuleMetrics(BootOptions.Read(new ConfigurationBuilder().Build()), parts.Buffer, parts.Forwarder, parts.Scheduler, TimeProvider.System);
        using var text = new MetricsText(metrics);
        var before = operations.Status.StateHash();
        Assert.Null(operations.ReadPage()["queue"]!["givesUp"]);

        var refused = 0;
        foreach (var some in Enumerable.Range(0, 20_000).Chunk(500))
        {
            try
            {
                await Task.WhenAll(some.Select(i => parts.Buffer.EnqueueAsync(BufferFixture.Reading(i), Token).AsTask()));
            }
            catch (BufferRejectedException)
            {
                refused++;
            }
        }

        var isRefusing = state == "Refusing";
        Assert.Equal(isRefusing, refused > 0);

        // Many at once may be refused while there is room for one more.
        if (isRefusing) await Until.True(RefusesOneAsync);
        var reason = $"the buffer has reached its 1 MB: {what}";
        Assert.NotEqual(before, operations.Status.StateHash());
        var status = operations.ReadStatus();
        Assert.Equal((state, reason), ((string?)status["storage"], (string?)status["storageReason"]));
        Assert.Contains($"{state}: {reason}", StatusPage.Write(status.AsObject()), StringComparison.Ordinal);

        // A page that is written a moment later.
        using var again = new OperationParts(parts, TimeProvider.System);
        var page = again.ReadPage();
        Assert.Equal((state, reason), ((string?)page["storage"]!["state"], (string?)page["storage"]!["reason"]));
        Assert.Equal(givesUp, (string?)page["queue"]!["givesUp"]);

        var storage = JsonNode.Parse(health.Ready().ToJson())!["checks"]!["storage"]!;
        Assert.Equal((!isRefusing, isRefusing ? $"Refusing: {reason}" : null), ((bool)storage["ok"]!, (string?)storage["reason"]));
        var samples = PrometheusText.Read(Encoding.UTF8.GetString(text.Write())).SelectMany(family => family.Samples).ToList();
        Assert.Equal(isRefusing ? 0 : 1, samples.Single(sample => sample.Name == "sensorforwarder_buffer_writable").Value);
        Assert.True(samples.Where(sample => sample.Name == "sensorforwarder_evicted_readings_total").Sum(sample => sample.Value) > 0);

        async Task<bool> RefusesOneAsync()
        {
            try
            {
                await parts.Buffer.EnqueueAsync(BufferFixture.Reading(1), Token);
                return false;
            }
            catch (BufferRejectedException)
            {
                // It may have been refused because of those before; then there is room after a turn of the writer.
                await parts.Buffer.CommitAsync(Token);
                await parts.Buffer.CommitAsync(Token);
                return parts.Buffer.GetStatus().Storage == StorageState.Refusing;
            }
        }
    }
}
