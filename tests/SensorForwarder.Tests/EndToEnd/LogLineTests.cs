using System.Diagnostics;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Operations;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module's log is machine-readable.</summary>
public sealed class LogLineTests
{
    const string Forged = "\r\n<2>2026-01-01 00:00:00.000 +00:00 forged\n<2>2026-01-01 00:00:00.000 +00:00 forged\u001b[2J\u2028\u202e\0";

    [Theory]
    [InlineData(LogLevel.Trace, 7)]
    [InlineData(LogLevel.Debug, 7)]
    [InlineData(LogLevel.Information, 6)]
    [InlineData(LogLevel.Warning, 4)]
    [InlineData(LogLevel.Error, 3)]
    [InlineData(LogLevel.Critical, 2)]
    public void A_log_event_is_a_single_valid_line_whatever_its_text(LogLevel level, int severity)
    {
        var writer = new StringWriter();
        var entry = new LogEntry<string>(level, "SensorForwarder.Test", new EventId(7), Forged, new InvalidOperationException(Forged), (state, _) => state);
        new LogLineFormatter(TimeProvider.System).Write(entry, null, writer);
        var line = Assert.Single(writer.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries));
        LogLine.Check([line]);
        Assert.StartsWith($"<{severity}>", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Logging_does_not_wait_for_a_reader_of_standard_output()
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "SensorForwarder.Tests.Victim"), ["--log", "5000"])
        {
            RedirectStandardOutput = true,
        };
        using var victim = Process.Start(start)!;
        using var late = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        late.CancelAfter(Until.Limit);
        try
        {
            await victim.WaitForExitAsync(late.Token);
        }
        finally
        {
            victim.Kill();
        }

        Assert.Contains("line 0\n", await victim.StandardOutput.ReadToEndAsync(late.Token), StringComparison.Ordinal);
    }

    [Fact(Explicit = true)]
    public async Task With_hostile_settings_requests_and_answers_every_log_line_is_valid_and_repeats_are_collapsed()
    {
        var refusals = 0;
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            // First it answers 500, then it refuses each reading, with an answer that imitates log lines.
            var count = Interlocked.Increment(ref refusals);
            context.Response.StatusCode = count < 3 ? 500 : 400;
            context.Response.Headers["Retry-After"] = "0";
            await context.Response.WriteAsync(Forged);
        });
        var settings = new JsonObject
        {
            ["batchSize"] = 4,
            ["uploadIntervalSeconds"] = 0.1,
            ["commitIntervalMs"] = 20,
            ["logLevel"] = "Debug",
            [$"key{Forged}"] = Forged,
            ["httpEndpoint"] = Forged,
            ["sensors"] = new JsonObject
            {
                ["attic"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.1 },
                ["gone"] = new JsonObject { ["kind"] = "file", ["path"] = "/none <2> there", ["intervalSeconds"] = 0.05 },
                ["labelled"] = new JsonObject { ["kind"] = "simulated", ["label"] = Forged },
                [$"name{Forged}"] = new JsonObject { ["kind"] = Forged },
            },
        };
        await using var web = await WebProcess.StartAsync(settings.ToJsonString(), ("Http__Endpoint", receiver.Url.ToString()));
        await web.SendRawAsync($"GET /{Forged} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        await web.Module.LineAsync("to the dead letters");
        await Until.True(async () => (long)JsonNode.Parse(await web.Http.GetStringAsync("/status", TestContext.Current.CancellationToken))!["sensors"]!["gone"]!["failures"]! > 50);
        Assert.Equal(0, await web.Module.StopAsync());

        // DisposeAsync of the process checks that all lines are valid log lines.
        Assert.DoesNotContain(web.Module.Lines, line => line.Contains("00.000 +00:00 forged", StringComparison.Ordinal) && line.StartsWith("<2>2026-01-01", StringComparison.Ordinal));

        // A sensor that failed fifty times is logged once. A receiver that repeats its answer is logged once, and then its count.
        Assert.Single(web.Module.Lines, line => line.Contains("Sensor gone (file) fails", StringComparison.Ordinal));
        var refused = web.Module.Lines.Where(line => line.Contains("did not accept batch", StringComparison.Ordinal)).ToList();
        Assert.Single(refused, line => !line.Contains("] Again ", StringComparison.Ordinal));
        Assert.Contains(refused, line => line.Contains("] Again once since ", StringComparison.Ordinal));
    }

    [Fact(Explicit = true)]
    public async Task The_log_level_changes_while_the_module_runs()
    {
        await using var web = await WebProcess.StartAsync("""{"sensors":{}}""");
        await ChangeAsync("Error", "quiet");
        await ChangeAsync("Information", "loud");
        await web.Module.LineAsync("Sensor loud (simulated) is read every");
        Assert.DoesNotContain(
            web.Module.Lines, line => line.Contains("Sensor quiet (simulated) is read", StringComparison.Ordinal));

        async Task ChangeAsync(string level, string sensor)
        {
            var token = TestContext.Current.CancellationToken;
            await File.WriteAllTextAsync(
                web.SettingsPath,
                $$$"""{"logLevel":"{{{level}}}","sensors":{"{{{sensor}}}":{"kind":"simulated"} } }""", token);
            await Until.True(async () =>
                JsonNode.Parse(await web.Http.GetStringAsync("/status", token))!["sensors"]![sensor] is not null);
        }
    }
}
