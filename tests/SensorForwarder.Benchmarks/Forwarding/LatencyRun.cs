using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>Measures the latency of single readings on an idle link, over HTTP or over MQTT with TLS. Runs the module
/// without sensors in a separate process.</summary>
internal static class LatencyRun
{
    const int WarmUp = 20;
    const int Measured = 200;

    /// <summary>Prints median and 95th percentile of the milliseconds from commit to acknowledgement.</summary>
    /// <param name="directory">An empty directory.</param>
    /// <param name="target">A URL, or <c>address,directory</c> of a <see cref="PubackServer"/>.</param>
    public static async Task<int> RunAsync(string directory, string target)
    {
        var settingsFile = Path.Combine(directory, "settings.json");
        await File.WriteAllTextAsync(settingsFile, """{"uploadIntervalSeconds":0,"commitIntervalMs":0,"sensors":{}}""");
        var values = new Dictionary<string, string?>
        {
            ["Buffer:Directory"] = directory,
            ["Settings:File"] = settingsFile,
            ["Web:Port"] = "0",
            ["EdgeHub:Transport"] = "mqtt",
        };
        var hub = target.Split(',');
        if (hub.Length == 1) values["Http:Endpoint"] = target;
        var boot = BootOptions.Read(new ConfigurationBuilder().AddInMemoryCollection(values).Build());
        if (hub.Length == 2) boot = boot with { Identity = PubackServer.IdentityOf(hub[0], hub[1]) };

        await using var module = (await Module.BuildAsync(
            boot, TimeProvider.System, NullLoggerFactory.Instance, CancellationToken.None))!;
        using var stop = new CancellationTokenSource();
        var running = module.RunAsync(stop.Token);
        var took = await MeasureAsync(module, module.Services.GetRequiredService<Forwarder>());
        await stop.CancelAsync();
        await running;
        foreach (var number in (double[])[took[took.Count / 2], took[took.Count * 19 / 20]])
            Console.WriteLine(number.ToString(CultureInfo.InvariantCulture));
        return 0;
    }

    static async Task<List<double>> MeasureAsync(Module module, Forwarder forwarder)
    {
        var took = new List<double>();
        for (var i = 0; i < WarmUp + Measured; i++)
        {
            var before = forwarder.Status.Readings;
            await module.Buffer.EnqueueAsync(RoomSensors.Read(i, Opened.FirstTime.AddSeconds(i)), CancellationToken.None);
            var clock = Stopwatch.StartNew();
            while (forwarder.Status.Readings == before) await Task.Yield();
            if (i >= WarmUp) took.Add(clock.Elapsed.TotalMilliseconds);
            await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System);
        }

        took.Sort();
        return took;
    }
}
