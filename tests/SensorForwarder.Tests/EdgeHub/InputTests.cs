using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>Messages to inputs of the module, over the connection to the simulator's edgeHub.</summary>
public sealed class InputTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static string Text(ReadOnlyMemory<byte> body) => Encoding.UTF8.GetString(body.Span);

    /// <summary>Records the messages that edgeHub considers acknowledged.</summary>
    static ConcurrentQueue<string> Acknowledged(HubWorld world)
    {
        var acknowledged = new ConcurrentQueue<string>();
        world.Hub.Inputs.Delivered = (_, body) => acknowledged.Enqueue(Encoding.UTF8.GetString(body));
        return acknowledged;
    }

    static void Send(HubWorld world, string body, params KeyValuePair<string, string?>[] properties) =>
        Assert.True(world.Hub.Inputs.TryEnqueue("weather", properties, "pi1", "Station", Encoding.UTF8.GetBytes(body)));

    [Fact]
    public async Task A_message_arrives_with_its_input_and_properties_and_is_acknowledged_once_accepted()
    {
        await using var world = await HubWorld.ConnectAsync();
        var acknowledged = Acknowledged(world);
        var (messages, taken) = (new ConcurrentQueue<InputMessage>(), new TaskCompletionSource<bool>());
        world.Handler.OnInput = (message, _) =>
        {
            messages.Enqueue(message);
            return taken.Task;
        };
        Send(world, "1", new("a b", "c/d&e=f+\u00fc"), new("empty", ""), new("none", null), new("$.mid", "m 1"));
        Send(world, "2");
        await Until.True(() => !messages.IsEmpty);
        var first = Assert.Single(messages);
        Assert.Equal(("weather", "1"), (first.Input, Text(first.Body)));
        Assert.Equal(
            [new("a b", "c/d&e=f+\u00fc"), new("empty", ""), new("none", null), new("$.mid", "m 1"), new("$.cdid", "pi1"), new("$.cmid", "Station")],
            first.Properties);
        Assert.Empty(acknowledged);

        // Methods and twin don't wait for an input.
        Assert.Equal(200, (await world.Connection.GetTwinAsync(Token)).Status);
        taken.SetResult(true);
        await Until.True(() => acknowledged.Count == 2);
        Assert.Equal(["1", "2"], acknowledged);
        Assert.Equal(["1", "2"], messages.Select(message => Text(message.Body)));
    }

    [Fact]
    public async Task A_message_that_the_handler_does_not_accept_is_not_acknowledged_and_is_redelivered()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(hubTime: clock);
        var (acknowledged, times) = (Acknowledged(world), 0);
        world.Handler.OnInput = (_, _) => Interlocked.Increment(ref times) switch
        {
            1 => Task.FromResult(false),
            2 => throw new InvalidOperationException("a fault of the handler"),
            _ => Task.FromResult(true),
        };
        await world.StartAsync();
        Send(world, "1");
        await Until.True(() => Volatile.Read(ref times) >= 1, clock, TimeSpan.FromSeconds(0.1));
        await Until.True(() => Volatile.Read(ref times) >= 3, clock, TimeSpan.FromSeconds(1));
        await Until.True(() => !acknowledged.IsEmpty, clock, TimeSpan.FromSeconds(0.1));
        Assert.Equal(["1"], acknowledged);
        Assert.Contains(world.Log.All, line => line.Contains("A message to the input weather could not be processed", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_message_is_redelivered_when_the_connection_is_lost_before_its_acknowledgement()
    {
        await using var world = await HubWorld.ConnectAsync();
        var (acknowledged, messages, taken) = (Acknowledged(world), new ConcurrentQueue<string>(), new TaskCompletionSource<bool>());
        world.Handler.OnInput = (message, _) =>
        {
            messages.Enqueue(Text(message.Body));
            return taken.Task;
        };
        Send(world, "1");
        await Until.True(() => !messages.IsEmpty);
        world.Hub.Cut("test");
        await Until.True(() => world.Handler.Connects == 2);

        // The handler still has the first delivery; the redelivery waits.
        Assert.Single(messages);
        taken.SetResult(true);
        await Until.True(() => acknowledged.Count == 1);
        Assert.Equal(["1", "1"], messages);
    }

    [Fact]
    public async Task An_acknowledgement_that_edgeHub_no_longer_expects_is_not_sent()
    {
        // edgeHub would assign it to the next message.
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        var (messages, first) = (new ConcurrentQueue<string>(), new TaskCompletionSource<bool>());
        var packets = new ConcurrentQueue<byte[]>();
        var welcome = new TaskCompletionSource<RawHub.Connection>();
        await using var hub = new RawHub(async connection =>
        {
            await connection.WelcomeAsync();
            welcome.SetResult(connection);
            while (true)
            {
                var packet = await connection.ReadPacketAsync();
                if (packet[0] == 0x40) packets.Enqueue(packet);
            }
        }, clock);
        using var connection = new EdgeHubConnection(
            WireTests.Identity(hub), new() { Transport = HubTransport.Mqtt }, clock, new Random(1), new LogLines().For<EdgeHubConnection>());
        var handler = new HubHandlerDouble
        {
            OnInput = (message, _) =>
            {
                messages.Enqueue(Text(message.Body));
                return messages.Count is 1 or 3 ? first.Task : Task.FromResult(true);
            },
        };
        connection.Handler = handler;
        await connection.StartAsync(Token);
        await connection.WaitUntilConnectedAsync(Token);
        var hubSide = await welcome.Task.WaitAsync(Token);

        // The second message has the packet id of the first, which must not be acknowledged then.
        await hubSide.PublishAsync("devices/pi1/modules/telemetry/inputs/in", "1"u8.ToArray(), packetId: 1);
        await Until.True(() => messages.Count == 1);
        await hubSide.PublishAsync("devices/pi1/modules/telemetry/inputs/in/", "2"u8.ToArray(), packetId: 1);
        await AllReceivedAsync(1);
        first.SetResult(true);
        await Until.True(() => packets.Count == 1);

        // The third message is accepted too late.
        first = new();
        await hubSide.PublishAsync("devices/pi1/modules/telemetry/inputs/in", "3"u8.ToArray(), packetId: 1);
        await Until.True(() => messages.Count == 3);
        clock.Advance(TimeSpan.FromSeconds(29));
        first.SetResult(true);
        await hubSide.PublishAsync("devices/pi1/modules/telemetry/inputs/in", "4"u8.ToArray(), packetId: 7);
        await Until.True(() => packets.Count == 2);
        Assert.Equal(["1", "2", "3", "4"], messages);
        Assert.Equal([1, 7], packets.Select(packet => packet[3]));
        await connection.StopAsync(Token);

        // Packets are processed in order.
        async Task AllReceivedAsync(int version)
        {
            await hubSide.PublishAsync($"$iothub/twin/PATCH/properties/desired/?$version={version}", "{}"u8.ToArray());
            await Until.True(() => handler.Patches.Any(patch => patch.Version == version));
        }
    }

    [Fact]
    public async Task A_stop_does_not_wait_for_a_message_in_processing_and_does_not_acknowledge_it()
    {
        await using var world = await HubWorld.ConnectAsync();
        var (acknowledged, began) = (Acknowledged(world), new TaskCompletionSource());
        world.Handler.OnInput = (_, _) =>
        {
            began.SetResult();
            return new TaskCompletionSource<bool>().Task;
        };
        Send(world, "1");
        await began.Task.WaitAsync(Token);
        await world.Connection.StopAsync(Token);
        Assert.Empty(acknowledged);
    }

    [Fact]
    public void A_device_and_a_module_without_a_gateway_have_no_inputs()
    {
        var module = new EdgeIdentity { HubHostName = "hub", DeviceId = "pi", ModuleId = "m", GatewayHostName = "gateway", Source = "test" };
        Assert.Equal("devices/pi/modules/m/inputs/#", HubTopics.Inputs(module));
        Assert.Null(HubTopics.Inputs(module with { ModuleId = null }));
        Assert.Null(HubTopics.Inputs(module with { GatewayHostName = null }));
        Assert.False(HubTopics.TryParseInput(module, "devices/pi/modules/m/inputs/", out _, out _));
        Assert.False(HubTopics.TryParseInput(module, "devices/pi/modules/other/inputs/in/a=b", out _, out _));
        Assert.True(HubTopics.TryParseInput(module, "devices/pi/modules/m/inputs/in/a=%zz%20&=b&&c/", out var input, out var properties));
        Assert.Equal(("in", 3), (input, properties.Count));
        Assert.Equal([new("a", "%zz "), new("", "b"), new("c", null)], properties);
    }
}
