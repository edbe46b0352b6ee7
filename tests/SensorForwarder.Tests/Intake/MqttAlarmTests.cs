using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>Alarms on readings from a broker, from the message to the buffer.</summary>
public sealed class MqttAlarmTests
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static string Options(string alarms) => $"\"topics\":[\"a/+\"],\"name\":\"{{2}}\",\"label\":\"Things\",\"alarms\":[{alarms}]";

    /// <summary>The alarm reports in the buffer, as text.</summary>
    static List<string> Reports(MqttFixture broker) =>
    [
        .. broker.Intake.Stored().Select(text => JsonDocument.Parse(text).RootElement).Where(data => data.TryGetProperty("alarm", out _)).Select(data =>
            $"{data.GetProperty("sensor")}: {data.GetProperty("alarm").GetProperty("name")} {data.GetProperty("alarm").GetProperty("state")} {data.GetProperty("values")}"),
    ];

    static List<(string Sensor, bool IsRaised)> Status(MqttFixture broker) =>
        [.. broker.Health.Alarms.Select(alarm => (alarm.Sensor, alarm.Since is not null)).Order()];

    [Fact]
    public async Task Each_sensor_of_an_entry_has_its_own_alarms_and_an_alarm_is_stored_before_its_message_is_acknowledged()
    {
        await using var broker = await MqttFixture.OpenAsync();
        var reportsAtAcknowledgement = new ConcurrentQueue<int>();
        broker.Acknowledging = () => reportsAtAcknowledgement.Enqueue(Reports(broker).Count);
        await broker.SubscribeAsync(Options("{\"value\":\"value\",\"above\":30,\"severity\":\"critical\"},{\"value\":\"battery\",\"below\":10}"));
        await broker.PublishAsync("a/b", "31");
        await broker.PublishAsync("a/c", "20");
        await broker.PublishAsync("a/c", "{\"value\":32,\"battery\":5}");
        await broker.PublishAsync("a/b", "29");
        await Until.True(() => broker.Acknowledged.Count == 4);
        Assert.Equal(broker.Sent, broker.Acknowledged);
        Assert.All(new[] { 1, 1, 3, 4 }.Zip(reportsAtAcknowledgement), pair => Assert.InRange(pair.Second, pair.First, 4));
        Assert.Equal(
            ["b: value above 30 raised {\"value\":31}", "c: value above 30 raised {\"value\":32}", "c: battery below 10 raised {\"battery\":5}", "b: value above 30 cleared {\"value\":29}"],
            Reports(broker));
        Assert.Equal([("b", false), ("b", false), ("c", true), ("c", true)], Status(broker));
        var first = broker.Intake.Stored().First(text => text.Contains("\"kind\":\"alarm\"", StringComparison.Ordinal));
        Assert.Contains("\"label\":\"Things\"", first, StringComparison.Ordinal);
        Assert.Equal(4, broker.Intake.Buffer.Urgent.Count);
    }

    [Fact]
    public async Task A_silent_sensor_raises_an_alarm_once_and_after_a_restart_even_if_it_has_sent_nothing_since()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock);
        var options = Options("{\"silentForSeconds\":600}");
        await broker.SubscribeAsync(options);
        await broker.PublishAsync("a/b", "31");
        await broker.PublishAsync("a/c", "\"a text\"");
        await Until.True(() => broker.Acknowledged.Count == 2);
        Assert.Empty(Reports(broker));
        await Until.True(() => Status(broker).SequenceEqual([("b", true), ("c", true)]), clock, Minute);

        // The next message ends the silence.
        await broker.PublishAsync("a/b", "32");
        await Until.True(() => broker.Acknowledged.Count == 3);
        await broker.Intake.Buffer.CommitAsync(Token);
        Assert.Equal(["b: silent for 600 s cleared {}", "b: silent for 600 s raised {}", "c: silent for 600 s raised {}"], Reports(broker).Order(StringComparer.Ordinal));

        // Neither has sent anything since the restart: c was reported before, b is reported now.
        await broker.RestartAsync(() => Task.CompletedTask);
        await broker.SubscribeAsync(options);
        await Until.True(() => Status(broker).SequenceEqual([("b", true), ("c", true)]), clock, Minute);
        await broker.Intake.Buffer.CommitAsync(Token);
        Assert.Equal(["b: silent for 600 s cleared {}", "b: silent for 600 s raised {}", "b: silent for 600 s raised {}", "c: silent for 600 s raised {}"], Reports(broker).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task An_unreachable_broker_raises_the_alarms_of_the_only_sensor_of_an_entry_before_its_first_message()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var broker = await MqttFixture.OpenAsync(clock: clock, starts: false);
        await broker.ApplyAsync(("meter", "\"topics\":[\"home/meter\"],\"alarms\":[{\"bad\":true},{\"silentForSeconds\":60}]"));
        await Until.True(() => broker.Health.Alarms.Count == 2 && broker.Health.Alarms.All(alarm => alarm.Since is not null), clock, Minute);
        await broker.StartBrokerAsync();
        await Until.True(() => broker.Health.State == SensorState.Working, clock, Minute);
        await broker.PublishAsync("home/meter", "5");
        await Until.True(() => broker.Acknowledged.Count == 1);
        Assert.Equal(
            ["meter: bad cleared {}", "meter: bad raised {}", "meter: silent for 60 s cleared {}", "meter: silent for 60 s raised {}"], Reports(broker).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_message_with_invalid_Unicode_in_a_name_is_stored_and_acknowledged()
    {
        await using var broker = await MqttFixture.OpenAsync();
        await broker.SubscribeAsync(Options("{\"value\":\"value\",\"above\":30}"));
        await broker.PublishAsync("a/b", """{"sensor":"b","values":{"\ud800":1,"value":31}}""");
        await broker.PublishAsync("a/b", "32");
        await Until.True(() => broker.Acknowledged.Count == 2);
        Assert.Equal(["b: value above 30 raised {\"value\":32}"], Reports(broker));
    }
}
