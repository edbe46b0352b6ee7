using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

/// <summary>What status, page and <c>--status</c> report about the link to the receiver.</summary>
public sealed class LinkReportTests
{
    static readonly ForwardingSettings LiveFirst = new()
    {
        BatchSize = 10,
        UploadInterval = TimeSpan.FromSeconds(10),
        DrainOrder = DrainOrder.LiveFirst,
    };

    /// <summary>A forwarder, and the parts that report its state.</summary>
    sealed class Watched : IDisposable
    {
        readonly SensorScheduler _scheduler;
        readonly SettingsStore _store;
        readonly OperationParts _parts;

        public Watched(ForwarderFixture fixture)
        {
            _scheduler = new(
                new(new("/proc", "/sys", Path.GetTempPath()), fixture.Clock), fixture.Buffer, fixture.Clock, new Random(1), NullLogger<SensorScheduler>.Instance);
            _store = SettingsFixture.NewStore(fixture.Buffer, fixture.Forwarder, _scheduler);
            _parts = new(fixture.Buffer, fixture.Forwarder, _scheduler, _store, fixture.Clock);
        }

        /// <summary>Takes a sample, and returns the status.</summary>
        public JsonNode Look()
        {
            _parts.Trends.Look();
            return _parts.ReadStatus();
        }

        public JsonNode Look(string part) => Look()[part]!;

        /// <summary>Whether the page agrees with the status; its document is cached for a moment.</summary>
        public bool PageAgrees()
        {
            var (status, link) = (Look(), _parts.ReadPage()["link"]!);
            return JsonNode.DeepEquals(status["lanes"], link["lanes"]) && status["link"]!.AsObject().All(pair => JsonNode.DeepEquals(pair.Value, link[pair.Key]));
        }

        public string Text() => Text(_parts.ReadStatus());

        public static string Text(JsonNode status) => StatusPage.Write(status.AsObject());

        public void Dispose()
        {
            _parts.Dispose();
            _store.Dispose();
            _scheduler.Dispose();
        }
    }

    [Fact]
    public async Task An_HTTP_link_reports_since_when_it_has_its_state_and_keeps_the_last_error_with_its_time()
    {
        var answer = new SendResult(SendOutcome.Retry, "no answer within 5 s");
        var sink = new FakeSink { Rule = _ => answer };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink);
        using var watched = new Watched(fixture);
        Assert.Equal("Starting", (string)watched.Look("link")["state"]!);
        Assert.Null(watched.Look("link")["lastError"]);

        await fixture.StoreAsync(5);
        await fixture.RunAsync();
        var status = await Until.Value(
            watched.Look, now => (string)now["link"]!["state"]! == "Down", fixture.Clock, TimeSpan.Zero);
        var link = status["link"]!;
        var since = (DateTimeOffset)link["since"]!;
        Assert.Equal("no answer within 5 s", (string)link["lastError"]!);
        Assert.InRange((DateTimeOffset)link["lastErrorAt"]!, since - TimeSpan.FromSeconds(1), since);
        Assert.Contains($"down since {(string)link["since"]!}", Watched.Text(status), StringComparison.Ordinal);

