using System.Net.Sockets;
using EdgeSimulator.Hub;
using MQTTnet;
using MQTTnet.Exceptions;

namespace SensorForwarder.Tests.Simulator;

/// <summary>Which connections edgeHub accepts, refuses and closes.</summary>
public sealed class ConnectionTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Client_with_a_valid_token_is_accepted()
    {
        await using var hub = await SimulatedHub.StartAsync();

        await hub.ConnectAsync();

        Assert.True(hub.Hub.IsConnected);
    }

    [Fact]
    public async Task AMQP_connection_is_closed_at_once_and_the_log_says_to_use_MQTT()
    {
        await using var hub = await SimulatedHub.StartAsync();

        for (var attempt = 0; attempt < 2; attempt++)
        {
            // The reset may arrive before the client knows that it is connected.
            using var client = new TcpClient();
            var end = await Assert.ThrowsAnyAsync<Exception>(async () =>
            {
                await client.ConnectAsync(hub.Address, GatewayAddress.AmqpPort, Token);
                await client.GetStream().ReadExactlyAsync(new byte[1], Token);
            });
            Assert.True(end is SocketException or IOException, end.ToString());
        }

        Assert.Single(hub.Events, text => text.Contains("5671 for AMQP, which this simulator does not speak: use MQTT", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Token_signed_with_a_wrong_key_is_not_authorised()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var token = hub.Token(TimeProvider.System.GetUtcNow().AddHours(1), key: Convert.ToBase64String(new byte[32]));

        await RefusedAsync(hub, 5, o => o.WithCredentials("localhost/pi1/telemetry/?api-version=x", token));
    }

    [Fact]
    public async Task Expired_token_is_not_authorised()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var token = hub.Token(TimeProvider.System.GetUtcNow().AddMinutes(-6));

        await RefusedAsync(hub, 5, o => o.WithCredentials("localhost/pi1/telemetry/?api-version=x", token));
    }

    [Fact]
    public async Task Client_id_other_than_the_user_name_is_not_authorised()
    {
        await using var hub = await SimulatedHub.StartAsync();

        await RefusedAsync(hub, 5, o => o.WithClientId("pi1/other"));
    }

    [Fact]
    public async Task User_name_without_an_api_version_is_refused_with_the_return_code_of_edgeHub()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var token = hub.Token(TimeProvider.System.GetUtcNow().AddHours(1));

        await RefusedAsync(hub, 3, o => o.WithCredentials("localhost/pi1/telemetry/", token));
    }

    [Fact]
    public async Task MQTT_5_connection_is_refused()
    {
        await using var hub = await SimulatedHub.StartAsync();

        await RefusedAsync(hub, 132, o => o.WithProtocolVersion(MQTTnet.Formatter.MqttProtocolVersion.V500));
    }

    [Fact]
    public async Task Certificate_is_not_trusted_without_the_trust_bundle()
    {
        await using var hub = await SimulatedHub.StartAsync();

        await Assert.ThrowsAsync<MqttCommunicationException>(() =>
            hub.NewClient().ConnectAsync(hub.Options(o => o.WithTlsOptions(tls => tls.UseTls())), Token));
    }

    [Fact]
    public async Task Newest_connection_with_the_same_id_wins()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var older = await hub.ConnectAsync();
        var ended = Ended(older);

        var newer = await hub.ConnectAsync();

        await ended.WaitAsync(Token);
        Assert.True(newer.IsConnected);
        Assert.True((await newer.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1)), Token)).IsSuccess);
    }

    [Fact]
    public async Task Connection_is_closed_when_its_token_expires()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var ended = Ended(await hub.ConnectAsync());

        hub.Faults.Update(f => f with { TokenClockSkewSeconds = 4000 });

        await ended.WaitAsync(Token);
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, false)]
    public async Task Packet_of_up_to_262144_bytes_is_accepted_and_a_larger_one_ends_the_connection(int more, bool taken)
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var ended = Ended(client);
        var topic = "devices/pi1/modules/telemetry/messages/events/";

        // Fixed header 4, topic length 2, topic, packet id 2, payload.
        var payload = new byte[PublishIntake.PacketMaxBytes - 8 - topic.Length + more];
        var message = new MqttApplicationMessageBuilder().WithTopic(topic).WithPayload(payload)
            .WithQualityOfServiceLevel(MQTTnet.Protocol.MqttQualityOfServiceLevel.AtLeastOnce).Build();

        if (taken)
        {
            await client.PublishAsync(message, Token);
            Assert.True(client.IsConnected);
        }
        else
        {
            await Assert.ThrowsAnyAsync<Exception>(() => client.PublishAsync(message, Token));
            await ended.WaitAsync(Token);
        }
    }

    [Fact]
    public async Task Unknown_topic_and_malformed_properties_are_acknowledged_and_dropped()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();

        var unknown = SimulatedHub.Telemetry("{}");
        unknown.Topic = "somewhere/else";
        Assert.True((await client.PublishAsync(unknown, Token)).IsSuccess);
        Assert.True((await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1), "a=b=c/"), Token)).IsSuccess);

        Assert.Equal(0, hub.Ledger.Summary().Messages);
        Assert.Equal(2, hub.Events.Count(text => text.StartsWith("acknowledged and dropped", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Twin_request_without_a_request_id_ends_the_connection()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var ended = Ended(client);

        await client.PublishAsync(new MqttApplicationMessageBuilder().WithTopic("$iothub/twin/GET/").Build(), Token);

        await ended.WaitAsync(Token);
    }

    static Task Ended(IMqttClient client)
    {
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        client.DisconnectedAsync += _ =>
        {
            ended.TrySetResult();
            return Task.CompletedTask;
        };
        return ended.Task;
    }

    static async Task RefusedAsync(SimulatedHub hub, int code, Action<MqttClientOptionsBuilder> change)
    {
        // MQTTnet maps return codes of MQTT 3.1.1 to reason codes of MQTT 5: 3 to 136, 4 to 134, 5 to 135.
        var result = await hub.NewClient().ConnectAsync(hub.Options(change), Token);

        var reason = code switch { 3 => 136, 4 => 134, 5 => 135, _ => code };
        Assert.Equal(reason, (int)result.ResultCode);
        Assert.Single(hub.Events, text => text.StartsWith("connection refused", StringComparison.Ordinal));
        Assert.False(hub.Hub.IsConnected);
    }
}
