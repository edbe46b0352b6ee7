using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

/// <summary>What page, status, health and metrics report about a full buffer.</summary>
public sealed class FullBufferReportTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("rejectNew", "Refusing", "RejectNew", "new readings are refused")]
    [InlineData("thin", "Ok", "Thin", "old readings are thinned")]
    [InlineData("dropOldest", "Ok", "DropOldest", "the oldest readings are dropped")]
    public async Task A_full_buffer_is_shown_in_status_page_health_and_metrics(string whenFull, string state, string givesUp, string what)
    {
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync(
            $$"""{"sink":"http","httpEndpoint":"http://localhost/","bufferMaxMegabytes":1,"whenFull":"{{whenFull}}","commitIntervalMs":0,"sensors":{ } }""");
        using var operations = new OperationParts(parts, TimeProvider.System);
        using var metrics = operations.NewMetrics(BootOptions.Read(new ConfigurationBuilder().Build()));
        using var text = new MetricsText(metrics);
        var before = operations.Source.Capture().StateHash();
        Assert.Null(operations.ReadPage()["queue"]!["givesUp"]);

        var refused = 0;
        foreach (var some in Enumerable.Range(0, 20_000).Chunk(500))
        {
            try
            {
                await Task.WhenAll(some.Select(i => parts.Buffer.EnqueueAsync(BufferFixture.Incompressible(i), Token).AsTask()));
            }
            catch (BufferRejectedException)
            {
                refused++;
                break;
            }
        }

        var isRefusing = state == "Refusing";
        Assert.Equal(isRefusing, refused > 0);

        // A large group may be refused while there is still room for one reading.
        if (isRefusing) await Until.True(RefusesOneAsync);
        var reason = $"the buffer has reached its limit of 1 MB: {what}";
        Assert.NotEqual(before, operations.Source.Capture().StateHash());
        var status = operations.ReadStatus();
        Assert.Equal((state, reason), ((string?)status["storage"], (string?)status["storageReason"]));
        Assert.Contains($"{state}: {reason}", StatusPage.Write(status.AsObject()), StringComparison.Ordinal);

        // The page's document is cached for a moment, so a new page is used.
        using var again = new OperationParts(parts, TimeProvider.System);
        var page = again.ReadPage();
        Assert.Equal((state, reason), ((string?)page["storage"]!["state"], (string?)page["storage"]!["reason"]));
        Assert.Equal(givesUp, (string?)page["queue"]!["givesUp"]);

        var storage = JsonNode.Parse(operations.Health.Ready().ToJson())!["checks"]!["storage"]!;
        Assert.Equal((!isRefusing, isRefusing ? $"Refusing: {reason}" : null), ((bool)storage["ok"]!, (string?)storage["reason"]));
        var samples = PrometheusText.Read(Encoding.UTF8.GetString(text.Write())).SelectMany(family => family.Samples).ToList();
        Assert.Equal(isRefusing ? 0 : 1, samples.Single(sample => sample.Name == "sensorforwarder_buffer_writable").Value);
        Assert.True(samples.Where(sample => sample.Name == "sensorforwarder_evicted_readings_total").Sum(sample => sample.Value) > 0);

        async Task<bool> RefusesOneAsync()
        {
            try
            {
                while (true) await parts.Buffer.EnqueueAsync(BufferFixture.Incompressible(1), Token);
            }
            catch (BufferRejectedException)
            {
                // The reading may have been refused because of earlier ones; after a turn of the writer there may be room.
                await parts.Buffer.CommitAsync(Token);
                await parts.Buffer.CommitAsync(Token);
                return parts.Buffer.GetStatus().Storage == StorageState.Refusing;
            }
        }
    }
}
