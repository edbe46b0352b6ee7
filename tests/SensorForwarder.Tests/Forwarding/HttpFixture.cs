using System.Collections.Concurrent;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A forwarder over a real buffer with a real HTTP sink and a fake clock.</summary>
internal sealed class HttpFixture : IAsyncDisposable
{
    HttpFixture(ForwarderFixture forwarding, HttpSink sink) => (Forwarding, Sink) = (forwarding, sink);

    public ForwarderFixture Forwarding { get; }

    HttpSink Sink { get; }

    /// <summary>The results of the sends so far, in order.</summary>
    public ConcurrentQueue<SendResult> Results { get; private init; } = [];

    /// <summary>Stores readings and starts a forwarder that sends everything immediately, in batches of 10.</summary>
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

    /// <summary>Advances the clock until a condition holds, but not during a send: on a busy machine, a late answer
    /// would become a timeout.</summary>
    /// <param name="isHeld">Whether to advance during a send, because the receiver holds back its answer.</param>
    public Task UntilAsync(Func<bool> condition, double stepSeconds = 1, Func<bool>? isHeld = null) => Until.True(() =>
    {
        if (condition()) return true;
        if (Results.Count == Forwarding.Http.Sends || isHeld?.Invoke() == true)
            Forwarding.Clock.Advance(TimeSpan.FromSeconds(stepSeconds));
        return false;
    });

    public async ValueTask DisposeAsync()
    {
        await Forwarding.DisposeAsync();
        Sink.Dispose();
    }
}
