using System.Text.Json.Nodes;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>A real process shows no secret, whatever its settings contain.</summary>
public sealed class SecretRunTests
{
    const string Secret = "geheim0815";

    static readonly string[] Urls =
    [
        $"sensor:{Secret}@gw/x", $"http:/u:{Secret}@gw", $@"http:\\u:{Secret}@gw", $"http://u:P?{Secret}@gw", $"ftp://gw/#token={Secret}",
        $"http://gw.example.com/{new string('x', 80)}?sig={Secret}&u:{Secret}@gw", $"http://u:{Secret}@gw/{new string('x', 3000)}",
    ];

    [Fact(Explicit = true)]
    public async Task Secrets_appear_neither_in_the_log_nor_on_the_pages_nor_in_an_export()
    {
        var document = new JsonObject
        {
            ["logLevel"] = "Trace",
            ["commitIntervalMs"] = 0,
            ["uploadIntervalSeconds"] = 0,
            ["httpEndpoint"] = Urls[0],
            ["batchSize"] = Urls[1],
            ["sink"] = new JsonArray(Urls[2]),
            ["sensors"] = new JsonObject { ["attic"] = new JsonObject { ["kind"] = "simulated" } },
        };
        for (var n = 0; n < Urls.Length; n++)
        {
            document[$"httpEndpoint{n}"] = Urls[n];
            document[Urls[n]] = n;
            document["sensors"]![$"text{n}"] = Urls[n];
            document["sensors"]![$"kind{n}"] = new JsonObject { ["kind"] = Urls[n] };
        }

        await using var web = await WebProcess.StartAsync(
            document.ToJsonString(), ("Http__Endpoint", $"http://127.0.0.1:9/in?sig={Secret}"), ("RuntimeLogLevel", "verbose"),
            ("Http__Authorization", $"Bearer {Secret}"), ("Http__Headers__X-Key", Secret));
        await web.Module.LineAsync("httpEndpoint is refused");
        await Until.True(async () => (await ReadAsync("status")).Contains("\"lastError\"", StringComparison.Ordinal));
        foreach (var path in (string[])["", "status", "metrics", "healthz", "readyz", "api/now", "api/settings", "api/events", "api/hour", "api/readings?sensor=attic"])
            Assert.DoesNotContain(Secret, await ReadAsync(path), StringComparison.OrdinalIgnoreCase);

        var export = Path.Combine(Path.GetDirectoryName(web.DataDirectory)!, "export.ndjson");
        await using var exporting = ChildProcess.StartModule(["--export", export], ("Buffer__Directory", web.DataDirectory));
        Assert.Equal(0, await exporting.ExitCodeAsync());
        Assert.DoesNotContain(Secret, await File.ReadAllTextAsync(export, TestContext.Current.CancellationToken), StringComparison.OrdinalIgnoreCase);
        await web.Module.StopAsync();
        Assert.DoesNotContain(web.Module.Lines, line => line.Contains(Secret, StringComparison.OrdinalIgnoreCase));

        async Task<string> ReadAsync(string path)
        {
            using var answer = await web.Http.GetAsync(new Uri(path, UriKind.Relative), TestContext.Current.CancellationToken);
            return await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        }
    }
}
