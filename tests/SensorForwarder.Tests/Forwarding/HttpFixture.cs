using System.Collections.Concurrent;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A forwarder over a real buffer that sends with a real HTTP sink; only their clock is fake.</summary>
internal sealed class HttpFixture : IAsyncDisposable
{
    HttpFixture(ForwarderFixture forwarding, HttpSink sink) => (Forwarding, Sink) = (forwarding, sink);

    public ForwarderFixture Forwarding { get; }

    HttpSink Sink { get; }

    /// <summary>What came of each send so far, in order.</summary>
    public ConcurrentQueue<SendResult> Results { get; private init; } = [];

    /// <summary>Stores readings and starts, with everything sent at once, in batches of 10.</summary>
    public static async Task<HttpFixture> RunAsync(
        Uri url, int readings, Func<ForwardingSettings, ForwardingSettings>? with = null, LogLines? log = null)
    {
        HttpSink? sink = null;
        var results = new ConcurrentQueue<SendResult>();
        var settings = new ForwardingSettings { HttpEndpoint = url, BatchSize = 10, UploadInterval = TimeSpan.Zero };
        var forwarding = await ForwarderFixture.StartAsync(
            http: new FakeSink
            {
                Send = async (batch, settings, token) =>
                {
                    var result = await sink!.SendAsync(batch, settings, token);
                    results.Enqueue(result);
                    return result;
                },
            },
            settings: with?.Invoke(settings) ?? settings, log: log);
        sink = new(new(null, new Dictionary<string, string>()), forwarding.Clock);
        await forwarding.StoreAsync(readings);
        await forwarding.RunAsync();
        return new(forwarding, sink) { Results = results };
    }

    /// <summary>Lets time pass until something holds.</summary>
    public Task UntilAsync(Func<bool> condition, double stepSeconds = 1) =>
        Until.True(condition, Forwarding.Clock, TimeSpan.FromSeconds(stepSeconds));

    public async ValueTask DisposeAsync()
    {
        await Forwarding.DisposeAsync();
        Sink.Dispose();
    }
}
