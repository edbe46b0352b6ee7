using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Logging.Abstractions;
using MQTTnet;
using MQTTnet.Formatter;
using MQTTnet.Protocol;
using SensorForwarder.EdgeHub;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.EdgeHub;

/// <summary>
/// Throughput of the module's edgeHub connection compared with a bare MQTTnet client: the same 300 bytes to the same
/// server over TLS. Both run in short alternating turns, so that other load on the machine affects both alike. The
/// result is the median of the ratios of all pairs.
/// </summary>
internal static class MqttThroughput
{
    const int BodyBytes = 300;
    const int Pairs = 20;
    static readonly int[] Windows = [1, 16, 100];
    static readonly TimeSpan Turn = TimeSpan.FromMilliseconds(500);

    static readonly HubMessage Message = new(
        new byte[BodyBytes],
        [new("$.on", "live"), new("$.mid", "0197-e1:1-50"), new("$.ct", "application/json"), new("$.ce", "utf-8")]);

    public static Benchmark Benchmark { get; } = new(
        [.. Windows.Select(window => $"mqtt.vsBare.{window}"), "mqtt.cpuSecondsPer100k", "mqtt.peakMegabytes"], RunAsync);

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        var directory = Directory.CreateTempSubdirectory("mqtt-benchmark-");
        using var server = StartServer(directory.FullName, out var identity);
        try
        {
            using var connection = new EdgeHubConnection(
                identity, new() { Transport = HubTransport.Mqtt }, TimeProvider.System, new Random(), NullLogger<EdgeHubConnection>.Instance);
            await connection.StartAsync(cancellationToken);
            await connection.WaitUntilConnectedAsync(cancellationToken);
            using var bare = await ConnectBareAsync(identity, cancellationToken);
            var topic = HubTopics.Telemetry(identity, Message.Properties);
            async Task SendBare() => await bare.PublishAsync(
                new MqttApplicationMessage
                {
                    Topic = topic,
                    Payload = new(Message.Body),
                    QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce,
                },
                CancellationToken.None);
            var rows = new List<BenchmarkRow>();
            var cpu = 0.0;
            foreach (var window in Windows)
            {
                var (ours, bares) = (new List<Measure>(), new List<Measure>());
                for (var pair = 0; pair < Pairs; pair++)
                {
                    if (pair % 2 == 0) bares.Add(await MeasureAsync(SendBare, window));
                    ours.Add(await MeasureAsync(() => SendAsync(connection), window));
                    if (pair % 2 == 1) bares.Add(await MeasureAsync(SendBare, window));
                }

                cpu = Median(ours.Select(measure => measure.CpuSecondsPer100k));
                rows.Add(new(
                    $"mqtt.vsBare.{window}",
                    Median(ours.Zip(bares, (mine, its) => mine.PerSecond / its.PerSecond)),
                    "",
                    string.Create(CultureInfo.InvariantCulture,
                        $"{Median(ours.Select(m => m.PerSecond)):#,0} vs "
                        + $"{Median(bares.Select(m => m.PerSecond)):#,0} messages/s, "
                        + $"{cpu:0.00} vs {Median(bares.Select(m => m.CpuSecondsPer100k)):0.00} s of CPU for 100k, "
                        + $"{window} in flight; goal 0.9")));
            }

            rows.Add(new("mqtt.cpuSecondsPer100k", cpu, "s", $"{BodyBytes} bytes, {Windows[^1]} in flight, TLS included"));
            using var self = Process.GetCurrentProcess();
            rows.Add(new("mqtt.peakMegabytes", self.PeakWorkingSet64 / 1048576.0, "MB", "clients and benchmark"));
            await connection.StopAsync(cancellationToken);
            return rows;
        }
        finally
        {
            server.Kill();
            directory.Delete(recursive: true);
        }
    }

    /// <summary>Sends one message.</summary>
    public static async Task SendAsync(IEdgeHubClient client)
    {
        var result = await client.SendAsync(Message, CancellationToken.None);
        if (result.Status != HubSendStatus.Accepted) throw new InvalidOperationException($"refused: {result}");
    }

    public readonly record struct Measure(double PerSecond, double CpuSecondsPer100k);

    /// <summary>Sends for one turn, and measures messages per second and CPU time.</summary>
    public static async Task<Measure> MeasureAsync(Func<Task> send, int window)
    {
        using var self = Process.GetCurrentProcess();
        var cpu = self.TotalProcessorTime;
        var clock = Stopwatch.StartNew();
        var counts = await Task.WhenAll(Enumerable.Range(0, window).Select(_ => Task.Run(async () =>
        {
            var count = 0L;
            while (clock.Elapsed < Turn)
            {
                await send();
                count++;
            }

            return count;
        })));
        var elapsed = clock.Elapsed;
        self.Refresh();
        var sent = counts.Sum();
        return new(sent / elapsed.TotalSeconds, (self.TotalProcessorTime - cpu).TotalSeconds * 100_000 / sent);
    }

    static async Task<IMqttClient> ConnectBareAsync(EdgeIdentity identity, CancellationToken cancellationToken)
    {
        var roots = new X509Certificate2Collection();
        roots.ImportFromPemFile(identity.Tls.Roots!.Path);
        var client = new MqttClientFactory().CreateMqttClient();
        await client.ConnectAsync(
            new MqttClientOptionsBuilder()
                .WithTcpServer(identity.DialledHostName, 8883)
                .WithProtocolVersion(MqttProtocolVersion.V311)
                .WithClientId("bare")
                .WithoutPacketFragmentation()
                .WithTlsOptions(tls => tls.UseTls().WithTrustChain(roots).WithRevocationMode(X509RevocationMode.NoCheck))
                .Build(),
            cancellationToken);
        return client;
    }

    /// <summary>Starts the server in a separate process, so that its CPU time and memory are not counted.</summary>
    public static Process StartServer(string directory, out EdgeIdentity identity)
    {
        var server = Process.Start(new ProcessStartInfo(Environment.ProcessPath!, ["--puback-server", directory]) { RedirectStandardOutput = true })!;
        identity = PubackServer.IdentityOf(
            server.StandardOutput.ReadLine() ?? throw new InvalidOperationException("the server did not start"), directory);
        return server;
    }
}
