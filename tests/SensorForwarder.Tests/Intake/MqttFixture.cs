using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using MQTTnet.Formatter;
using MQTTnet.Protocol;
using MQTTnet.Server;
using SensorForwarder.Buffer;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>A broker in this process, and subscriptions to it over a real buffer.</summary>
internal sealed class MqttFixture : IAsyncDisposable
{
    readonly ConcurrentQueue<ushort> _sent = [];
    readonly ConcurrentQueue<ushort> _acknowledged = [];
    readonly ConcurrentQueue<string> _subscribed = [];
    MqttWorld _world;
    MqttServer? _server;

    MqttFixture(IntakeFixture intake, TimeProvider clock, MqttOptions options)
    {
        Intake = intake;
        _world = new(options, "device-module", intake.Store, new(TimeProvider.System), clock, new Random(1), intake.Log.For<MqttIntake>())
        {
            DialClock = DialClock,
            Alarms = new(intake.Buffer),
        };
        Mqtt = new(_world);
    }

    public IntakeFixture Intake { get; }

    public MqttIntake Mqtt { get; private set; }

    /// <summary>The clock for timeouts of connecting, separate so that a slow machine does not look like a slow broker.</summary>
    public FakeTimeProvider DialClock { get; } = new();

    public MqttServer Server => _server!;

    public int Port { get; } = FreePort.Find();

    /// <summary>Packet ids of the messages that the broker has sent with QoS 1, in order; a repeated message has the same id.
    /// Without retained messages: each connection gets them, and leaves them unacknowledged if it ends immediately.</summary>
    public IReadOnlyCollection<ushort> Sent => _sent;

    /// <summary>Packet ids of the messages that were acknowledged, in order.</summary>
    public IReadOnlyCollection<ushort> Acknowledged => _acknowledged;

    /// <summary>Called when the broker has received an acknowledgement.</summary>
    public Action Acknowledging { get; set; } = static () => { };

    /// <summary>Topics that were subscribed (+) and unsubscribed (-).</summary>
    public IReadOnlyCollection<string> Subscribed => _subscribed;

    /// <summary>A topic for which the broker refuses every subscription.</summary>
    public string? RefusedTopic { get; set; }

    /// <summary>The check of a client that connects.</summary>
    public Func<ValidatingConnectionEventArgs, MqttConnectReasonCode> Validate { get; set; } = _ => MqttConnectReasonCode.Success;

    public SensorHealth Health => Mqtt.Health.Single();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <param name="options">Boot values.</param>
    /// <param name="clock">The clock of the intake; the buffer uses the system's clock.</param>
    /// <param name="limits">The limits of the buffer.</param>
    /// <param name="certificate">The broker's certificate; null: no TLS.</param>
    /// <param name="starts">Whether the broker is started.</param>
    /// <param name="intake">Limits of the intake.</param>
    public static async Task<MqttFixture> OpenAsync(
        MqttOptions? options = null, TimeProvider? clock = null, BufferLimits? limits = null, X509Certificate2? certificate = null, bool starts = true,
        IntakeOptions? intake = null)
    {
        clock ??= TimeProvider.System;
        var fixture = new MqttFixture(await IntakeFixture.OpenAsync(intake, clock, limits), clock, options ?? new());
        if (starts) await fixture.StartBrokerAsync(certificate);
        return fixture;
    }

