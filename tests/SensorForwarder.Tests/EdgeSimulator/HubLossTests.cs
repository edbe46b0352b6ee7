using System.Globalization;
using System.Text.RegularExpressions;
using EdgeSimulator.Accounting;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using EdgeSimulator.Metrics;
using Microsoft.Extensions.Time.Testing;
using MQTTnet;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Simulator;

/// <summary>Messages that edgeHub loses after its PUBACK, the effect on its metrics, and how the ledger explains
/// readings sent again because of it. Matches recordings of the real edgeHub.</summary>
public sealed class HubLossTests
{
    const string Received = "edgehub_messages_received_total";
    const string Sent = "edgehub_messages_sent_total";
    const string Dropped = "edgehub_messages_dropped_total";
    const string Queue = "edgehub_queue_length";

    readonly FakeTimeProvider _clock = new(TimeProvider.System.GetUtcNow());

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Message_metrics_are_absent_until_counted_and_sent_equals_received_with_an_empty_queue()
    {
        await using var hub = await SimulatedHub.StartAsync();
        Assert.DoesNotContain("messages_", hub.Upstream.Page(), StringComparison.Ordinal);
        var client = await hub.ConnectAsync();

        await SendAsync(client, 1, output: "live");
        await SendAsync(client, 2, output: "backfill");

        Assert.Equal((2, 2, 0), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Matches("""edgehub_messages_received_total\{.*route_output="live",id="pi1/telemetry",ms_telemetry="True"\} 1\n""", hub.Upstream.Page());
        Assert.Matches(
            """sent_total\{.*from="pi1/telemetry",to="upstream",from_route_output="live",to_route_input="",priority="2000000000",ms_telemetry="True"\} 1\n""",
            hub.Upstream.Page());
    }

    [Fact]
    public async Task A_group_of_sent_messages_is_counted_under_the_output_of_its_first_message()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { Cloud = Cloud.Unreachable });
        for (var id = 1; id <= Upstream.GroupSize + 1; id++)
        {
            await SendAsync(client, id, output: id == 2 ? "backfill" : "live");
        }

        Assert.Equal((11, 0, 11), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Set(hub, f => f with { Cloud = Cloud.Reachable });

        Assert.Equal((11, 0), (Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Equal(11, Sum(hub, Sent, "from_route_output", "live"));
        Assert.Equal(1, Sum(hub, Received, "route_output", "backfill"));
    }

    [Fact]
    public async Task A_message_counts_as_sent_once_the_cloud_has_acknowledged_it()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { CloudLatencyMilliseconds = 500 });
        await SendAsync(client, 1);
        await SendAsync(client, 2);
        Assert.Equal((2, 0, 2), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));

        _clock.Advance(TimeSpan.FromSeconds(0.5));

        Assert.Equal((2, 2, 0), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Equal(2, hub.Ledger.Summary().Unique);
    }

    [Fact]
    public async Task A_restart_resets_the_counters_and_keeps_the_queued_messages()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        await using var page = new MetricsPage(hub.Upstream, hub.Faults);
        await page.StartAsync(Token);
        using var http = new HttpClient();
        var client = await hub.ConnectAsync();
        await SendAsync(client, 1);
        var instance = Instance(hub);
        Set(hub, f => f with { Cloud = Cloud.Unreachable });
        await SendAsync(client, 2);
        await SendAsync(client, 3);

        hub.Hub.Restart();

