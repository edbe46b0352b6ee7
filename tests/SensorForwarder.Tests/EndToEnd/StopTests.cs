using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using SensorForwarder.Tests.Simulator;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>edgeAgent and Docker wait 10 s after SIGTERM, even if the module waits for others.</summary>
public sealed class StopTests : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("stop-").FullName;
    readonly TcpListener _silent = new(IPAddress.Loopback, 0);

    public StopTests()
    {
        // The kernel completes connections, but nothing accepts them.
        _silent.Start();
        _ = MkFifo(Path.Combine(_directory, "stat"), 0b110_000_000);
    }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _silent.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Theory]
    [InlineData("http", Explicit = true)]
    [InlineData("iotHub", Explicit = true)]
    public async Task A_hanging_receiver_hub_collector_and_sensor_do_not_delay_a_stop_and_every_reading_is_committed(string sink)
    {
        await using var hub = await SimulatedHub.StartAsync();
        var authority = Path.Combine(_directory, "ca.pem");
        await File.WriteAllTextAsync(authority, hub.TrustBundle, Token);
        await using var web = await WebProcess.StartAsync(
            $$$"""
            {"sink":"{{{sink}}}","httpEndpoint":"http://{{{_silent.LocalEndpoint}}}/","uploadIntervalSeconds":0.2,"commitIntervalMs":1000,
            "sensors":{"a":{"kind":"simulated","intervalSeconds":0.05},"b":{"kind":"host","intervalSeconds":1}}
            }
            """,
            ("EdgeHubConnectionString", $"HostName={hub.Identity.HubHost};GatewayHostName={hub.Identity.GatewayHost};"
                + $"DeviceId={hub.Identity.DeviceId};ModuleId={hub.Identity.ModuleId};SharedAccessKey={SimulatedHub.Key}"),
            ("EdgeModuleCACertificateFile", authority),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", $"http://{_silent.LocalEndpoint}/"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("Sensors__ProcRoot", _directory)); // reading a FIFO without a writer hangs
        await web.Module.LineAsync("Connected to");
        hub.Faults.Update(faults => faults with { HalfOpen = true });

        // From here on nothing answers any more, so readings taken from now on stay in the file.
        var before = await TakenAsync(web);
        var taken = 0L;
        await Until.True(async () => (taken = await TakenAsync(web)) >= before + 20);
        Assert.Equal(0, await web.Module.StopAsync());
        Assert.DoesNotContain(web.Module.Lines, line => line.StartsWith("<3>", StringComparison.Ordinal));

        var stored = StoredLines.Read($"{web.DataDirectory}/telemetry.db").Select(reading => reading.Id).ToList();
        Assert.InRange(stored[^1], taken, long.MaxValue);
        Assert.Equal(stored[^1] - stored[0] + 1, stored.Count);
    }

    /// <summary>The number of readings of the working sensor.</summary>
    static async Task<long> TakenAsync(WebProcess web)
    {
        using var status = JsonDocument.Parse(await web.Http.GetStringAsync("/status", Token));
        return status.RootElement.GetProperty("sensors").GetProperty("a").GetProperty("readings").GetInt64();
    }

    [DllImport("libc", EntryPoint = "mkfifo", SetLastError = true)]
    static extern int MkFifo(string path, uint mode);
}
