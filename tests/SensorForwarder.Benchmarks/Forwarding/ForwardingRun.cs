using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>
/// The module's side of a measurement, as a process of its own so that its memory is nobody else's: buffer, forwarder, and the
/// sink over HTTP, or over MQTT with TLS. Prints numbers, one a line.
/// </summary>
internal static class ForwardingRun
{
    const int WarmUpReadings = 20_000;

    /// <summary>Drains so many readings, the start included, of what the directory holds: prints readings a second, MB while idle, MB at most.</summary>
    public static async Task<int> DrainAsync(string directory, string target, string readings)
    {
        using var opened = new Opened(directory, TimeSpan.FromSeconds(1));
        await using var link = await Link.StartAsync(opened.Buffer, target, new() { BatchSize = 500 });
        link.Forwarder.Pause();
        await link.Forwarder.StartAsync(CancellationToken.None);
        await Task.Delay(TimeSpan.FromSeconds(2), TimeProvider.System);
        var idle = Megabytes();

        link.Forwarder.Resume();
        await UntilAsync(() => link.Forwarder.Status.Readings >= WarmUpReadings, TimeSpan.FromMilliseconds(5));
        var (before, clock, peak) = (link.Forwarder.Status.Readings, Stopwatch.StartNew(), 0.0);
        // But for the last batch, which may wait for company.
        var wanted = long.Parse(readings, CultureInfo.InvariantCulture) - 500;
        await UntilAsync(
            () =>
            {
                peak = Math.Max(peak, Megabytes());
                return link.Forwarder.Status.Readings >= wanted || opened.Buffer.GetStatus().Depth == 0;
            },
            TimeSpan.FromMilliseconds(20));
        Print((link.Forwarder.Status.Readings - before) / clock.Elapsed.TotalSeconds, idle, peak);
        return 0;
    }

    /// <summary>One reading after the other on a quiet link: prints the median of the milliseconds from committed to
    /// acknowledged, and what one in twenty takes.</summary>
    public static async Task<int> LatencyAsync(string directory, string target)
    {
        using var opened = new Opened(directory);
        await using var link = await Link.StartAsync(opened.Buffer, target, new() { UploadInterval = TimeSpan.Zero });
        await link.Forwarder.StartAsync(CancellationToken.None);
        var took = new List<double>();
        for (var i = 0; i < 220; i++)
        {
            var before = link.Forwarder.Status.Readings;
            await opened.Enqueue(i);
            var clock = Stopwatch.StartNew();
            while (link.Forwarder.Status.Readings == before) await Task.Yield();
            if (i >= 20) took.Add(clock.Elapsed.TotalMilliseconds);
            await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System);
        }

        took.Sort();
        Print(took[took.Count / 2], took[took.Count * 19 / 20]);
        return 0;
    }

    static double Megabytes()
    {
        using var self = Process.GetCurrentProcess();
        return self.WorkingSet64 / 1048576.0;
    }

    static async Task UntilAsync(Func<bool> condition, TimeSpan look)
    {
        while (!condition()) await Task.Delay(look, TimeProvider.System);
    }

    static void Print(params ReadOnlySpan<double> numbers)
    {
        foreach (var number in numbers) Console.WriteLine(number.ToString(CultureInfo.InvariantCulture));
    }

    /// <summary>Devices that come back at once spread over half a minute; a measurement does not wait for that.</summary>
    sealed class NoJitter : Random
    {
        public override double NextDouble() => 0;
    }

    /// <summary>A forwarder and its way out.</summary>
    sealed class Link(Forwarder forwarder, HttpSink? http, EdgeHubConnection? hub) : IAsyncDisposable
    {
        public Forwarder Forwarder => forwarder;

        /// <param name="buffer">What it drains.</param>
        /// <param name="target">A URL, or <c>address,certificate</c> of a hub.</param>
        /// <param name="settings">Without the sink.</param>
        public static async Task<Link> StartAsync(TelemetryBuffer buffer, string target, ForwardingSettings settings)
        {
            var sinks = new Dictionary<SinkKind, ISink>();
            HttpSink? http = null;
            EdgeHubConnection? hub = null;
            if (target.StartsWith("http", StringComparison.Ordinal))
            {
                sinks[SinkKind.Http] = http = new HttpSink(new(null, new Dictionary<string, string>()), TimeProvider.System);
                settings = settings with { Sink = SinkKind.Http, HttpEndpoint = new(target) };
            }
            else
            {
                var parts = target.Split(',');
                hub = new(
                    PubackServer.Identity(parts[0], parts[1]), new() { Transport = HubTransport.Mqtt }, TimeProvider.System,
                    new Random(), NullLogger<EdgeHubConnection>.Instance);
                await hub.StartAsync(CancellationToken.None);
                await hub.WaitUntilConnectedAsync(CancellationToken.None);
                sinks[SinkKind.IotHub] = new IotHubSink(hub);
                settings = settings with { Sink = SinkKind.IotHub };
            }

            var forwarder = new Forwarder(
                buffer, sinks, new BatchEncoder("pi", "SensorForwarder", () => buffer.Epoch), TimeProvider.System, new NoJitter(),
                NullLogger<Forwarder>.Instance);
            forwarder.Apply(settings);
            return new(forwarder, http, hub);
        }

        public async ValueTask DisposeAsync()
        {
            await forwarder.StopAsync(CancellationToken.None);
            forwarder.Dispose();
            http?.Dispose();
            if (hub is null) return;
            await hub.StopAsync(CancellationToken.None);
            hub.Dispose();
        }
    }
}