    public async Task StartBrokerAsync(X509Certificate2? certificate = null)
    {
        var builder = new MqttServerOptionsBuilder().WithPersistentSessions();
        var options = certificate is null
            ? builder.WithDefaultEndpoint().WithDefaultEndpointPort(Port).WithDefaultEndpointBoundIPAddress(IPAddress.Loopback)
                .WithDefaultEndpointBoundIPV6Address(IPAddress.None)
            : builder.WithoutDefaultEndpoint().WithEncryptedEndpoint().WithEncryptedEndpointPort(Port).WithEncryptedEndpointBoundIPAddress(IPAddress.Loopback)
                .WithEncryptedEndpointBoundIPV6Address(IPAddress.None).WithEncryptionCertificate(certificate);
        _server = new MqttServerFactory().CreateMqttServer(options.Build());
        _server.ValidatingConnectionAsync += connection =>
        {
            connection.ReasonCode = Validate(connection);
            return Task.CompletedTask;
        };
        _server.ClientAcknowledgedPublishPacketAsync += acknowledgement =>
        {
            Acknowledging();
            _acknowledged.Enqueue(acknowledgement.PublishPacket.PacketIdentifier);
            return Task.CompletedTask;
        };
        _server.InterceptingOutboundPacketAsync += packet =>
        {
            if (packet.Packet is MQTTnet.Packets.MqttPublishPacket { QualityOfServiceLevel: MqttQualityOfServiceLevel.AtLeastOnce, Retain: false } publish)
                _sent.Enqueue(publish.PacketIdentifier);
            return Task.CompletedTask;
        };
        _server.InterceptingSubscriptionAsync += subscription =>
        {
            if (subscription.TopicFilter.Topic != RefusedTopic) return Task.CompletedTask;
            subscription.ProcessSubscription = false;
            subscription.Response.ReasonCode = MqttSubscribeReasonCode.NotAuthorized;
            return Task.CompletedTask;
        };
        _server.ClientSubscribedTopicAsync += subscription =>
        {
            _subscribed.Enqueue($"+{subscription.TopicFilter.Topic}");
            return Task.CompletedTask;
        };
        _server.ClientUnsubscribedTopicAsync += subscription =>
        {
            _subscribed.Enqueue($"-{subscription.TopicFilter}");
            return Task.CompletedTask;
        };
        await _server.StartAsync();
    }

    public Task ApplyAsync(params (string Name, string Options)[] sensors) => Mqtt.ApplyAsync(
        sensors.ToDictionary(sensor => sensor.Name, sensor => Settings(sensor.Options, sensor.Name)), Token);

    /// <summary>Subscribes, and waits until the broker has granted it.</summary>
    public async Task SubscribeAsync(string options = "\"topics\":[\"a/+\"],\"name\":\"{2}\"", string name = "things")
    {
        await ApplyAsync((name, options));
        await Until.True(() => Mqtt.Health.Any(health => health.State != SensorState.Starting && health.Name == name));
        var health = Mqtt.Health.Single(sensor => sensor.Name == name);
        Assert.True(health.State == SensorState.Working, health.Detail);
    }

    SensorSettings Settings(string options, string name) => SensorFixture.Settings(
        "mqtt", options.Contains("\"broker\"", StringComparison.Ordinal) ? options : $"\"broker\":\"mqtt://127.0.0.1:{Port}\",{options}", name);

    public Task PublishAsync(string topic, string payload, bool isRetained = false, int quality = 1) =>
        PublishAsync(topic, Encoding.UTF8.GetBytes(payload), isRetained, quality);

    public Task PublishAsync(string topic, byte[] payload, bool isRetained = false, int quality = 1) => Server.InjectApplicationMessage(
        new(new MQTTnet.MqttApplicationMessageBuilder().WithTopic(topic).WithPayload(payload).WithRetainFlag(isRetained)
            .WithQualityOfServiceLevel((MqttQualityOfServiceLevel)quality).Build())
        {
            SenderClientId = "test",
        },
        Token);

    /// <summary>Stops the module's part, and creates it again, as after a restart.</summary>
    /// <param name="between">Runs while the module's part is stopped.</param>
    public async Task RestartAsync(Func<Task> between)
    {
        await Mqtt.StopAsync(Token);
        Mqtt.Dispose();
        await Until.True(async () => (await Server.GetClientsAsync()).Count == 0);
        await between();
        _world = _world with { Alarms = new(Intake.Buffer) };
        Mqtt = new(_world);
    }

    /// <summary>Ends the module's connection; the broker keeps its session.</summary>
    public async Task DropAsync(string clientId = "device-module-things")
    {
        var before = Health.Failures;
        await Server.DisconnectClientAsync(clientId, new());
        await Until.True(() => Health.Failures > before);
    }

    public async Task<List<string>> StoredAsync(int count)
    {
        await Until.True(() => Intake.Stored().Count >= count);
        return Intake.Stored();
    }

    public static bool IsOld(ValidatingConnectionEventArgs connection) => connection.ProtocolVersion < MqttProtocolVersion.V500;

    public async ValueTask DisposeAsync()
    {
        await Mqtt.StopAsync(CancellationToken.None);
        Mqtt.Dispose();
        if (_server is not null)
        {
            await _server.StopAsync(new());
            _server.Dispose();
        }

        await Intake.DisposeAsync();
    }
}
