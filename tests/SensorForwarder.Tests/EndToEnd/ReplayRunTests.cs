using System.Globalization;
using System.Text.Json;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>With <c>--replay</c> the running module sends retained readings again.</summary>
public sealed class ReplayRunTests
{
    [Fact(Explicit = true)]
    public async Task Replayed_readings_reach_the_receiver_again_with_the_same_ids()
    {
        var counts = new Dictionary<long, int>();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            using var json = await JsonDocument.ParseAsync(context.Request.Body);
            lock (counts)
            {
                foreach (var entry in json.RootElement.GetProperty("batch").EnumerateArray())
                {
                    var id = entry.GetProperty("id").GetInt64();
                    counts[id] = counts.GetValueOrDefault(id) + 1;
                }
            }
        });
        await using var web = await WebProcess.StartAsync(
            """{"retainForwardedHours":24,"batchSize":5,"uploadIntervalSeconds":0.2,"commitIntervalMs":50,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.05}}}""",
            ("Http__Endpoint", receiver.Url.ToString()));
        await Until.True(() => Count(1) > 20);

        // Repeats until the file marks some readings as delivered.
        await Until.True(async () =>
        {
            var until = TimeProvider.System.GetUtcNow().ToString("O", CultureInfo.InvariantCulture);
            await using var asked = ChildProcess.StartModule(
                ["--replay", "2020-01-01T00:00:00Z", until], ("Buffer__Directory", web.DataDirectory), ("Web__Port", $"{web.Port}"));
            Assert.Equal(0, await asked.ExitCodeAsync());
            Assert.Contains("readings are sent again", Assert.Single(asked.Lines), StringComparison.Ordinal);
            return Count(2) > 0;
        });

        int Count(int times)
        {
            lock (counts) return counts.Values.Count(count => count >= times);
        }
    }
}
