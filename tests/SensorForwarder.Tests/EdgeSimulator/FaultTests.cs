using System.Net.Sockets;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using MQTTnet;
using MQTTnet.Exceptions;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Simulator;

/// <summary>Each fault has its documented effect, and the ledger explains the duplicates that it causes.</summary>
public sealed class FaultTests
{
    static readonly TimeSpan Soon = TimeSpan.FromMilliseconds(200);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Blackout_cuts_connections_and_refuses_new_ones_until_it_ends()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var ended = Ended(client);

        hub.Faults.Update(f => f with { Blackout = true });

        await ended.WaitAsync(Token);
        using (var socket = new TcpClient())
        {
            var refused = await Assert.ThrowsAsync<SocketException>(() =>
                socket.ConnectAsync(hub.Identity.GatewayHost, GatewayAddress.Port, Token).AsTask());
            Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
        }

        hub.Faults.Update(f => f with { Blackout = false });
        await client.ConnectAsync(hub.Options(), Token);
        Assert.True(client.IsConnected);
    }

    [Fact]
    public async Task Duplicate_after_a_blackout_is_explained_by_the_blackout()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 3)), Token);

        hub.Faults.Update(f => f with { Blackout = true });
        hub.Faults.Update(f => f with { Blackout = false });
        var again = await hub.ConnectAsync();
        await again.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 5)), Token);

        var summary = hub.Ledger.Summary();
        Assert.Equal((5, 3, 3), (summary.Unique, summary.Duplicates, summary.DuplicatesExplained));
    }

    [Fact]
    public async Task Message_with_a_lost_PUBACK_is_counted_and_its_connection_stays_open()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        hub.Faults.Update(f => f with { LosePubacks = 1 });
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var lost = client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 2)), patience.Token);
        await Until.True(() => hub.Ledger.Summary().Unique == 2);
        await patience.CancelAsync();

        await Assert.ThrowsAnyAsync<Exception>(() => lost);
        var again = await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 2)), Token);

        Assert.True(again.IsSuccess);
        var summary = hub.Ledger.Summary();
        Assert.Equal((2, 2, 2), (summary.Unique, summary.Duplicates, summary.DuplicatesExplained));
    }

    [Fact]
    public async Task Swapped_PUBACKs_arrive_in_reverse_order()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = hub.NewClient();
        var pubacks = new List<ushort>();
        client.InspectPacketAsync += e =>
        {
            if (e.Direction == MQTTnet.Diagnostics.PacketInspection.MqttPacketFlowDirection.Inbound && e.Buffer[0] >> 4 == 4)
            {
                pubacks.Add((ushort)((e.Buffer[2] << 8) | e.Buffer[3]));
            }

            return Task.CompletedTask;
        };
        await client.ConnectAsync(hub.Options(), Token);
        hub.Faults.Update(f => f with { SwapPubacks = 1 });

        await Task.WhenAll(
            client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1)), Token),
            client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(2, 2)), Token));

        Assert.Equal([2, 1], pubacks);
    }

    [Fact]
    public async Task Dropped_message_is_acknowledged_and_counted_as_lost()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        hub.Faults.Update(f => f with { DropAcknowledged = 1 });

        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 2)), Token);
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(3, 4)), Token);

        Assert.Equal(2, hub.Ledger.Summary().Lost);
    }

    [Theory]
    [InlineData(3, 136)]
    [InlineData(4, 134)]
    [InlineData(5, 135)]
    public async Task CONNACK_has_the_commanded_return_code(int code, int reason)
    {
        await using var hub = await SimulatedHub.StartAsync();
        hub.Faults.Update(f => f with { Connack = code });

        Assert.Equal(reason, (int)(await hub.NewClient().ConnectAsync(hub.Options(), Token)).ResultCode);
    }

    [Fact]
    public async Task CONNECT_without_an_answer_times_out_and_succeeds_after_the_fault()
    {
        await using var hub = await SimulatedHub.StartAsync();
        hub.Faults.Update(f => f with { NoConnack = true });
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Token);
        patience.CancelAfter(Soon);

        await Assert.ThrowsAnyAsync<Exception>(() => hub.NewClient().ConnectAsync(hub.Options(), patience.Token));

        hub.Faults.Update(f => f with { NoConnack = false });
        Assert.True((await hub.ConnectAsync()).IsConnected);
    }

    [Fact]
    public async Task Half_open_connection_is_silent_and_is_closed_at_the_end_of_the_fault()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        var ended = Ended(client);
        hub.Faults.Update(f => f with { HalfOpen = true });
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Token);
        patience.CancelAfter(Soon);

        await Assert.ThrowsAnyAsync<Exception>(() => client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 1)), patience.Token));
        Assert.True(client.IsConnected);

        hub.Faults.Update(f => f with { HalfOpen = false });
        await ended.WaitAsync(Token);
        Assert.True((await hub.ConnectAsync()).IsConnected);
    }

    public static TheoryData<string> BadCertificates => [nameof(CertificateFault.Expired), nameof(CertificateFault.OtherHost), nameof(CertificateFault.Untrusted)];

    [Theory]
    [MemberData(nameof(BadCertificates))]
    public async Task Faulty_certificate_is_not_trusted_until_the_fault_ends(string fault)
    {
        await using var hub = await SimulatedHub.StartAsync();
        hub.Faults.Update(f => f with { Certificate = Enum.Parse<CertificateFault>(fault) });

        await Assert.ThrowsAsync<MqttCommunicationException>(() => hub.NewClient().ConnectAsync(hub.Options(), Token));

        hub.Faults.Update(f => f with { Certificate = CertificateFault.None });
        Assert.True((await hub.ConnectAsync()).IsConnected);
    }

    [Fact]
    public async Task Every_message_arrives_once_despite_latency_and_limited_bandwidth()
    {
        await using var hub = await SimulatedHub.StartAsync();
        hub.Faults.Update(f => f with { LatencyMilliseconds = 20, BandwidthBytesPerSecond = 200_000 });
        var client = await hub.ConnectAsync();

        await Task.WhenAll(Enumerable.Range(0, 20).Select(i =>
        {
            if (i == 10)
            {
                hub.Faults.Update(_ => new FaultSettings());
            }

            return client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch((i * 10) + 1, (i * 10) + 10)), Token);
        }));

        Assert.Equal((200, 0), (hub.Ledger.Summary().Unique, hub.Ledger.Summary().Duplicates));
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
}
