using System.Collections.Concurrent;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Intake;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>Kind mqtt against broken, overloaded and hostile brokers: the module keeps running, memory stays bounded, and the log says what is wrong.</summary>
public sealed class HostileBrokerTests
{
    const string Topics = "\"topics\":[\"a/+\"],\"name\":\"{2}\"";

    // Longer than any back-off.
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    static readonly byte[] Largest = Encoding.UTF8.GetBytes($"\"{new string('x', IntakeLimits.MaxPayloadBytes - 2)}\"");

    static Task<MqttFixture> OpenAsync(TimeProvider clock) => MqttFixture.OpenAsync(clock: clock, starts: false);

    static Task SubscribeAsync(MqttFixture module, RawBroker broker) => module.ApplyAsync(("things", $"\"broker\":\"mqtt://127.0.0.1:{broker.Port}\",{Topics}"));

    static double Value(string reading) => (double)JsonNode.Parse(reading)!["values"]!["value"]!;

    [Theory]
    [InlineData("30 FF FF FF 7F", "it sends a packet of at least 268435455 bytes")] // 256 MB
    [InlineData("32 81 80 80 02 00", "it sends a packet of at least 4194305 bytes; the limit is 4194304")]
    [InlineData("30 FF FF FF FF FF", "it sends a packet of at least")]
    [InlineData("30 80 80 80 80 01", "")]
    [InlineData("F0 01 00", "")]
    [InlineData("30 05 00 FF 61 62 63", "")] // a topic longer than its packet
    [InlineData("32 04 00 01 61 00", "")] // ends within the packet id
    [InlineData("C0 00", "")] // a ping, which only clients send
    [InlineData("48 54 54 50 2F 31 2E 31", "")]
    [InlineData("", "the connection was closed")]
    public async Task An_invalid_packet_ends_the_connection_but_not_the_source(string packet, string problem)
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = new RawBroker(async connection =>
        {
            await connection.ConnectAsync();
            await connection.SubscribeAsync();
            if (connection.Number <= 2)
            {
                await connection.SendAsync(Convert.FromHexString(packet.Replace(" ", "", StringComparison.Ordinal)));
                return;
            }

            await connection.SendAsync(RawConnection.Publish(7, "a/b", "1"u8.ToArray()));
            Assert.Equal(7, await connection.AcknowledgedAsync());
            await connection.ClosedAsync();
        });
        await using var module = await OpenAsync(clock);
        await SubscribeAsync(module, broker);
        await Until.True(() => module.Health.Failures > 0);
        Assert.StartsWith($"mqtt://127.0.0.1:{broker.Port}: {problem}", module.Health.Detail, StringComparison.Ordinal);
        await Until.True(() => module.Intake.Stored().Count == 1, clock, Minute);
        Assert.Equal((SensorState.Working, 2L), (module.Health.State, module.Health.Failures));
    }

    [Theory]
    [InlineData("48 54 54 50 2F 31 2E 31 20 34 30 30 0D 0A")] // HTTP/1.1 400
    [InlineData("20 FF FF FF 7F")]
    [InlineData("")]
    public async Task A_server_that_is_not_an_MQTT_broker_is_reported_as_failing(string answer)
    {
        await using var broker = new RawBroker(async connection =>
        {
            await connection.ReadAsync(0x10);
            await connection.SendAsync(Convert.FromHexString(answer.Replace(" ", "", StringComparison.Ordinal)));
        });
        await using var module = await OpenAsync(new FakeTimeProvider(IntakeFixture.Noon));
        await SubscribeAsync(module, broker);
        await Until.True(() => module.Health.State == SensorState.Failing);
        Assert.StartsWith($"mqtt://127.0.0.1:{broker.Port}: ", module.Health.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, "CONNECT")]
    [InlineData(true, "SUBSCRIBE")]
    public async Task A_broker_that_never_answers_times_out(bool connects, string step)
    {
        var asked = new TaskCompletionSource();
        await using var broker = new RawBroker(async connection =>
        {
            if (connects) await connection.ConnectAsync();
            await connection.ReadAsync(connects ? (byte)0x80 : (byte)0x10);
            asked.TrySetResult();
            await connection.ClosedAsync();
        });
        await using var module = await OpenAsync(new FakeTimeProvider(IntakeFixture.Noon));
        await SubscribeAsync(module, broker);

        // The clock advances only from then on: on a busy machine an earlier step could time out.
        await asked.Task.WaitAsync(TestContext.Current.CancellationToken);
        await Until.True(() => module.Health.State == SensorState.Failing, module.DialClock, TimeSpan.FromSeconds(1));
        Assert.Equal(
            ("timeout", $"mqtt://127.0.0.1:{broker.Port}: timed out waiting for the answer to {step}"), (module.Health.Reason, module.Health.Detail));
    }

    [Fact]
    public async Task A_broker_that_sends_too_many_unacknowledged_messages_is_disconnected_and_no_message_is_lost()
    {
        const int Messages = 5_000;
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        var acknowledged = new ConcurrentQueue<ushort>();
        await using var broker = new RawBroker(async connection =>
        {
            await connection.ConnectAsync();
            await connection.SubscribeAsync();
            var reading = Task.Run(async () =>
            {
                while (true) acknowledged.Enqueue(await connection.AcknowledgedAsync());
            });
            var all = new MemoryStream();
            for (var i = acknowledged.Count + 1; i <= Messages; i++) all.Write(RawConnection.Publish((ushort)i, "a/b", Encoding.UTF8.GetBytes($"{i}")));
            await connection.SendAsync(all.ToArray());
            await reading;
        });
        await using var module = await OpenAsync(clock);
        await using (var other = new SqliteConnection($"Data Source={module.Intake.Directory}/telemetry.db;Pooling=False"))
        {
            other.Open();
            using var command = other.CreateCommand();
            command.CommandText = "BEGIN IMMEDIATE";
            command.ExecuteNonQuery();
            await SubscribeAsync(module, broker);
            await Until.True(() => module.Intake.Buffer.GetStatus().Storage == StorageState.Busy
                && module.Intake.Source("mqtt things").Reason?.StartsWith("more messages arrived", StringComparison.Ordinal) == true);
            Assert.Empty(acknowledged);
            command.CommandText = "ROLLBACK";
            command.ExecuteNonQuery();
        }

        await Until.True(() => module.Health.Failures == 1);
        Assert.EndsWith(": more messages arrived than can be stored at once; the broker sends them again", module.Health.Detail, StringComparison.Ordinal);
        await Until.True(() => acknowledged.Count == Messages, clock, Minute);

        // Each connection made progress, and nothing was stored twice.
        Assert.Equal(Enumerable.Range(1, Messages), acknowledged.Select(id => (int)id));
        Assert.Equal(Enumerable.Range(1, Messages).Select(i => (double)i), module.Intake.Stored().Select(Value));
    }

    [Fact]
    public async Task Messages_that_are_far_too_large_are_refused_and_do_not_block_later_ones()
    {
        // Together more than the memory limit.
        const int Messages = 10;
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        var last = 0;
        await using var broker = new RawBroker(async connection =>
        {
            await connection.ConnectAsync();
            await connection.SubscribeAsync();
            var sending = Task.Run(async () =>
            {
                for (var i = last + 1; i <= Messages; i++) await connection.SendAsync(RawConnection.Publish((ushort)i, "a/b", new byte[3 << 20]));
                await connection.SendAsync(RawConnection.Publish(Messages + 1, "a/b", "1"u8.ToArray()));
            });
            while (true)
            {
                var id = await connection.AcknowledgedAsync();
                Assert.Equal(last + 1, id);
                last = id;
            }
        });
        await using var module = await OpenAsync(clock);
        await SubscribeAsync(module, broker);
        await Until.True(() => last == Messages + 1, clock, Minute);
        Assert.Equal([1], module.Intake.Stored().Select(Value));
        Assert.Equal(Messages, module.Intake.Source("mqtt things").Refused[IntakeOutcome.TooLarge]);
    }

    [Fact]
    public async Task Messages_sent_before_the_answer_to_SUBSCRIBE_do_not_occupy_memory_after_a_reconnect()
    {
        // Twice the memory limit.
        const int Each = 60;
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        var isAcknowledged = false;
        await using var broker = new RawBroker(async connection =>
        {
            await connection.ConnectAsync();
            if (connection.Number <= 3)
            {
                for (ushort i = 1; i <= Each; i++) await connection.SendAsync(RawConnection.Publish(i, "a/b", Largest));
                await connection.ReadAsync(0x80);
                return;
            }

            await connection.SubscribeAsync();
            await connection.SendAsync(RawConnection.Publish(1, "a/b", Largest));
            isAcknowledged = await connection.AcknowledgedAsync() == 1;
            await connection.ClosedAsync();
        });
        await using var module = await OpenAsync(clock);
        await SubscribeAsync(module, broker);
        await Until.True(() => isAcknowledged, clock, Minute);
        Assert.Single(module.Intake.Stored());
        Assert.Equal(3, module.Health.Failures);
    }
}
