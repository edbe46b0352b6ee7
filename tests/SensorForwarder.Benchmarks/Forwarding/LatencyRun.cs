using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>Buffer, forwarder and the sink over HTTP, or over MQTT with TLS, as a process of its own, and one reading after the
/// other on a quiet link.</summary>
internal static class LatencyRun
{
    const int WarmUp = 20;
    const int Measured = 200;

    /// <summary>Prints the median of the milliseconds from committed to acknowledged, and what one in twenty takes.</summary>
    /// <param name="directory">Empty.</param>
    /// <param name="target">A URL, or <c>address,directory</c> of a <see cref="PubackServer"/>.</param>
    public static async Task<int> RunAsync(string directory, string target)
    {
        using var opened = new Opened(directory);
        using var http = new HttpSink(new(null, new Dictionary<string, string>()), TimeProvider.System);
        var sinks = new Dictionary<SinkKind, ISink> { [SinkKind.Http] = http };
        var settings = new ForwardingSettings { UploadInterval = TimeSpan.Zero };
        EdgeHubConnection? hub = null;
        if (target.Split(',') is [var address, var certificates])
        {
            hub = new(
                PubackServer.IdentityOf(address, certificates), new() { Transport = HubTransport.Mqtt }, TimeProvider.System,
                new Random(), NullLogger<EdgeHubConnection>.Instance);
            await hub.StartAsync(CancellationToken.None);
            await hub.WaitUntilConnectedAsync(CancellationToken.None);
            sinks[SinkKind.IotHub] = new IotHubSink(hub);
            settings = settings with { Sink = SinkKind.IotHub };
        }
        else
        {
            settings = settings with { Sink = SinkKind.Http, HttpEndpoint = new(target) };
        }

        using var forwarder = new Forwarder(
            opened.Buffer, sinks, new BatchEncoder("pi", "SensorForwarder", () => opened.Buffer.Epoch), TimeProvider.System, new Random(),
            NullLogger<Forwarder>.Instance);
        forwarder.Apply(settings);
        await forwarder.StartAsync(CancellationToken.None);
        var took = await MeasureAsync(opened, forwarder);
        await forwarder.StopAsync(CancellationToken.None);
        if (hub is not null)
        {
            await hub.StopAsync(CancellationToken.None);
            hub.Dispose();
        }

        foreach (var number in (double[])[took[took.Count / 2], took[took.Count * 19 / 20]])
            Console.WriteLine(number.ToString(CultureInfo.InvariantCulture));
        return 0;
    }

    static async Task<List<double>> MeasureAsync(Opened opened, Forwarder forwarder)
    {
        var took = new List<double>();
        for (var i = 0; i < WarmUp + Measured; i++)
        {
            var before = forwarder.Status.Readings;
            await opened.Enqueue(i);
            var clock = Stopwatch.StartNew();
            while (forwarder.Status.Readings == before) await Task.Yield();
            if (i >= WarmUp) took.Add(clock.Elapsed.TotalMilliseconds);
            await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System);
        }

        took.Sort();
        return took;
    }
}
