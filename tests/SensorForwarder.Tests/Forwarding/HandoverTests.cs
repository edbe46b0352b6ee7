using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The forwarder with edgeHub's metrics page: a reading is delivered when the page shows that the cloud has
/// it.</summary>
public sealed class HandoverTests
{
    static readonly ForwardingSettings InTwos = new() { Sink = SinkKind.IotHub, BatchSize = 2, UploadInterval = TimeSpan.Zero };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_reading_is_kept_until_the_cloud_has_it()
    {
        var hub = new Hub();
        await using var fixture = await StartAsync(hub);
        hub.HasCloud = false;
        await StoreAsync(fixture, 10);
        await Until.True(() => fixture.Buffer.HandedOver.Count == 10, fixture.Clock, TimeSpan.FromSeconds(2));
        await LookAsync(fixture, hub, 4);
        Assert.Equal((10, 0), (fixture.Buffer.HandedOver.Count, fixture.Buffer.GetStatus().Depth));
        await Until.True(() => fixture.Forwarder.Status.Custody.HandedOver == 10);
        var status = fixture.Forwarder.Status.Custody;
        Assert.Equal((CustodyHolder.Cloud, true), (status.Holder, status.Since is not null));

        hub.HasCloud = true;
        await Until.True(
            () => fixture.Buffer.HandedOver.IsEmpty && fixture.Forwarder.Status.Custody.HandedOver == 0, fixture.Clock, TimeSpan.FromSeconds(2));
        Assert.Equal((0, 0, 10), (fixture.Forwarder.Status.Custody.LostMessages, fixture.Forwarder.Status.Custody.ReturnedReadings, fixture.Forwarder.Status.Delivered));
        Assert.Equal(5, hub.Sink.Sends);
    }

    [Fact]
    public async Task When_the_queue_of_edgeHub_drops_to_0_without_sends_its_64_messages_are_sent_again_unchanged()
    {
        var (hub, log) = (new Hub(), new LogLines());
        await using var fixture = await StartAsync(hub, log);
        await StoreAsync(fixture, 60);
        await Until.True(() => hub.Sent == 30 && fixture.Forwarder.Status.Delivered == 60, fixture.Clock, TimeSpan.FromSeconds(2));

        hub.HasCloud = false;
        await StoreAsync(fixture, 128, from: 61);
        await Until.True(() => hub.Queue == 64);
        await LookAsync(fixture, hub, 3);
        Assert.True(hub.Sink.IsHeld);
        var lost = hub.Sink.Seen.Skip(30).Select(batch => batch.Id).ToList();
        hub.Discard();
        fixture.Forwarder.Apply(InTwos with { BatchSize = 5 });
        await Until.True(
            () => log.Has("edgeHub lost 64 messages; sending 128 readings again"), fixture.Clock, TimeSpan.FromSeconds(2));
        Assert.True(hub.Sink.IsHeld);
        await Until.True(() => fixture.Forwarder.Status.Custody.LostMessages == 64);
        Assert.Equal(128, fixture.Forwarder.Status.Custody.ReturnedReadings);

        hub.HasCloud = true;
        await Until.True(
            () => hub.Sink.Seen.Count >= 158 && fixture.Buffer.GetStatus().Depth == 0 && fixture.Buffer.HandedOver.IsEmpty,
            fixture.Clock, TimeSpan.FromSeconds(2));
        Assert.Equal(lost, hub.Sink.Seen.Skip(94).Select(batch => batch.Id));
        Assert.False(hub.Sink.IsHeld);
    }

