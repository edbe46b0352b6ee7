using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Time.Testing;
using MQTTnet.Protocol;
using SensorForwarder.Buffer;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Net;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>Kind mqtt against a broker in this process: acknowledgements, connections and sessions.</summary>
public sealed class MqttIntakeTests
{
    // Longer than any back-off.
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static double Value(string reading) => (double)JsonNode.Parse(reading)!["values"]!["value"]!;

    static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);

    [Fact]
    public async Task Messages_are_stored_and_acknowledged_in_order()
    {
        await using var broker = await MqttFixture.OpenAsync();
        await broker.SubscribeAsync();
        for (var i = 0; i < 50; i++) await broker.PublishAsync("a/b", Number(i));
        await Until.True(() => broker.Acknowledged.Count == 50);
        Assert.Equal(broker.Sent, broker.Acknowledged);
        Assert.Equal(Enumerable.Range(0, 50).Select(i => (double)i), broker.Intake.Stored().Select(Value));
        Assert.StartsWith("{\"sensor\":\"b\",\"kind\":\"mqtt\",\"time\":\"", broker.Intake.Stored()[0], StringComparison.Ordinal);

        var source = broker.Intake.Source("mqtt things");
        Assert.Equal((50, 0), (source.Accepted, source.Refused.Count));
        Assert.Equal((SensorState.Working, 50L, 0L), (broker.Health.State, broker.Health.Readings, broker.Health.Failures));
        Assert.Equal(["b"], broker.Intake.Store.Sources.Sensors);
    }

    [Fact]
    public async Task Messages_are_not_acknowledged_before_they_are_committed_and_a_lost_connection_loses_none()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock);
        await broker.SubscribeAsync();
        await using (var other = new SqliteConnection($"Data Source={broker.Intake.Directory}/telemetry.db;Pooling=False"))
        {
            other.Open();
            using var command = other.CreateCommand();
            command.CommandText = "BEGIN IMMEDIATE";
            command.ExecuteNonQuery();
            for (var i = 0; i < 3; i++) await broker.PublishAsync("a/b", Number(i));
            await Until.True(() => broker.Sent.Count == 3 && broker.Intake.Buffer.GetStatus().Storage == StorageState.Busy);
            Assert.Empty(broker.Acknowledged);

            // Messages that were not acknowledged are sent again, even if they were stored.
            await broker.DropAsync();
            Assert.Empty(broker.Acknowledged);
            command.CommandText = "ROLLBACK";
            command.ExecuteNonQuery();
        }

        await Until.True(() => broker.Acknowledged.Count >= 3, clock, TimeSpan.FromSeconds(1));
        Assert.Equal([0, 1, 2], broker.Intake.Stored().Select(Value).Distinct().Order());
    }

    [Fact]
    public async Task While_the_buffer_is_full_messages_are_not_acknowledged()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(
            clock: clock, limits: BufferFixture.AtOnce with { MaxBytes = 1 << 20, WhenFull = WhenFull.RejectNew });
        await broker.SubscribeAsync();
        var random = new Random(1);
        var noise = new byte[3_000];
        while (broker.Intake.Buffer.GetStatus().Storage == StorageState.Ok)
        {
            random.NextBytes(noise);
            await broker.Intake.SendAsync($"\"{Convert.ToBase64String(noise)}\"");
        }

        for (var i = 0; i < 20; i++) await broker.PublishAsync("a/b", Number(i));
        await Until.True(() => broker.Intake.Source("mqtt things").Refused.ContainsKey(IntakeOutcome.Wait));
        Assert.Empty(broker.Acknowledged);
        Assert.Contains("the buffer is full", broker.Intake.Source("mqtt things").Reason, StringComparison.Ordinal);

        await broker.Intake.Buffer.AcknowledgeAsync(1, broker.Intake.Buffer.LastCommittedId, Token);
        await Until.True(() => broker.Intake.Buffer.GetStatus().Storage == StorageState.Ok);
        await Until.True(() => broker.Acknowledged.Count == 20, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(broker.Sent, broker.Acknowledged);
        Assert.Equal(Enumerable.Range(0, 20).Select(i => (double)i), broker.Intake.Stored().Select(Value).Order());
    }

    [Fact]
    public async Task A_source_above_its_rate_is_slowed_down_and_loses_no_message()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock, intake: new() { ReadingsPerSecond = 1 });
        await broker.SubscribeAsync();
        for (var i = 0; i < 15; i++) await broker.PublishAsync("a/b", Number(i));
        await Until.True(() => broker.Intake.Source("mqtt things").Refused.ContainsKey(IntakeOutcome.TooMuch));
        Assert.InRange(broker.Acknowledged.Count, 0, 11);
        await Until.True(() => broker.Acknowledged.Count == 15, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(Enumerable.Range(0, 15).Select(i => (double)i), broker.Intake.Stored().Select(Value).Order());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_retained_message_is_stored_once_however_often_the_connection_is_reopened(bool isOld)
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock);
        broker.Validate = connection => isOld && !MqttFixture.IsOld(connection) ? MqttConnectReasonCode.UnsupportedProtocolVersion : MqttConnectReasonCode.Success;
        await broker.PublishAsync("a/b", "21.4", isRetained: true);
        await broker.SubscribeAsync();
        await Until.True(() => broker.Acknowledged.Count == 1);
        for (var i = 0; i < 3; i++)
        {
            await broker.DropAsync();
            await Until.True(() => broker.Health.State == SensorState.Working, clock, Minute);
        }

        // The same value in a live message is a new reading; as a retained message after a reconnect it is not.
        await broker.PublishAsync("a/b", "21.4", isRetained: true);
        await broker.StoredAsync(2);
        await Until.True(() => broker.Sent.All(broker.Acknowledged.Contains));
        await broker.DropAsync();
        await Until.True(() => broker.Health.State == SensorState.Working, clock, Minute);
        await broker.PublishAsync("a/c", "7");
        await Until.True(() => broker.Intake.Stored().Any(reading => reading.Contains("\"c\"", StringComparison.Ordinal)));
        var stored = broker.Intake.Stored();
        Assert.Equal([21.4, 21.4, 7], stored.Select(Value));
        Assert.EndsWith("\"values\":{\"value\":21.4},\"retained\":true}", stored[0], StringComparison.Ordinal);
        Assert.DoesNotContain("retained", stored[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_retained_message_that_follows_the_same_live_value_is_not_stored()
    {
        var isAcknowledged = false;
        await using var broker = new RawBroker(async connection =>
        {
            await connection.ConnectAsync();
            await connection.SubscribeAsync();
            await connection.SendAsync(
            [
                .. RawConnection.Publish(1, "a/b", "7"u8.ToArray()), .. RawConnection.Publish(2, "a/c", "8"u8.ToArray()),
                .. RawConnection.Publish(3, "a/b", "7"u8.ToArray(), isRetained: true), .. RawConnection.Publish(4, "a/c", "9"u8.ToArray(), isRetained: true),
            ]);
            for (var id = 1; id <= 4; id++) Assert.Equal(id, await connection.AcknowledgedAsync());
            isAcknowledged = true;
            await connection.ClosedAsync();
        });
        await using var module = await MqttFixture.OpenAsync(starts: false);
        await module.SubscribeAsync($"\"broker\":\"mqtt://127.0.0.1:{broker.Port}\",\"topics\":[\"a/+\"]");
        await Until.True(() => isAcknowledged);
        Assert.Equal([7, 8, 9], module.Intake.Stored().Select(Value));
    }

    [Fact]
    public async Task After_a_restart_messages_queued_by_the_broker_are_stored_and_retained_ones_not_again()
    {
        await using var broker = await MqttFixture.OpenAsync(limits: BufferFixture.AtOnce);
        await broker.PublishAsync("a/b", "21.4", isRetained: true);
        await broker.SubscribeAsync();
        await Until.True(() => broker.Acknowledged.Count == 1);
        await broker.RestartAsync(async () =>
        {
            for (var i = 0; i < 3; i++) await broker.PublishAsync("a/c", Number(i));
        });
        await broker.SubscribeAsync();
        await Until.True(() => broker.Acknowledged.Count == 4);
        Assert.Equal([21.4, 0, 1, 2], broker.Intake.Stored().Select(Value));
    }

    [Fact]
    public async Task A_broker_that_has_lost_the_session_is_logged()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock);
        await broker.SubscribeAsync();
        await broker.DropAsync();
        await Until.True(() => broker.Health.State == SensorState.Working, clock, Minute);
        Assert.False(broker.Intake.Log.Has("no longer has its session"));
        await (await broker.Server.GetSessionsAsync()).Single().DeleteAsync();
        await Until.True(() => broker.Intake.Log.Has($"mqtt://127.0.0.1:{broker.Port} no longer has its session"), clock, Minute);
        await Until.True(() => broker.Health.State == SensorState.Working);
        await broker.PublishAsync("a/b", "1");
        await broker.StoredAsync(1);
    }

    [Fact]
    public async Task Two_sensors_on_one_broker_each_receive_their_own_messages()
    {
        await using var broker = await MqttFixture.OpenAsync();
        await broker.ApplyAsync(("one", "\"topics\":[\"a/+\"],\"name\":\"one\""), ("two", "\"topics\":[\"a/b\",\"c\"],\"name\":\"two\""));
        await Until.True(() => broker.Mqtt.Health.Count(health => health.State == SensorState.Working) == 2);
        await broker.PublishAsync("a/b", "1");
        await broker.PublishAsync("a/x", "2");
        await broker.PublishAsync("c", "3");
        await Until.True(() => broker.Acknowledged.Count == 4);
        Assert.Equal(
            ["one 1", "one 2", "two 1", "two 3"],
            broker.Intake.Stored().Select(reading => $"{JsonNode.Parse(reading)!["sensor"]} {Number((int)Value(reading))}").Order());
        Assert.Equal((2, 2), (broker.Intake.Source("mqtt one").Accepted, broker.Intake.Source("mqtt two").Accepted));
    }

    [Fact]
    public async Task A_refused_topic_is_reported_and_retried_and_messages_of_other_topics_are_stored()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock);
        broker.RefusedTopic = "b/+";
        await broker.ApplyAsync(("things", "\"topics\":[\"a/+\",\"b/+\"],\"name\":\"{1}\""));
        await Until.True(() => broker.Health.State == SensorState.Failing);
        Assert.Equal(("denied", $"mqtt://127.0.0.1:{broker.Port} refuses the topic b/+"), (broker.Health.Reason, broker.Health.Detail));
        await broker.PublishAsync("a/b", "1");
        await Until.True(() => broker.Acknowledged.Count == 1);
        Assert.Equal((SensorState.Failing, 1L), (broker.Health.State, broker.Health.Failures));

        broker.RefusedTopic = null;
        await Until.True(() => broker.Health.State == SensorState.Working, clock, Minute);
        await broker.PublishAsync("b/b", "2");
        Assert.Equal([1, 2], (await broker.StoredAsync(2)).Select(Value));
    }

    [Fact]
    public async Task A_renamed_sensor_with_the_same_clientId_keeps_its_session()
    {
        await using var broker = await MqttFixture.OpenAsync();
        await broker.SubscribeAsync("\"topics\":[\"a/+\",\"b/+\"],\"clientId\":\"mine\"", "old");
        await broker.SubscribeAsync("\"topics\":[\"a/+\"],\"clientId\":\"mine\"", "new");
        await broker.PublishAsync("b/b", "1");
        await broker.PublishAsync("a/b", "2");
        Assert.Equal([2], (await broker.StoredAsync(1)).Select(Value));
        Assert.Equal(["mine"], (await broker.Server.GetSessionsAsync()).Select(session => session.Id));
        Assert.False(broker.Intake.Log.Has("has ended"));
        Assert.Equal(["mqtt new"], broker.Intake.Store.Sources.Status.Select(source => source.Name));
        Assert.Contains("-b/+", broker.Subscribed);
    }

    [Fact]
    public async Task A_message_that_can_never_be_stored_is_counted_and_does_not_block_later_ones()
    {
        await using var broker = await MqttFixture.OpenAsync();
        await broker.SubscribeAsync();
        await broker.PublishAsync("a/b", new byte[IntakeLimits.MaxPayloadBytes + 1]);
        await broker.PublishAsync("a/" + new string('x', 300), "2");
        await broker.PublishAsync("a/b", ""); // a retained message was deleted
        await broker.PublishAsync("a/b", "4", quality: 0);
        await broker.PublishAsync("a/b", "5");
        Assert.Equal([2, 4, 5], (await broker.StoredAsync(3)).Select(Value));
        await Until.True(() => broker.Acknowledged.Count == 4);
        var source = broker.Intake.Source("mqtt things");
        Assert.Equal((3L, 1L), (source.Accepted, source.Refused[IntakeOutcome.TooLarge]));
        Assert.Equal($"it has {IntakeLimits.MaxPayloadBytes + 1} bytes; the limit is {IntakeLimits.MaxPayloadBytes}", source.Reason);
        Assert.Equal(IntakeLimits.MaxNameLength, ((string)JsonNode.Parse(broker.Intake.Stored()[0])!["sensor"]!).Length);
    }

    [Fact]
    public async Task Changed_settings_reconnect_without_loss_and_removed_sensors_end_their_sessions()
    {
        await using var broker = await MqttFixture.OpenAsync();
        await broker.SubscribeAsync("\"topics\":[\"a/+\",\"b/+\"],\"name\":\"{2}\"");
        var sending = Task.Run(async () =>
        {
            for (var i = 0; i < 200; i++) await broker.PublishAsync("a/x", Number(i));
        }, Token);
        await broker.SubscribeAsync("\"topics\":[\"a/+\",\"c/+\"],\"name\":\"{2}\"");
        await broker.SubscribeAsync("\"topics\":[\"a/+\",\"c/+\"],\"name\":\"{1}\"");
        await sending;
        await broker.PublishAsync("b/x", "1000");
        await broker.PublishAsync("c/x", "2000");
        await Until.True(() => broker.Intake.Stored().Any(reading => Value(reading) == 2000));
        Assert.Equal(Enumerable.Range(0, 200).Append(2000).Select(i => (double)i), broker.Intake.Stored().Select(Value).Distinct().Order());
        Assert.Contains("-b/+", broker.Subscribed);

        // Other sensors are not affected.
        await broker.ApplyAsync(("things", "\"topics\":[\"a/+\",\"c/+\"],\"name\":\"{1}\""), ("more", "\"topics\":[\"d\"]"));
        await Until.True(() => broker.Mqtt.Health.All(health => health.State == SensorState.Working));
        Assert.Equal(0, broker.Mqtt.Health.Sum(health => health.Failures));
        Assert.Equal(2, (await broker.Server.GetSessionsAsync()).Count);
        Assert.Equal(2, broker.Intake.Store.Sources.Status.Count);

        // Removed, and disabled.
        await broker.ApplyAsync(("more", "\"topics\":[\"d\"],\"enabled\":false"));
        await broker.Intake.Log.Waits("Sensor things (mqtt): its session at");
        await broker.Intake.Log.Waits("Sensor more (mqtt): its session at");
        await Until.True(async () => (await broker.Server.GetSessionsAsync()).Count == 0);
        Assert.Empty(broker.Mqtt.Health);
        Assert.Empty(broker.Intake.Store.Sources.Status);
    }

    [Fact]
    public async Task A_wrong_password_is_logged_once_and_reported_until_its_file_is_corrected()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        var directory = Directory.CreateTempSubdirectory("mqtt-password-");
        try
        {
            var file = new NamedFile("Mqtt__things__PasswordFile", Path.Combine(directory.FullName, "password"));
            await using var broker = await MqttFixture.OpenAsync(
                new() { ByName = new Dictionary<string, MqttSecrets> { ["things"] = new() { UserName = "me", PasswordFile = file } } }, clock);
            broker.Validate = connection => (connection.UserName, connection.Password) == ("me", "right")
                ? MqttConnectReasonCode.Success : MqttConnectReasonCode.BadUserNameOrPassword;
            await broker.ApplyAsync(("things", "\"topics\":[\"a/+\"]"));
            await Until.True(() => broker.Health.State == SensorState.Failing);
            Assert.StartsWith("Mqtt__things__PasswordFile: ", broker.Health.Detail, StringComparison.Ordinal);

            await File.WriteAllTextAsync(file.Path, "wrong\n", Token);
            await Until.True(() => broker.Health.Detail!.Contains("refuses", StringComparison.Ordinal), clock, Minute);
            var failures = broker.Health.Failures;
            await Until.True(() => broker.Health.Failures > failures + 2, clock, Minute);
            var text = $"mqtt://127.0.0.1:{broker.Port} refuses the user name or the password (Mqtt__things__UserName and ..Password or ..PasswordFile)";
            Assert.Equal((SensorState.Failing, "denied", text), (broker.Health.State, broker.Health.Reason, broker.Health.Detail));
            Assert.Single(broker.Intake.Log.All, line => line.Contains(text, StringComparison.Ordinal));
            Assert.False(broker.Intake.Log.Has("wrong"));

            await File.WriteAllTextAsync(file.Path, "right\n", Token);
            await Until.True(() => broker.Health.State == SensorState.Working, clock, Minute);
            Assert.Null(broker.Health.Detail);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Secrets_are_sent_only_to_the_broker_they_are_configured_for()
    {
        await using var broker = await MqttFixture.OpenAsync(new()
        {
            ByName = new Dictionary<string, MqttSecrets> { ["things"] = new() { UserName = "me", Password = "secret", For = new("broker.example", 8883, true) } },
        });
        await broker.ApplyAsync(("things", "\"topics\":[\"a/+\"]"));
        await Until.True(() => broker.Health.State == SensorState.Failing);
        Assert.Equal(
            $"user name, password and certificate are for mqtts://broker.example:8883 and not for mqtt://127.0.0.1:{broker.Port} (Mqtt__things__SecretsFor)",
            broker.Health.Detail);
        Assert.Empty(await broker.Server.GetSessionsAsync());
    }

    [Fact]
    public async Task An_unreachable_broker_is_retried_until_it_is_reachable()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock, starts: false);
        await broker.ApplyAsync(("things", "\"topics\":[\"a/+\"],\"maxSilenceSeconds\":3600"));
        await Until.True(() => broker.Health.Failures > 3, clock, Minute);
        Assert.Equal((SensorState.Failing, "absent"), (broker.Health.State, broker.Health.Reason));
        Assert.StartsWith($"mqtt://127.0.0.1:{broker.Port}: ", broker.Health.Detail, StringComparison.Ordinal);
        Assert.Single(broker.Intake.Log.All, line => line.Contains("(mqtt) fails", StringComparison.Ordinal));
        clock.Advance(TimeSpan.FromHours(1.1));
        Assert.Equal((null, true), (broker.Intake.Source("mqtt things").LastSeen, broker.Intake.Source("mqtt things").IsSilent));

        await broker.StartBrokerAsync();
        await Until.True(() => broker.Health.State == SensorState.Working, clock, Minute);
        await broker.PublishAsync("a/b", "1");
        await broker.StoredAsync(1);
        await Until.True(() => !broker.Intake.Source("mqtt things").IsSilent);
    }

    [Fact]
    public async Task Over_TLS_only_the_configured_certificate_authority_is_trusted()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        using var authority = new Certificates();
        using var other = new Certificates("another root");
        using var certificate = authority.Issue();
        await using var broker = await MqttFixture.OpenAsync(
            new()
            {
                ByName = new Dictionary<string, MqttSecrets> { ["things"] = new() { Tls = authority.Files() }, ["wrong"] = new() { Tls = other.Files() } },
            },
            clock, certificate: certificate);
        var options = $"\"broker\":\"mqtts://127.0.0.1:{broker.Port}\",\"topics\":[\"a/+\"]";
        await broker.SubscribeAsync(options);
        await broker.PublishAsync("a/b", "1");
        await broker.StoredAsync(1);
        await broker.ApplyAsync(("wrong", options));
        await Until.True(() => broker.Health is { Name: "wrong", State: SensorState.Failing });
        Assert.Contains(": TLS: ", broker.Health.Detail, StringComparison.Ordinal);
        await broker.ApplyAsync(("wrong", options.Replace("mqtts:", "mqtt:", StringComparison.Ordinal)));
        await Until.True(() => broker.Health.State == SensorState.Failing);
    }
}
