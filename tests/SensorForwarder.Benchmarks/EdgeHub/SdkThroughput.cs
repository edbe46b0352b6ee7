using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.EdgeHub;
using SensorForwarder.EdgeHub.DeviceSdk;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.EdgeHub;

/// <summary>
/// Throughput, CPU time and memory of the connection over Microsoft's device SDK compared with our own: the same 300
/// bytes to the same server over TLS. Each client has its own process, in short alternating turns, so that other load on
/// the machine affects both alike. The results are medians. Only in a build with <c>-p:HubClient=DeviceSdk</c>.
/// </summary>
internal static class SdkThroughput
{
    const string Argument = "--hub-client";
    const int Pairs = 5;
    static readonly int[] Windows = [1, 16, 100];

    public static Benchmark Benchmark { get; } = new(
        [.. Windows.Select(window => $"sdk.vsOwn.{window}"), "sdk.cpuSecondsPer100k", "sdk.peakMegabytes"], RunAsync);

    /// <summary>Runs one client as the main program: connects, sends, and prints what it measured. Null: the arguments
    /// are not for this.</summary>
    public static async Task<int?> RunClientAsync(string[] args)
    {
        if (args is not [Argument, var name, var host, var directory, var window]) return null;
        var (identity, options) = (PubackServer.IdentityOf(host, directory), new HubOptions { Transport = HubTransport.Mqtt });
        using var client = name == "sdk"
            ? SdkProtocol.NewConnection(identity, options, TimeProvider.System, new Random(), NullLogger<EdgeHubConnection>.Instance)
            : new EdgeHubConnection(identity, options, TimeProvider.System, new Random(), NullLogger<EdgeHubConnection>.Instance);
        await client.StartAsync(CancellationToken.None);
        await client.WaitUntilConnectedAsync(CancellationToken.None);
        var inFlight = int.Parse(window, CultureInfo.InvariantCulture);
        await MqttThroughput.MeasureAsync(() => MqttThroughput.SendAsync(client), inFlight); // warm-up, so that the code is compiled
        var measure = await MqttThroughput.MeasureAsync(() => MqttThroughput.SendAsync(client), inFlight);
        await client.StopAsync(CancellationToken.None);
        using var self = Process.GetCurrentProcess();
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{measure.PerSecond} {measure.CpuSecondsPer100k} {self.PeakWorkingSet64 / 1048576.0}"));
        return 0;
    }

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        var directory = Directory.CreateTempSubdirectory("sdk-benchmark-");
        using var server = MqttThroughput.StartServer(directory.FullName, out var identity);
        try
        {
            var rows = new List<BenchmarkRow>();
            List<double[]> own = [], sdk = [];
            foreach (var window in Windows)
            {
                (own, sdk) = ([], []);
                for (var pair = 0; pair < Pairs; pair++)
                {
                    if (pair % 2 == 0) own.Add(await MeasureAsync("own", identity.DialledHostName, directory.FullName, window));
                    sdk.Add(await MeasureAsync("sdk", identity.DialledHostName, directory.FullName, window));
                    if (pair % 2 == 1) own.Add(await MeasureAsync("own", identity.DialledHostName, directory.FullName, window));
                }

                rows.Add(new($"sdk.vsOwn.{window}", Median(sdk.Zip(own, (its, ours) => its[0] / ours[0])), "", string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Of(sdk, 0):#,0} vs {Of(own, 0):#,0} messages/s, {Of(sdk, 1):0.00} vs {Of(own, 1):0.00} s of CPU for 100k, "
                    + $"{Of(sdk, 2):0} vs {Of(own, 2):0} MB, {window} in flight")));
            }

            rows.Add(new("sdk.cpuSecondsPer100k", Of(sdk, 1), "s", string.Create(CultureInfo.InvariantCulture, $"own: {Of(own, 1):0.00}; {Windows[^1]} in flight, TLS included")));
            rows.Add(new("sdk.peakMegabytes", Of(sdk, 2), "MB", string.Create(CultureInfo.InvariantCulture, $"own: {Of(own, 2):0}; a process that runs only the client")));
            return rows;
        }
        finally
        {
            server.Kill();
            directory.Delete(recursive: true);
        }
    }

    static double Of(List<double[]> measures, int column) => Median(measures.Select(measure => measure[column]));

    static async Task<double[]> MeasureAsync(string name, string host, string directory, int window)
    {
        using var client = Process.Start(new ProcessStartInfo(
            Environment.ProcessPath!, [Argument, name, host, directory, window.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardOutput = true,
        })!;
        var line = await client.StandardOutput.ReadToEndAsync();
        await client.WaitForExitAsync();
        var numbers = line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return client.ExitCode == 0 && numbers.Length == 3
            ? [.. numbers.Select(number => double.Parse(number, CultureInfo.InvariantCulture))]
            : throw new InvalidOperationException($"the client '{name}' failed with exit code {client.ExitCode}");
    }
}