    [Fact]
    public async Task Without_a_metrics_page_readings_that_edgeHub_accepts_count_as_delivered_and_the_status_says_so()
    {
        var (hub, log) = (new Hub { HasPage = false }, new LogLines());
        await using var fixture = await StartAsync(hub, log);
        await StoreAsync(fixture, 10);
        await fixture.UntilDepthAsync(0);
        await LookAsync(fixture, hub, 3);
        Assert.True(fixture.Buffer.HandedOver.IsEmpty);
        Assert.Equal(CustodyHolder.EdgeHub, fixture.Forwarder.Status.Custody.Holder);
        Assert.Single(log.All, line => line.Contains("a reading counts as delivered when edgeHub has stored it", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Over_HTTP_accepted_readings_count_as_delivered()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new() { Rule = _ => SendResult.Accepted });
        await fixture.RunAsync();
        await StoreAsync(fixture, 10);
        await fixture.UntilDepthAsync(0);
        Assert.True(fixture.Buffer.HandedOver.IsEmpty);
        Assert.Equal(CustodyHolder.Receiver, fixture.Forwarder.Status.Custody.Holder);
        await Until.True(() => fixture.Forwarder.Status.Delivered == 10);
    }

    [Theory]
    [InlineData("stopped", 0)]
    [InlineData("killed", 0)]
    [InlineData("without its books", 5)]
    public async Task After_a_restart_readings_are_sent_again_only_if_the_stored_hand_over_records_are_missing(string module, int again)
    {
        var hub = new Hub();
        await using var fixture = await StartAsync(hub);
        hub.HasCloud = false;
        await StoreAsync(fixture, 10);
        await Until.True(() => fixture.Buffer.HandedOver.Count == 10, fixture.Clock, TimeSpan.FromSeconds(2));
        await fixture.PassAsync(TimeSpan.Zero);
        await fixture.Buffer.CommitAsync(Token);
        var note = fixture.Buffer.LoadNote();
        var stopping = fixture.Forwarder.StopAsync(Token);
        await Until.True(() => stopping.IsCompleted, fixture.Clock, TimeSpan.FromSeconds(2));
        if (module != "stopped") fixture.Buffer.KeepNote(() => module == "killed" ? note : "");
        await fixture.Buffer.CommitAsync(Token);

        var sends = hub.Sink.Sends;
        hub.HasCloud = true;
        var next = new Hub(hub, fixture.Clock);
        using var forwarder = new Forwarder(
            fixture.Buffer, new Dictionary<SinkKind, ISink> { [SinkKind.IotHub] = next.Sink }, new BatchEncoder("pi", "module"),
            fixture.Clock, new Random(1), new LogLines().For<Forwarder>());
        forwarder.Apply(InTwos);
        await forwarder.StartAsync(Token);
        await Until.True(
            () => fixture.Buffer.HandedOver.IsEmpty && fixture.Buffer.GetStatus().Depth == 0 && next.Looks > 3,
            fixture.Clock, TimeSpan.FromSeconds(2));
        Assert.Equal(again, next.Sink.Seen.Select(batch => batch.Id).Distinct().Count());
        Assert.Equal(5, sends);
        stopping = forwarder.StopAsync(Token);
        await Until.True(() => stopping.IsCompleted, fixture.Clock, TimeSpan.FromSeconds(2));
    }

    [Fact]
    public async Task Readings_handed_over_to_edgeHub_are_tracked_until_delivered_after_the_sink_has_changed()
    {
        var hub = new Hub();
        await using var fixture = await StartAsync(hub);
        hub.HasCloud = false;
        await StoreAsync(fixture, 10);
        await Until.True(() => fixture.Buffer.HandedOver.Count == 10, fixture.Clock, TimeSpan.FromSeconds(2));
        fixture.Forwarder.Apply(InTwos with { Sink = SinkKind.Http });
        await fixture.PassAsync(TimeSpan.Zero);
        hub.HasCloud = true;
        await Until.True(() => fixture.Buffer.HandedOver.IsEmpty, fixture.Clock, TimeSpan.FromSeconds(2));
        Assert.Equal((0, 5), (fixture.Buffer.GetStatus().Depth, hub.Sink.Sends));
    }

    [Fact]
    public async Task When_edgeHub_always_has_messages_queued_a_pause_in_sending_shows_which_were_delivered()
    {
        var hub = new Hub();
        await using var fixture = await StartAsync(hub);
        hub.IsOneBehind = true;
        var stored = 0;
        for (var rounds = 0; stored == 0 || fixture.Buffer.Waiting.Ids.Contains(1) || fixture.Buffer.HandedOver.Contains(1); rounds++)
        {
            Assert.True(rounds < 1_000, "the first reading was not delivered");
            await fixture.StoreAsync(2, from: stored + 1);
            stored += 2;
            await fixture.PassAsync(TimeSpan.FromSeconds(2));
        }

        Assert.Equal(0, fixture.Forwarder.Status.Custody.LostMessages);
        Assert.Equal(hub.Sink.Sends, hub.Sink.Seen.Select(batch => batch.Id).Distinct().Count());
    }

    [Fact]
    public async Task An_output_without_a_route_gets_one_batch_a_minute_until_the_route_exists_and_then_every_reading()
    {
        var (hub, log) = (new Hub(), new LogLines());
        await using var fixture = await StartAsync(hub, log);
        hub.HasRoute = false;
        await StoreAsync(fixture, 2);
        await Until.True(() => log.Has("no route for output 'live'"), fixture.Clock, TimeSpan.FromSeconds(2));
        var began = fixture.Clock.GetUtcNow();
        var before = hub.Sink.Sends;
        await StoreAsync(fixture, 40, from: 3);
        await Until.True(() => hub.Sink.Sends >= before + 3, fixture.Clock, TimeSpan.FromSeconds(2));
        Assert.True(fixture.Clock.GetUtcNow() - began >= TimeSpan.FromMinutes(2), "three batches in less than two minutes");
        Assert.Equal(["live"], fixture.Forwarder.Status.Custody.Unrouted);

        hub.HasRoute = true;
        await Until.True(
            () => fixture.Buffer.GetStatus().Depth == 0 && fixture.Buffer.HandedOver.IsEmpty, fixture.Clock, TimeSpan.FromSeconds(2));
        Assert.Equal(IdSet.Of(1, 42), IdSet.Of(hub.Arrived));
        await Until.True(() => fixture.Forwarder.Status.Custody.Unrouted.Count == 0, fixture.Clock, TimeSpan.FromSeconds(2));
    }

    /// <summary>Starts the forwarder, and waits until it knows that edgeHub's store is empty.</summary>
    static async Task<ForwarderFixture> StartAsync(Hub hub, LogLines? log = null)
    {
        hub.Begin(log ?? new());
        var fixture = await ForwarderFixture.StartAsync(hub: hub.Sink, settings: InTwos, log: log, clock: hub.Clock);
        await fixture.RunAsync();
        await LookAsync(fixture, hub, 3);
        return fixture;
    }

    /// <summary>Stores readings so that they are sent in full batches, whatever the number of commits.</summary>
    static async Task StoreAsync(ForwarderFixture fixture, int count, int from = 1)
    {
        fixture.Forwarder.Pause();
        await fixture.PassAsync(TimeSpan.Zero);
        await fixture.StoreAsync(count, from);
        fixture.Forwarder.Resume();
    }

    static async Task LookAsync(ForwarderFixture fixture, Hub hub, int times)
    {
        var end = hub.Looks + times;
        await Until.True(() => hub.Looks >= end, fixture.Clock, TimeSpan.FromSeconds(2));
        await fixture.PassAsync(TimeSpan.Zero);
    }

    /// <summary>A model of edgeHub with a metrics page.</summary>
    sealed class Hub
    {
        readonly Lock _lock = new();
        readonly List<long> _stored = [];
        long _received;
        long _unrouted;
        bool _hasCloud = true;
        int _looksSinceMessage;
        int _looks;

        public Hub()
        {
        }

        /// <summary>The same edgeHub, for another run of the module.</summary>
        public Hub(Hub other, FakeTimeProvider clock)
        {
            (Clock, _received, Sent, Queue, _unrouted) = (clock, other._received, other.Sent, other.Queue, other._unrouted);
            Begin(new());
        }

        public FakeTimeProvider Clock { get; } = new(BufferFixture.Noon);

        public FakeSink Sink { get; private set; } = null!;

        public bool HasPage { get; init; } = true;

        public volatile bool HasRoute = true;

        /// <summary>Whether the last message leaves only when the next one arrives, or after some reads of the
        /// page.</summary>
        public volatile bool IsOneBehind;

        public long Sent { get; private set; }

        public long Queue { get; private set; }

        public List<long> Arrived { get; } = [];

        public int Looks => Volatile.Read(ref _looks);

        public bool HasCloud
        {
            set
            {
                lock (_lock)
                {
                    _hasCloud = value;
                    if (!value) return;
                    Arrived.AddRange(_stored);
                    _stored.Clear();
                    (Sent, Queue) = (Sent + Queue, 0);
                }
            }
        }

        public void Begin(LogLines log) => Sink = new()
        {
            Rule = Take,
            Window = 4,
            Handovers = new("module", "http://gw:9600/metrics", _ => Task.FromResult(Look()), Clock, log.For<Handovers>()),
        };

        /// <summary>Discards all stored messages.</summary>
        public void Discard()
        {
            lock (_lock)
            {
                _stored.Clear();
                Queue = 0;
            }
        }

        SendResult Take(Batch batch)
        {
            lock (_lock)
            {
                _received++;
                _looksSinceMessage = 0;
                if (IsOneBehind) HasCloud = true;
                if (!HasRoute)
                {
                    _unrouted++;
                    return SendResult.Accepted;
                }

                Queue++;
                _stored.AddRange(batch.Readings.Select(reading => reading.Id));
                if (_hasCloud && !IsOneBehind) HasCloud = true;
                return SendResult.Accepted;
            }
        }

        MetricsPage? Look()
        {
            lock (_lock)
            {
                _looks++;
                if (++_looksSinceMessage > 2 && _hasCloud) HasCloud = true;
                return HasPage
                    ? new(
                        "one", _received, Sent, new Dictionary<string, long> { ["live"] = _unrouted },
                        new Dictionary<string, long> { ["0"] = Sent }, new Dictionary<string, long> { ["0"] = Queue })
                    : null;
            }
        }
    }
}