        await Assert.ThrowsAsync<HttpRequestException>(() => http.GetStringAsync(new Uri(page.Url), Token));
        await Assert.ThrowsAnyAsync<Exception>(() => hub.ConnectAsync());
        await Until.True(() => !hub.Hub.IsConnected);
        _clock.Advance(EdgeHubServer.RestartTime);
        Assert.NotEqual(instance, Instance(hub));
        Assert.Equal((0, 0, 3), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));

        var again = await hub.ConnectAsync();
        await SendAsync(again, 4);
        Set(hub, f => f with { Cloud = Cloud.Reachable });
        Assert.Equal((1, 3, 1), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Contains(Queue, await http.GetStringAsync(new Uri(page.Url), Token), StringComparison.Ordinal);
        Assert.Equal((4, 0, 1), (hub.Ledger.Summary().Unique, hub.Ledger.Summary().Lost, hub.Upstream.Restarts));

        // The gauge is too high until the cleanup, half an hour after the restart.
        _clock.Advance(TimeSpan.FromMinutes(30));
        Assert.Equal(0, Sum(hub, Queue));
    }

    [Fact]
    public async Task A_refusing_cloud_makes_edgeHub_discard_100_messages_every_10_seconds_after_80_seconds()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { Cloud = Cloud.Refusing });
        for (var id = 1; id <= 210; id++)
        {
            await SendAsync(client, id);
        }

        _clock.Advance(TimeSpan.FromSeconds(79));
        Assert.Equal(210, Sum(hub, Queue));
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal((210, 0, 110), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        _clock.Advance(TimeSpan.FromSeconds(10));
        Set(hub, f => f with { Cloud = Cloud.Reachable });

        // As with the real edgeHub, no counter shows the loss.
        Assert.Equal((210, 10, 0), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.DoesNotContain(Dropped, hub.Upstream.Page(), StringComparison.Ordinal);
        Assert.Equal((10, 200, 200), (hub.Ledger.Summary().Unique, hub.Ledger.Summary().Lost, hub.Ledger.Summary().LostByHub));
    }

    [Fact]
    public async Task EdgeHub_discards_messages_sooner_on_command_and_after_its_own_restart()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { Cloud = Cloud.Refusing, DiscardAfterSeconds = 1 });
        await SendAsync(client, 1);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(0, Sum(hub, Queue));

        Set(hub, f => f with { DiscardAfterSeconds = 80 });
        await SendAsync(client, 2);
        hub.Hub.Restart();
        _clock.Advance(EdgeHubServer.RestartTime);
        Assert.Equal(2, Sum(hub, Queue));
        _clock.Advance(Upstream.RetryInterval);
        Assert.Equal(1, Sum(hub, Queue));
    }

    [Theory]
    [InlineData(nameof(Cloud.Unreachable), 1)]
    [InlineData(nameof(Cloud.Stalled), 0)]
    public async Task An_unreachable_or_stalled_cloud_loses_no_message(string cloud, int disconnections)
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { Cloud = Enum.Parse<Cloud>(cloud) });
        await SendAsync(client, 1);

        _clock.Advance(TimeSpan.FromMinutes(10));
        Assert.Equal((1, 0, 1), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Equal(0, hub.Ledger.Summary().Unique);
        Assert.Equal(1, hub.Ledger.Summary().Lost);
        Set(hub, f => f with { Cloud = Cloud.Reachable });

        Assert.Equal((1, 1, 0), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Equal((1, 0), (hub.Ledger.Summary().Unique, hub.Ledger.Summary().Lost));
        Assert.Equal(disconnections, Sum(hub, "edgehub_offline_count_total"));
    }

    [Fact]
    public async Task Messages_sent_twice_because_the_cloud_did_not_acknowledge_them_are_counted_once()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { Cloud = Cloud.Swallowing });
        await SendAsync(client, 1);
        await SendAsync(client, 2);

        _clock.Advance(Upstream.RetryInterval);
        Assert.Equal((2, 0, 2), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Equal(1, hub.Ledger.Summary().Unique);
        Set(hub, f => f with { Cloud = Cloud.Reachable });

        Assert.Equal((2, 2, 0), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        var summary = hub.Ledger.Summary();
        Assert.Equal((2, 1, 0), (summary.Unique, summary.Duplicates, summary.SentAgain));
        Assert.Equal(1, summary.DuplicateCauses[Causes.NotAcknowledgedByCloud]);
    }

    [Fact]
    public async Task LoseOne_loses_the_message_in_the_middle_of_the_queue()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { Cloud = Cloud.Unreachable });
        for (var id = 1; id <= 5; id++)
        {
            await SendAsync(client, id);
        }

        hub.Upstream.LoseOne();
        Set(hub, f => f with { Cloud = Cloud.Reachable });

        Assert.Equal((5, 4, 0), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Equal([(3, 3)], hub.Ledger.Summary().Epochs.Single().LostRanges);
    }

    [Fact]
    public async Task LoseOne_loses_the_next_message_when_the_queue_is_empty()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();

        hub.Upstream.LoseOne();
        await SendAsync(client, 1);
        await SendAsync(client, 2);

        Assert.Equal((2, 1, 0), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Queue)));
        Assert.Equal([(1, 1)], hub.Ledger.Summary().Epochs.Single().LostRanges);
    }

    [Fact]
    public async Task Messages_of_an_output_without_a_route_are_counted_as_dropped_and_lost_until_sent_again()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        Set(hub, f => f with { NoRoute = "backfill" });
        await SendAsync(client, 1, output: "live");
        await SendAsync(client, 2, output: "backfill");
        Set(hub, f => f with { NoRoute = "*" });
        await SendAsync(client, 3, output: "live");

        Assert.Equal((3, 1, 2), (Sum(hub, Received), Sum(hub, Sent), Sum(hub, Dropped, "reason", "no_route")));
        Assert.Equal(1, Sum(hub, Dropped, "from_route_output", "backfill"));
        Assert.Equal((1, 2, 2), (hub.Ledger.Summary().Unique, hub.Ledger.Summary().Lost, hub.Ledger.Summary().LostByHub));

        Set(hub, f => f with { NoRoute = "" });
        await SendAsync(client, 2, output: "backfill");
        await SendAsync(client, 3, output: "live");
        var summary = hub.Ledger.Summary();
        Assert.Equal((3, 0, 0, 2), (summary.Unique, summary.Lost, summary.Duplicates, summary.SentAgain));

        // Nor can the module know which message of an output had no route.
        await SendAsync(client, 1, output: "live");
        Assert.Equal(1, hub.Ledger.Summary().DuplicateCauses[Causes.NoRoute]);
    }

    [Fact]
    public async Task A_message_sent_again_after_a_loss_arrives_or_is_an_explained_duplicate()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        await SendAsync(client, 1);
        hub.Upstream.LoseOne();
        await SendAsync(client, 2);
        await SendAsync(client, 3);
        _clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(1, hub.Ledger.Summary().Lost);

        for (var id = 1; id <= 3; id++)
        {
            await SendAsync(client, id);
        }

        var summary = hub.Ledger.Summary();
        Assert.Equal((3, 0, 3), (summary.Unique, summary.Lost, summary.SentAgain));
        Assert.Equal((2, 2), (summary.Duplicates, summary.DuplicateCauses[Causes.LostByHub]));

        // The doubt has ended, so later duplicates are not explained.
        await SendAsync(client, 4);
        await SendAsync(client, 4);
        Assert.Equal((3, 2), (hub.Ledger.Summary().Duplicates, hub.Ledger.Summary().DuplicatesExplained));
    }

    [Fact]
    public async Task After_a_restart_duplicates_are_explained_unless_the_counters_had_confirmed_the_message_before()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        await SendAsync(client, 1);
        for (var look = 0; look < 2; look++)
        {
            _clock.Advance(Ledger.LookInterval);
            hub.Upstream.Page();
        }

        await SendAsync(client, 2);
        _clock.Advance(Ledger.AcknowledgementGrace + TimeSpan.FromSeconds(1));
        hub.Hub.Restart();
        await Until.True(() => !hub.Hub.IsConnected);
        _clock.Advance(EdgeHubServer.RestartTime);
        var again = await hub.ConnectAsync();
        await SendAsync(again, 3);
        for (var id = 1; id <= 3; id++)
        {
            await SendAsync(again, id);
        }

        var summary = hub.Ledger.Summary();
        Assert.Equal((3, 2), (summary.Duplicates, summary.DuplicatesExplained));
        Assert.Equal(2, summary.DuplicateCauses[Causes.CountersReset]);
    }

    [Fact]
    public async Task A_duplicate_with_another_cause_does_not_end_the_doubt_about_a_loss()
    {
        await using var hub = await SimulatedHub.StartAsync(time: _clock);
        var client = await hub.ConnectAsync();
        hub.Upstream.LoseOne();
        await SendAsync(client, 1);
        await SendAsync(client, 2);
        hub.Hub.Cut(Causes.CutOnCommand);
        await Until.True(() => !hub.Hub.IsConnected);
        var again = await hub.ConnectAsync();
        await SendAsync(again, 2);

        // While messages are queued, the module cannot detect the loss, so the doubt does not expire.
        Set(hub, f => f with { Cloud = Cloud.Unreachable });
        await SendAsync(again, 3);
        _clock.Advance(Ledger.DoubtTime);
        hub.Upstream.Page();
        Set(hub, f => f with { Cloud = Cloud.Reachable });
        hub.Upstream.Page();
        await SendAsync(again, 4);
        for (var id = 1; id <= 4; id++)
        {
            await SendAsync(again, id);
        }

        var summary = hub.Ledger.Summary();
        Assert.Equal((4, 0, 4), (summary.Unique, summary.Lost, summary.Duplicates));
        Assert.Equal((2, 2), (summary.DuplicateCauses[Causes.CutOnCommand], summary.DuplicateCauses[Causes.LostByHub]));
    }

    static Task<MqttClientPublishResult> SendAsync(IMqttClient client, long id, string output = "out") =>
        client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(id, id), $"%24.on={output}/"), Token);

    static void Set(SimulatedHub hub, Func<FaultSettings, FaultSettings> change) => hub.Faults.Update(change);

    /// <summary>The sum of all series of a metric with this label.</summary>
    static int Sum(SimulatedHub hub, string metric, string label = "edge_device", string value = "pi1") => hub.Upstream.Page().Split('\n')
        .Where(line => line.StartsWith($"{metric}{{", StringComparison.Ordinal) && line.Contains($",{label}=\"{value}\"", StringComparison.Ordinal))
        .Sum(line => int.Parse(line.Split(' ')[^1], CultureInfo.InvariantCulture));

    static string Instance(SimulatedHub hub) => Regex.Match(hub.Upstream.Page(), "instance_number=\"([^\"]+)\"").Value;
}
