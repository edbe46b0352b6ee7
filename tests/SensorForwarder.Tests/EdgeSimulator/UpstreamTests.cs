using System.Text;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using EdgeSimulator.Metrics;
using Microsoft.Extensions.Time.Testing;
using MQTTnet;
using MQTTnet.Protocol;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Simulator;

/// <summary>edgeHub behind its PUBACK: routes, an unreachable cloud, lost messages, and messages to inputs.</summary>
public sealed class UpstreamTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Message_without_a_matching_route_is_acknowledged_dropped_and_logged()
    {
        await using var hub = await SimulatedHub.StartAsync(Routes("FROM /messages/modules/telemetry/outputs/live INTO $upstream"));
        var client = await hub.ConnectAsync();

        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 2), "%24.on=live/"), Token);
        var dropped = await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(3, 4), "%24.on=backfill/"), Token);

        Assert.True(dropped.IsSuccess);
        Assert.Equal(2, hub.Ledger.Summary().Unique);
        Assert.Contains(hub.Events, text => text.Contains("no route takes output 'backfill'", StringComparison.Ordinal));
        var page = Page(hub);
        Assert.Matches("""edgehub_messages_dropped_total\{.*reason="no_route".*\} 1\n""", page);
        Assert.Matches("""edgehub_messages_received_total\{.*route_output="backfill".*\} 1\n""", page);
    }

    [Fact]
    public async Task Queue_grows_while_the_cloud_is_unreachable_and_drains_in_order_of_priority()
    {
        await using var hub = await SimulatedHub.StartAsync(Routes(
            "FROM /messages/modules/telemetry/outputs/backfill INTO $upstream", "FROM /messages/modules/telemetry/outputs/live INTO $upstream"));
        var client = await hub.ConnectAsync();
        hub.Faults.Update(f => f with { Cloud = Cloud.Unreachable });

        // The first route of the list has priority 1, the second 0.
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1), "%24.on=backfill/"), Token);
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(2, 2), "%24.on=live/"), Token);

        Assert.Equal(0, hub.Ledger.Summary().Unique);
        Assert.Matches("""edgehub_queue_length\{.*endpoint="iothub",priority="1".*\} 1\n""", Page(hub));
        hub.Faults.Update(f => f with { Cloud = Cloud.Reachable });
        Assert.Equal(["live", "backfill"], hub.Recent.After(0).Select(message => message.Properties["$.on"]));
        Assert.Equal(2, hub.Ledger.Summary().Unique);
        Assert.Matches("""edgehub_queue_length\{.*endpoint="iothub",priority="1".*\} 0\n""", Page(hub));
        Assert.Matches("""edgehub_offline_count_total\{.*\} 1\n""", Page(hub));
    }

    [Fact]
    public async Task Messages_that_edgeHub_loses_from_its_queue_are_counted_as_lost()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        hub.Faults.Update(f => f with { Cloud = Cloud.Unreachable });
        for (var id = 1; id <= 5; id++)
        {
            await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(id, id)), Token);
        }

        hub.Faults.Update(f => f with { Cloud = Cloud.Reachable, LoseQueued = 2 });

        var summary = hub.Ledger.Summary();
        Assert.Equal((3, 2), (summary.Unique, summary.Lost));
        Assert.Equal(0, hub.Faults.Current.LoseQueued);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(40)]
    public async Task An_expired_message_is_not_sent_and_stays_in_the_queue_length_until_the_cleanup(int commanded)
    {
        // The route allows one minute; the fault allows less.
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        var route = Route.Parse("r", "FROM /* INTO $upstream", 0, TimeSpan.FromSeconds(60));
        await using var hub = await SimulatedHub.StartAsync(new RoutingTable([route]), clock);
        var client = await hub.ConnectAsync();
        hub.Faults.Update(f => f with { Cloud = Cloud.Unreachable, TimeToLive = TimeSpan.FromSeconds(commanded) });
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 2)), Token);
        clock.Advance(TimeSpan.FromSeconds(commanded == 0 ? 50 : 30));
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(3, 5)), Token);
        clock.Advance(TimeSpan.FromSeconds(20));

        hub.Faults.Update(f => f with { Cloud = Cloud.Reachable });

        Assert.Equal((3, 2), (hub.Ledger.Summary().Unique, hub.Ledger.Summary().Lost));
        Assert.DoesNotContain("messages_dropped", Page(hub), StringComparison.Ordinal);
        Assert.Equal([1], Gauge(hub));
        clock.Advance(TimeSpan.FromMinutes(30));
        Assert.Equal([0], Gauge(hub));
    }

    [Fact]
    public async Task Expired_messages_of_a_waiting_queue_are_removed_after_half_an_hour_and_counted_as_dropped()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        var routes = new RoutingTable(
        [
            Route.Parse("short", "FROM /messages/modules/telemetry/outputs/live INTO $upstream", 1, TimeSpan.FromMinutes(20)),
            Route.Parse("long", "FROM /messages/modules/telemetry/outputs/backfill INTO $upstream", 2, null),
        ]);
        await using var hub = await SimulatedHub.StartAsync(routes, clock);
        var client = await hub.ConnectAsync();
        hub.Faults.Update(f => f with { Cloud = Cloud.Unreachable });
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1), "%24.on=live/"), Token);
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(2, 2), "%24.on=backfill/"), Token);

        clock.Advance(TimeSpan.FromMinutes(29));
        Assert.Equal([1, 1], Gauge(hub));
        clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal([0, 1], Gauge(hub));
        Assert.Matches("""edgehub_messages_dropped_total\{.*reason="ttl_expiry".*\} 1\n""", Page(hub));
    }

    [Fact]
    public async Task A_full_store_accepts_no_message_until_the_cloud_is_reachable_again()
    {
        await using var hub = await SimulatedHub.StartAsync(new RoutingTable([Route.Parse("r", "FROM /* INTO $upstream", 0, null)], 500));
        var client = await hub.ConnectAsync();
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 20)), Token);
        hub.Faults.Update(f => f with { Cloud = Cloud.Unreachable });
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(21, 24)), Token);

        await Assert.ThrowsAnyAsync<Exception>(() => client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(25, 34)), Token));

        hub.Faults.Update(f => f with { Cloud = Cloud.Reachable });
        var again = await hub.ConnectAsync();
        await again.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(25, 34)), Token);
        Assert.Equal((34, 0), (hub.Ledger.Summary().Unique, hub.Ledger.Summary().Lost));
    }

    [Fact]
    public async Task Message_is_routed_by_the_conditions_and_the_priorities_of_the_routes()
    {
        await using var hub = await SimulatedHub.StartAsync(Routes(
            "FROM /* WHERE level = 'low' INTO $upstream", "FROM /* WHERE $body.batch[0].id > 5 INTO $upstream"));
        var client = await hub.ConnectAsync();

        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1), "level=low/"), Token);
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(2, 2), "level=high/"), Token);
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(6, 6), "level=low&%24.ct=application%2Fjson&%24.ce=utf-8/"), Token);

        Assert.Equal(2, hub.Ledger.Summary().Unique);
        Assert.Matches("""edgehub_messages_sent_total\{.*priority="1".*\} 1\n""", Page(hub));
        Assert.Matches("""edgehub_messages_sent_total\{.*priority="0".*\} 1\n""", Page(hub));
    }

    [Fact]
    public async Task Input_accepts_a_limited_number_of_waiting_messages()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var taken = 0;
        while (hub.Hub.Inputs.TryEnqueue("in", [], "pi1", "other", [])) Assert.InRange(++taken, 1, InputEndpoint.WaitingMax + 1);

        Assert.InRange(taken, InputEndpoint.WaitingMax, InputEndpoint.WaitingMax + 1);
    }

    [Fact]
    public async Task Desired_properties_that_change_while_the_cloud_is_unreachable_are_pushed_as_one_patch()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var received = Received(client);
        await client.SubscribeAsync(TwinEndpoint.ResponseFilter, MqttQualityOfServiceLevel.AtLeastOnce, Token);
        await client.SubscribeAsync(TwinEndpoint.DesiredFilter, MqttQualityOfServiceLevel.AtLeastOnce, Token);
        hub.Faults.Update(f => f with { Cloud = Cloud.Unreachable });

        hub.Twin.PatchDesired(JsonNode.Parse("""{"a":{"x":1},"b":2}""")!.AsObject());
        hub.Twin.PatchDesired(JsonNode.Parse("""{"a":{"y":2},"b":null}""")!.AsObject());
        await client.PublishAsync(new MqttApplicationMessageBuilder().WithTopic("$iothub/twin/GET/?$rid=1").Build(), Token);
        Assert.Equal("""{"desired":{"$version":1},"reported":{"$version":1}}""", (await received.ReadAsync(Token)).Payload);

        hub.Faults.Update(f => f with { Cloud = Cloud.Reachable });
        var patch = JsonNode.Parse((await received.ReadAsync(Token)).Payload);
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse("""{"a":{"x":1,"y":2},"b":null,"$version":3}"""), patch));
    }

    [Fact]
    public async Task Twin_that_edgeHub_never_received_is_empty_and_has_no_version()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var received = Received(client);
        await client.SubscribeAsync(TwinEndpoint.ResponseFilter, cancellationToken: Token);
        hub.Faults.Update(f => f with { EmptyTwin = true });

        await client.PublishAsync(new MqttApplicationMessageBuilder().WithTopic("$iothub/twin/GET/?$rid=1").Build(), Token);

        Assert.Equal(("$iothub/twin/res/200/?$rid=1", """{"desired":{},"reported":{}}"""), await received.ReadAsync(Token));
    }

    [Fact]
    public async Task Full_store_closes_the_connection_without_an_acknowledgement()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        hub.Faults.Update(f => f with { StoreFull = true });

        await Assert.ThrowsAnyAsync<Exception>(() => client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1)), Token));

        Assert.Equal(0, hub.Ledger.Summary().Received);
    }

    [Fact]
    public async Task Connection_over_the_limit_gets_acknowledgements_but_no_method_calls()
    {
        await using var hub = await SimulatedHub.StartAsync();
        hub.Faults.Update(f => f with { OverConnectionLimit = true });
        var client = await hub.ConnectAsync();
        await client.SubscribeAsync(MethodEndpoint.Filter, cancellationToken: Token);

        var published = await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1)), Token);
        var called = await hub.Hub.Methods.InvokeAsync("ping", null, TimeSpan.FromSeconds(30), Token);

        Assert.True(published.IsSuccess);
        Assert.Equal(MethodOutcome.NotConnected, called.Outcome);
    }

    [Theory]
    [InlineData("devices/pi1/modules/telemetry/inputs/#", MqttQualityOfServiceLevel.AtLeastOnce)]
    [InlineData("devices/pi1/modules/telemetry/#", MqttQualityOfServiceLevel.AtMostOnce)]
    public async Task Input_messages_are_delivered_in_order_with_their_sender(string filter, MqttQualityOfServiceLevel quality)
    {
        await using var hub = await SimulatedHub.StartAsync();
        hub.Hub.Inputs.TryEnqueue("in", [new("a b", "c/d")], "pi1", "other", "1"u8.ToArray());
        hub.Hub.Inputs.TryEnqueue("in", [], "pi1", "other", "2"u8.ToArray());
        var client = await hub.ConnectAsync();
        var received = Received(client);

        await client.SubscribeAsync(filter, quality, Token);

        Assert.Equal(
            ("devices/pi1/modules/telemetry/inputs/in/a%20b=c%2Fd&%24.cdid=pi1&%24.cmid=other", "1"), await received.ReadAsync(Token));
        Assert.Equal(("devices/pi1/modules/telemetry/inputs/in/%24.cdid=pi1&%24.cmid=other", "2"), await received.ReadAsync(Token));
    }

    [Fact]
    public async Task Unacknowledged_input_message_is_redelivered_after_30_seconds_and_delays_the_next()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var hub = await SimulatedHub.StartAsync(time: clock);
        var client = await hub.ConnectAsync();
        var received = Channel.CreateUnbounded<(string Payload, bool IsDuplicate)>();
        var count = 0;
        client.ApplicationMessageReceivedAsync += e =>
        {
            e.AutoAcknowledge = ++count > 1;
            received.Writer.TryWrite((Encoding.UTF8.GetString(e.ApplicationMessage.Payload), e.ApplicationMessage.Dup));
            return Task.CompletedTask;
        };
        await client.SubscribeAsync("devices/pi1/modules/telemetry/inputs/#", MqttQualityOfServiceLevel.AtLeastOnce, Token);
        hub.Hub.Inputs.TryEnqueue("in", [], "pi1", "other", "1"u8.ToArray());
        hub.Hub.Inputs.TryEnqueue("in", [], "pi1", "other", "2"u8.ToArray());
        Assert.Equal(("1", false), await received.Reader.ReadAsync(Token));

        await Until.True(
            () => hub.Events.Any(text => text.Contains("not acknowledged within 30 s", StringComparison.Ordinal)), clock, TimeSpan.FromSeconds(1));
        // In small steps, so that the timeout does not expire a second time.
        await Until.True(() => count >= 3, clock, TimeSpan.FromSeconds(0.1));

        Assert.Equal(("1", false), await received.Reader.ReadAsync(Token));
        Assert.Equal(("2", false), await received.Reader.ReadAsync(Token));
    }

    [Fact]
    public async Task Route_to_an_input_delivers_to_the_input_and_not_to_the_cloud()
    {
        await using var hub = await SimulatedHub.StartAsync(Routes("FROM /* INTO BrokeredEndpoint(\"/modules/telemetry/inputs/loop\")"));
        var client = await hub.ConnectAsync();
        var received = Received(client);
        await client.SubscribeAsync("devices/pi1/modules/telemetry/inputs/#", cancellationToken: Token);

        await client.PublishAsync(SimulatedHub.Telemetry("text", "%24.on=out&k=v/"), Token);

        var (topic, payload) = await received.ReadAsync(Token);
        Assert.StartsWith("devices/pi1/modules/telemetry/inputs/loop/k=v&", topic, StringComparison.Ordinal);
        Assert.Equal("text", payload);
        Assert.Empty(hub.Recent.After(0));
    }

    [Fact]
    public async Task Another_module_can_only_send_to_an_input()
    {
        await using var hub = await SimulatedHub.StartAsync(RoutingTable.WithInput("Weather", "telemetry"), senderId: "Weather");
        var client = await hub.ConnectAsync();
        var received = Received(client);
        await client.SubscribeAsync("devices/pi1/modules/telemetry/inputs/#", MqttQualityOfServiceLevel.AtLeastOnce, Token);
        var sender = hub.NewClient();
        await sender.ConnectAsync(hub.Options(options => options.WithClientId("pi1/Weather").WithCredentials(
            $"{hub.Identity.GatewayHost}/pi1/Weather/?api-version=2020-09-30", hub.TokenOf(hub.Sender!))), Token);
        await sender.SubscribeAsync("devices/pi1/modules/telemetry/inputs/#", MqttQualityOfServiceLevel.AtLeastOnce, Token);
        for (var i = 0; i < 3; i++)
        {
            await sender.PublishAsync(
                new MqttApplicationMessageBuilder().WithTopic("devices/pi1/modules/Weather/messages/events/%24.on=out&%24.mid=7/").WithPayload($"{i}")
                    .WithQualityOfServiceLevel(MqttQualityOfServiceLevel.AtLeastOnce).Build(), Token);
            Assert.Equal(("devices/pi1/modules/telemetry/inputs/Weather/%24.mid=7&%24.cdid=pi1&%24.cmid=Weather", $"{i}"), await received.ReadAsync(Token));
        }

        // The module itself is connected all the time, and a stranger is refused.
        Assert.True(hub.Hub.IsConnected);
        Assert.Empty(hub.Recent.After(0));
        await sender.DisconnectAsync(cancellationToken: Token);
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1)), Token);
        Assert.Single(hub.Recent.After(0));
        var stranger = await hub.NewClient().ConnectAsync(
            hub.Options(options => options.WithClientId("pi1/Other").WithCredentials(
                $"{hub.Identity.GatewayHost}/pi1/Other/?api-version=2020-09-30", hub.TokenOf(hub.Sender!))), Token);
        Assert.Equal(MqttClientConnectResultCode.NotAuthorized, stranger.ResultCode);
    }

    [Fact]
    public async Task Metrics_page_is_served()
    {
        await using var hub = await SimulatedHub.StartAsync();
        await using var page = new MetricsPage(hub.Upstream, hub.Faults);
        await page.StartAsync(Token);
        await hub.ConnectAsync();
        using var http = new HttpClient();

        var text = await http.GetStringAsync(new Uri(page.Url), Token);

        Assert.Matches("""edgehub_queue_length\{iothub="stubhub.azure-devices.net",edge_device="pi1",instance_number="[^"]+",endpoint="iothub",priority="2000000000",ms_telemetry="True"\} 0\n""", text);
    }

    /// <summary>The queue lengths on the metrics page, by priority.</summary>
    static IEnumerable<int> Gauge(SimulatedHub hub) => Page(hub).Split('\n')
        .Where(line => line.StartsWith("edgehub_queue_length{", StringComparison.Ordinal))
        .Select(line => int.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture));

    static string Page(SimulatedHub hub) => hub.Upstream.Page();

    /// <summary>The last route has priority 0, the one before it 1, and so on.</summary>
    static RoutingTable Routes(params string[] texts) =>
        new([.. texts.Select((text, index) => Route.Parse($"r{index}", text, texts.Length - 1 - index, null))]);

    static ChannelReader<(string Topic, string Payload)> Received(IMqttClient client)
    {
        var channel = Channel.CreateUnbounded<(string, string)>();
        client.ApplicationMessageReceivedAsync += e =>
        {
            channel.Writer.TryWrite((e.ApplicationMessage.Topic, Encoding.UTF8.GetString(e.ApplicationMessage.Payload)));
            return Task.CompletedTask;
        };
        return channel.Reader;
    }
}