        // Repeated failures: the state keeps its age, the error is new.
        await Until.True(() => (DateTimeOffset)watched.Look("link")["lastErrorAt"]! > since + TimeSpan.FromMinutes(2), fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Equal(since, (DateTimeOffset)watched.Look("link")["since"]!);

        answer = SendResult.Accepted;
        await Until.True(() => (string)watched.Look("link")["state"]! == "Up", fixture.Clock, TimeSpan.FromSeconds(1));
        link = watched.Look("link");
        Assert.True((DateTimeOffset)link["since"]! > (DateTimeOffset)link["lastErrorAt"]!, link.ToJsonString());
        Assert.Equal("no answer within 5 s", (string)link["lastError"]!);
        await Until.True(watched.PageAgrees, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Contains($"last error {(string)link["lastErrorAt"]!}: no answer within 5 s", watched.Text(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Setting_the_clock_for_the_first_time_does_not_change_the_age_of_any_time_in_the_status()
    {
        // As on a device without an RTC before its first time synchronization.
        var clock = new SteppedClock(new(1970, 1, 1, 0, 1, 0, TimeSpan.Zero));
        var answer = SendResult.Accepted;
        await using var module = new SettingsFixture(inMemory: true) { Clock = clock, Sinks = { [SinkKind.Http] = new FakeSink { Rule = _ => answer } } };
        await module.StartAsync("""{"sink":"http","httpEndpoint":"http://localhost/","batchSize":1,"commitIntervalMs":0,"sensors":{}}""");
        using var parts = new OperationParts(module, clock);
        await module.Forwarder.StartAsync(TestContext.Current.CancellationToken);
        await module.Buffer.EnqueueAsync(BufferFixture.Reading(1), TestContext.Current.CancellationToken);
        await UntilAsync(() => module.Forwarder.Status.Readings >= 1);
        answer = new(SendOutcome.Retry, "no answer within 5 s");
        await module.Buffer.EnqueueAsync(BufferFixture.Reading(2), TestContext.Current.CancellationToken);
        await UntilAsync(() => (string)parts.ReadStatus()["link"]!["state"]! == "Down");

        var before = Ages();
        clock.Step(TimeSpan.FromDays(20_000));
        Assert.Equal(before, Ages());
        Assert.InRange(AgeOf(parts.ReadStatus()["link"]!["lastErrorAt"]!), TimeSpan.Zero, TimeSpan.FromHours(1));
        await module.Forwarder.StopAsync(TestContext.Current.CancellationToken);

        TimeSpan AgeOf(JsonNode time) => clock.GetUtcNow() - (DateTimeOffset)time;

        List<TimeSpan> Ages()
        {
            var status = parts.ReadStatus();
            return [AgeOf(status["link"]!["since"]!), AgeOf(status["lastSuccess"]!), AgeOf(status["lanes"]!["live"]!["lastAccepted"]!)];
        }

        Task UntilAsync(Func<bool> condition) => Until.True(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            parts.Trends.Look();
            return condition();
        });
    }

    [Theory]
    [InlineData(401, "Refusing", "the receiver refuses")]
    [InlineData(404, "Refusing", "the receiver refuses")]
    [InlineData(413, "Refusing", "the receiver refuses")]
    [InlineData(429, "Failing", "the receiver answers with an error")]
    [InlineData(500, "Failing", "the receiver answers with an error")]
    [InlineData(407, "Down", "down")] // from a proxy: the receiver was not reached
    public async Task A_receiver_that_answers_with_an_error_is_not_reported_as_unreachable(int answer, string state, string text)
    {
        await using var receiver = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = answer;
            return context.Response.WriteAsync("not so");
        });
        using var http = new HttpSink(new(null, new Dictionary<string, string>()), TimeProvider.System);
        var sink = new FakeSink { Send = (batch, settings, token) => http.SendAsync(batch, settings with { HttpEndpoint = receiver.Url }, token) };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink);
        using var watched = new Watched(fixture);
        await fixture.StoreAsync(200);
        await fixture.RunAsync();
        var status = await Until.Value(
            watched.Look, now => (string)now["link"]!["state"]! == state, fixture.Clock, TimeSpan.FromSeconds(1));
        var link = status["link"]!;
        if (answer != 407) Assert.Equal($"answered {answer}: not so", (string)link["lastError"]!);
        Assert.Contains($"{text} since {(string)link["since"]!}", Watched.Text(status), StringComparison.Ordinal);
        await Until.True(watched.PageAgrees, fixture.Clock, TimeSpan.FromSeconds(1));

        answer = 200;
        await Until.True(() => (string)watched.Look("link")["state"]! == "Up", fixture.Clock, TimeSpan.FromSeconds(1));
    }

    [Fact]
    public async Task Each_lane_reports_its_waiting_readings_their_age_and_its_batches_in_flight()
    {
        var sink = new FakeSink { Window = 3 };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: LiveFirst);
        using var watched = new Watched(fixture);
        await fixture.StoreAsync(60);
        fixture.Clock.SetUtcNow(BufferFixture.Noon.AddSeconds(100));
        await fixture.RunAsync();

        // Two slots are for the backlog, one is for new readings.
        (await fixture.NextAfterBackoffAsync(sink)).Accept();
        var first = await sink.NextAsync();
        await sink.NextAsync();
        // These readings are not old yet, so they are sent in full batches, however they were committed.
        var soon = 5 + (int)(fixture.Clock.GetUtcNow() - BufferFixture.Noon).TotalSeconds;
        await fixture.StoreAsync(15, from: soon);
        await sink.NextAsync();
        fixture.Clock.Advance(TimeSpan.FromSeconds(20));
        await Until.True(() => (int)watched.Look("lanes")["live"]!["inFlightReadings"]! == 10 && (int)watched.Look("lanes")["live"]!["waiting"]! == 5);
        var (live, backlog) = (watched.Look("lanes")["live"]!, watched.Look("lanes")["backfill"]!);
        Assert.Equal((1, 0), ((int)live["inFlightBatches"]!, (int)live["batchesAccepted"]!));
        Assert.Null(live["lastAccepted"]);
        Assert.Equal((30, 2, 20, 1), ((int)backlog["waiting"]!, (int)backlog["inFlightBatches"]!, (int)backlog["inFlightReadings"]!, (int)backlog["batchesAccepted"]!));

