using System.Text;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using EdgeSimulator.Hub;
using MQTTnet;
using MQTTnet.Protocol;

namespace SensorForwarder.Tests.Simulator;

/// <summary>The exact exchange with edgeHub, with MQTTnet's client over TLS that trusts only the trust
/// bundle.</summary>
public sealed class ConversationTests
{
    [Fact]
    public async Task Telemetry_is_counted_before_it_is_acknowledged()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();

        var result = await client.PublishAsync(
            SimulatedHub.Telemetry(SimulatedHub.Batch(1, 20), "%24.mid=m0&%24.on=out1&a%20b=c%2Fd%26e/"), TestContext.Current.CancellationToken);

        Assert.True(result.IsSuccess);
        Assert.Equal(20, hub.Ledger.Summary().Unique);
        var message = Assert.Single(hub.Recent.After(0));
        Assert.Equal("m0", message.Properties["$.mid"]);
        Assert.Equal("c/d&e", message.Properties["a b"]);
    }

    [Fact]
    public async Task Twin_is_read_desired_changes_are_pushed_and_reported_properties_are_patched()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var received = Received(client);
        await SubscribeAsync(client, TwinEndpoint.ResponseFilter, TwinEndpoint.DesiredFilter);

        await PublishAsync(client, "$iothub/twin/GET/?$rid=a-1", "");
        var got = await received.ReadAsync(TestContext.Current.CancellationToken);
        Assert.Equal("$iothub/twin/res/200/?$rid=a-1", got.Topic);
        Assert.Equal("""{"desired":{"$version":1},"reported":{"$version":1}}""", got.Payload);

        hub.Twin.PatchDesired(JsonNode.Parse("""{"batchSize":5}""")!.AsObject());
        var pushed = await received.ReadAsync(TestContext.Current.CancellationToken);
        Assert.Equal("$iothub/twin/PATCH/properties/desired/?$version=2", pushed.Topic);
        Assert.Equal("""{"batchSize":5,"$version":2}""", pushed.Payload);

        await PublishAsync(client, "$iothub/twin/PATCH/properties/reported/?$rid=B2", """{"batchSize":{"value":5,"ac":200,"av":2}}""");
        var confirmed = await received.ReadAsync(TestContext.Current.CancellationToken);
        Assert.Equal(("$iothub/twin/res/204/?$rid=B2", ""), confirmed);
        Assert.Equal(5, (int)hub.Twin.Document()["reported"]!["batchSize"]!["value"]!);
    }

    [Theory]
    [InlineData("no json", 500)]
    [InlineData("""{"a.b":1}""", 400)]
    [InlineData("""{"list":[null]}""", 400)]
    public async Task Invalid_reported_patch_is_refused_with_the_status_of_edgeHub(string patch, int status)
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var received = Received(client);
        await SubscribeAsync(client, TwinEndpoint.ResponseFilter);

        await PublishAsync(client, "$iothub/twin/PATCH/properties/reported/?$rid=1", patch);

        var answer = await received.ReadAsync(TestContext.Current.CancellationToken);
        Assert.Equal($"$iothub/twin/res/{status}/?$rid=1", answer.Topic);
    }

    [Fact]
    public async Task Concurrent_method_calls_get_the_answer_with_their_request_id()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        client.ApplicationMessageReceivedAsync += async e =>
        {
            var (name, requestId) = (e.ApplicationMessage.Topic.Split('/')[3], e.ApplicationMessage.Topic.Split("?$rid=")[1]);
            await PublishAsync(client, $"$iothub/methods/res/201/?$rid={requestId}", $$"""{"name":"{{name}}"}""");
        };
        await SubscribeAsync(client, MethodEndpoint.Filter);

        var results = await Task.WhenAll(new[] { "ping", "getStatus" }.Select(name =>
            hub.Hub.Methods.InvokeAsync(name, new JsonObject(), TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken)));

        Assert.All(results, result => Assert.Equal((MethodOutcome.Answered, 201), (result.Outcome, result.Status)));
        Assert.Equal(["ping", "getStatus"], results.Select(result => (string)result.Payload!["name"]!));
    }

    [Fact]
    public async Task Method_call_without_a_module_has_the_outcome_not_connected()
    {
        await using var hub = await SimulatedHub.StartAsync();

        var result = await hub.Hub.Methods.InvokeAsync("ping", null, TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);

        Assert.Equal(MethodOutcome.NotConnected, result.Outcome);
    }

    [Fact]
    public async Task Method_without_an_answer_times_out()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        await SubscribeAsync(client, MethodEndpoint.Filter);

        var result = await hub.Hub.Methods.InvokeAsync("ping", null, TimeSpan.FromMilliseconds(1), TestContext.Current.CancellationToken);

        Assert.Equal((MethodOutcome.TimedOut, 504), (result.Outcome, result.Status));
    }

    [Fact]
    public async Task Subscriptions_survive_a_reconnect()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var first = await hub.ConnectAsync();
        await SubscribeAsync(first, TwinEndpoint.DesiredFilter);
        hub.Hub.Cut("test");

        var second = hub.NewClient();
        var received = Received(second);
        var accepted = await second.ConnectAsync(hub.Options(), TestContext.Current.CancellationToken);
        Assert.True(accepted.IsSessionPresent);

        hub.Twin.PatchDesired(JsonNode.Parse("""{"x":1}""")!.AsObject());
        Assert.Equal("""{"x":1,"$version":2}""", (await received.ReadAsync(TestContext.Current.CancellationToken)).Payload);
    }

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

    static async Task SubscribeAsync(IMqttClient client, params string[] filters)
    {
        var options = new MqttClientSubscribeOptionsBuilder();
        foreach (var filter in filters)
        {
            options.WithTopicFilter(filter, MqttQualityOfServiceLevel.AtLeastOnce);
        }

        await client.SubscribeAsync(options.Build(), TestContext.Current.CancellationToken);
    }

    static Task<MqttClientPublishResult> PublishAsync(IMqttClient client, string topic, string payload) =>
        client.PublishAsync(
            new MqttApplicationMessageBuilder().WithTopic(topic).WithPayload(payload).Build(), TestContext.Current.CancellationToken);
}
