using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A forwarder over a real buffer, a fake sink, and a fake clock.</summary>
internal sealed class ForwarderFixture : IAsyncDisposable
{
    readonly BufferFixture _files = new(inMemory: true);

    ForwarderFixture(FakeSink http, FakeSink hub)
    {
        Http = http;
        Hub = hub;
    }

    public FakeTimeProvider Clock { get; private init; } = new(BufferFixture.Noon);

    public FakeSink Http { get; }

    public FakeSink Hub { get; }

    public TelemetryBuffer Buffer { get; private set; } = null!;

    public Forwarder Forwarder { get; private set; } = null!;

    public static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Creates a forwarder that sends everything immediately, in batches of 10.</summary>
    public static async Task<ForwarderFixture> StartAsync(
        FakeSink? http = null, FakeSink? hub = null, ForwardingSettings? settings = null, LogLines? log = null,
        Random? random = null, FakeTimeProvider? clock = null)
    {
        var fixture = new ForwarderFixture(http ?? new FakeSink(), hub ?? new FakeSink()) { Clock = clock ?? new(BufferFixture.Noon) };
        fixture.Buffer = await fixture._files.OpenAsync();
        fixture.Forwarder = new Forwarder(
            fixture.Buffer,
            new Dictionary<SinkKind, ISink> { [SinkKind.Http] = fixture.Http, [SinkKind.IotHub] = fixture.Hub },
            new BatchEncoder("pi", "module"),
            fixture.Clock,
            random ?? new Random(1),
            log?.For<Forwarder>() ?? NullLogger<Forwarder>.Instance);
        fixture.Forwarder.Apply(settings ?? new ForwardingSettings { BatchSize = 10, UploadInterval = TimeSpan.Zero });
        return fixture;
    }

    public async Task<ForwarderFixture> RunAsync()
    {
        await Forwarder.StartAsync(Token);
        return this;
    }

    /// <summary>Commits readings with consecutive numbers.</summary>
    public async Task StoreAsync(int count, int from = 1) => await Task.WhenAll(
        Enumerable.Range(from, count).Select(n => Buffer.EnqueueAsync(BufferFixture.Reading(n), Token).AsTask()));

    /// <summary>Waits until the buffer holds exactly this many readings.</summary>
    public Task UntilDepthAsync(long depth) => Until.True(() => Buffer.GetStatus().Depth == depth);

    /// <summary>Advances the clock until the next attempt.</summary>
    public async Task<FakeSink.Attempt> NextAfterBackoffAsync(FakeSink sink)
    {
        var limit = Clock.GetUtcNow().AddDays(1);
        while (!sink.HasAttempt && Clock.GetUtcNow() < limit) await PassAsync(TimeSpan.FromSeconds(1));
        return await sink.NextAsync();
    }

    /// <summary>Advances the clock, and waits until the loop has seen the new time.</summary>
    public async Task PassAsync(TimeSpan time)
    {
        Clock.Advance(time);
        // The current turn may have read the clock before.
        var turns = Forwarder.Turns + 2;
        await Until.True(() =>
        {
            Forwarder.Nudge();
            return Forwarder.Turns >= turns;
        });
    }

    public async ValueTask DisposeAsync()
    {
        using (Forwarder)
        {
            var stopping = Forwarder.StopAsync(CancellationToken.None);
            await Until.True(() => stopping.IsCompleted, Clock, TimeSpan.FromSeconds(1));
        }

        await Buffer.DisposeAsync();
        _files.Dispose();
    }
}