        // The first waiting reading is the 31st of the backlog, and the 11th of the new ones.
        var now = fixture.Clock.GetUtcNow();
        Assert.Equal((now - BufferFixture.Noon.AddSeconds(31)).TotalSeconds, (double)backlog["oldestAgeSeconds"]!, 0.1);
        Assert.Equal((now - BufferFixture.Noon.AddSeconds(soon + 10)).TotalSeconds, (double)live["oldestAgeSeconds"]!, 0.1);
        Assert.Contains("backlog         30 readings wait, the oldest for ", watched.Text(), StringComparison.Ordinal);

        // The readings of a failed batch wait again, in their place.
        var accepted = (DateTimeOffset)backlog["lastAccepted"]!;
        Assert.InRange(accepted, BufferFixture.Noon.AddSeconds(100), now);
        first.Say(SendOutcome.Retry);
        await Until.True(() => (int)watched.Look("lanes")["backfill"]!["waiting"]! == 40);
        Assert.Equal(accepted, (DateTimeOffset)watched.Look("lanes")["backfill"]!["lastAccepted"]!);
        await Until.True(watched.PageAgrees, fixture.Clock, TimeSpan.FromSeconds(1));
    }

    [Fact]
    public async Task With_oldest_first_all_readings_are_reported_in_one_lane()
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink(), settings: LiveFirst with { DrainOrder = DrainOrder.OldestFirst });
        using var watched = new Watched(fixture);
        await fixture.StoreAsync(40);
        await fixture.RunAsync();
        await Until.True(() => (int)watched.Look("lanes")["live"]!["inFlightReadings"]! == 10, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Equal(30, (int)watched.Look("lanes")["live"]!["waiting"]!);
        Assert.Equal(0, (int)watched.Look("lanes")["backfill"]!["waiting"]!);
    }

    [Fact]
    public async Task The_quota_report_shows_its_use_what_is_held_back_and_until_when()
    {
        var hub = new FakeSink { Rule = _ => SendResult.Accepted, IsMetered = true };
        await using var fixture = await ForwarderFixture.StartAsync(hub: hub, settings: LiveFirst with { Sink = SinkKind.IotHub, BatchSize = 50, DailyMessageLimit = 20 });
        using var watched = new Watched(fixture);
        Assert.Null(watched.Look()["quota"]);
        await fixture.StoreAsync(2_000); // about 80 messages
        fixture.Clock.SetUtcNow(BufferFixture.Noon.AddHours(1));
        await fixture.RunAsync();
        await Until.True(() => watched.Look()["quota"]?["heldBackUntil"] is not null && (int)watched.Look("quota")["messagesToday"]! == 11, fixture.Clock, TimeSpan.FromMilliseconds(100));
        var status = watched.Look("quota");
        Assert.Equal(20, (int)status["dailyMessageLimit"]!);
        Assert.True((bool)status["isOnlyBacklogHeldBack"]!);
        Assert.InRange((DateTimeOffset)status["heldBackUntil"]! - fixture.Clock.GetUtcNow(), TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(73));
        Assert.Contains("11 of 20 messages today; the backlog is held back until 2026-11-24T1", watched.Text(), StringComparison.Ordinal);

        // New readings use the rest of the eighth of the quota that they may run ahead; then they wait, too.
        for (var i = 1; i <= 10; i++)
        {
            await fixture.StoreAsync(100, from: 2_000 + (100 * i));
            fixture.Clock.Advance(TimeSpan.FromSeconds(11));
            await Until.True(() => hub.Ids(Lane.Live).Contains(2_000 + (100 * i)) || !(bool)(watched.Look()["quota"]?["isOnlyBacklogHeldBack"] ?? true), fixture.Clock, TimeSpan.FromMilliseconds(100));
        }

        status = watched.Look("quota");
        Assert.False((bool)status["isOnlyBacklogHeldBack"]!);
        Assert.Contains("messages today; readings are held back until 2026-11-24T", watched.Text(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Readings_held_back_because_edgeHub_delivers_nothing_are_reported_with_the_time()
    {
        var hub = new FakeSink { Rule = _ => SendResult.Accepted, IsHeld = true };
        await using var fixture = await ForwarderFixture.StartAsync(hub: hub, settings: LiveFirst with { Sink = SinkKind.IotHub });
        using var watched = new Watched(fixture);
        await fixture.StoreAsync(30);
        await fixture.RunAsync();
        await Until.True(() => watched.Look()["upstream"] is not null, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Contains("edgeHub         nothing delivered to the cloud since 2026-11-24T12:", watched.Text(), StringComparison.Ordinal);
        hub.IsHeld = false;
        await Until.True(() => watched.Look()["upstream"] is null, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.DoesNotContain("edgeHub", watched.Text(), StringComparison.Ordinal);
    }
}
