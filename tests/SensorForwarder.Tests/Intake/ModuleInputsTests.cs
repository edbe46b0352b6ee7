using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Intake;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>How messages to inputs of the module are stored or refused.</summary>
public sealed class ModuleInputsTests
{
    const string Station = "input weather from Station";

    static readonly EdgeIdentity Identity =
        new() { HubHostName = "hub", DeviceId = "pi1", ModuleId = "SensorForwarder", GatewayHostName = "gateway", Source = "test" };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static ModuleInputs Inputs(IntakeFixture intake, TimeProvider? clock = null) =>
        new(intake.Store, Identity, clock ?? TimeProvider.System, intake.Log.For<ModuleInputs>());

    static InputMessage Message(string body, string? id = null, string? module = "Station", string? device = "pi1", string? type = null) =>
        Message(Encoding.UTF8.GetBytes(body), id, module, device, type);

    static InputMessage Message(byte[] body, string? id = null, string? module = "Station", string? device = "pi1", string? type = null)
    {
        var properties = new List<KeyValuePair<string, string?>>();
        if (type is not null) properties.Add(new("$.ct", type));
        if (id is not null) properties.Add(new("$.mid", id));
        if (device is not null) properties.Add(new("$.cdid", device));
        if (module is not null) properties.Add(new("$.cmid", module));
        return new("weather", properties, body);
    }

    [Fact]
    public async Task A_message_is_stored_with_its_sender_id_and_properties()
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        var message = new InputMessage(
            "weather",
            [new("place", "roof \u00fc\"<"), new("none", null), new("place", "attic"), new("$.ct", "application/json"), new("$.mid", "m/1"), new("$.cdid", "pi1"), new("$.cmid", "Station")],
            """[{"sensor":"wind","values":{"speed":3.50},"gusts":[5]},{"rain":true}]"""u8.ToArray());
        Assert.True(await Inputs(intake).TakeAsync(message, Token));
        const string From = """{"input":"weather","device":"pi1","module":"Station","messageId":"m/1","properties":{"place":"attic","none":null,"$.ct":"application/json"}}""";
        Assert.Equal(
            [
                $$$"""{"sensor":"wind","kind":"input","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{"speed":3.50},"gusts":[5],"edgeHub":{{{From}}}}""",
                $$$"""{"sensor":"weather","kind":"input","time":"2026-11-24T12:00:00.000Z","quality":"good","data":{"rain":true},"edgeHub":{{{From}}}}""",
            ],
            intake.Stored());
        Assert.Equal(2, intake.Source(Station).Accepted);
        Assert.Equal(["weather", "wind"], intake.Store.Sources.Sensors);
    }

    [Theory]
    [InlineData("21.4 C", null, "application/octet-stream")]
    [InlineData("", null, "application/octet-stream")]
    [InlineData("off", "application/json", "application/json")]
    [InlineData("\u00ff\u00d8", "image/jpeg", "image/jpeg")]
    public async Task A_message_that_is_not_JSON_is_stored_as_base64_whatever_its_content_type(string body, string? type, string stored)
    {
        await using var intake = await IntakeFixture.OpenAsync();
        var bytes = Encoding.Latin1.GetBytes(body);
        Assert.True(await Inputs(intake).TakeAsync(Message(bytes, type: type), Token));
        var data = JsonNode.Parse(Assert.Single(intake.Stored()))!["data"]!;
        Assert.Equal((Convert.ToBase64String(bytes), stored), ((string?)data["base64"], (string?)data["contentType"]));
    }

    [Fact]
    public async Task A_message_is_committed_immediately_whatever_the_commit_interval()
    {
        await using var intake = await IntakeFixture.OpenAsync(limits: new() { CommitInterval = TimeSpan.FromHours(1) });
        var inputs = Inputs(intake);
        for (var i = 0; i < 3; i++) Assert.True(await inputs.TakeAsync(Message($"{i}"), Token));
        Assert.Equal(3, intake.Buffer.LastCommittedId);
    }

    public static TheoryData<string, string, bool> NeverStored() => new()
    {
        { "{\"sensor\":", "line 1: it is not JSON", false },
        { """{"sensor":"a","values":{"b":[1]}}""", "the value 'b' is a list or an object", true },
        { """{"sensor":"a","values":{},"edgeHub":1}""", "the property edgeHub is reserved for the module; use another name", true },
        { $"[1,\"{new string('x', IntakeLimits.MaxItemBytes)}\"]", "element 2 (counted from 1) has 65538 bytes", true },
    };

    [Theory]
    [MemberData(nameof(NeverStored), DisableDiscoveryEnumeration = true)]
    public async Task A_message_that_can_never_be_stored_becomes_a_dead_letter_and_is_acknowledged(string body, string reason, bool isJson)
    {
        await using var intake = await IntakeFixture.OpenAsync();
        var inputs = Inputs(intake);
        Assert.True(await inputs.TakeAsync(Message(body, "m1"), Token));
        Assert.True(await inputs.TakeAsync(Message("""{"sensor":"next","values":{}}"""), Token));
        var letter = Assert.Single(intake.Buffer.ListDeadLetters(0, 10));
        Assert.StartsWith(reason, letter.Answer, StringComparison.Ordinal);
        var payload = JsonNode.Parse(letter.Payload.Span)!;
        Assert.Equal(("weather", "m1"), ((string?)payload["sensor"], (string?)payload["edgeHub"]!["messageId"]));
        Assert.Equal(
            body, isJson ? payload["data"]!.ToJsonString() : Encoding.UTF8.GetString(Convert.FromBase64String((string)payload["data"]!["base64"]!)));
        Assert.StartsWith("""{"sensor":"next",""", Assert.Single(intake.Stored()), StringComparison.Ordinal);
        Assert.StartsWith(reason, intake.Source(Station).Reason, StringComparison.Ordinal);
        Assert.Contains(intake.Log.All, line => line.Contains($"A message of {Station} can't be stored ({reason}", StringComparison.Ordinal));

        // It is redelivered, and stored once.
        Assert.True(await inputs.TakeAsync(Message(body, "m1"), Token));
        Assert.Equal(1, intake.Buffer.GetStatus().DeadLetters);
    }

    [Fact]
    public async Task A_message_is_not_acknowledged_while_the_buffer_is_full_and_is_stored_when_it_has_room()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var intake = await IntakeFixture.OpenAsync(
            clock: clock, limits: BufferFixture.AtOnce with { MaxBytes = 1 << 20, WhenFull = WhenFull.RejectNew });
        var inputs = Inputs(intake, clock);
        var random = new Random(1);
        var noise = new byte[3_000];
        var answer = IntakeAnswer.Stored;
        while (answer.Outcome == IntakeOutcome.Stored)
        {
            random.NextBytes(noise);
            answer = await intake.SendAsync($"\"{Convert.ToBase64String(noise)}\"");
        }

        foreach (var body in (string[])["1", "{\"bad\":"])
        {
            var waiting = inputs.TakeAsync(Message(body, "m1"), Token);
            await Until.True(() => waiting.IsCompleted, clock, TimeSpan.FromSeconds(1));
            Assert.False(await waiting);
        }

        Assert.Equal(0, intake.Buffer.GetStatus().DeadLetters);
        Assert.Contains("the buffer is full", intake.Source(Station).Reason, StringComparison.Ordinal);
        var later = inputs.TakeAsync(Message("1", "m1"), Token);
        await intake.Buffer.AcknowledgeAsync(1, intake.Buffer.LastCommittedId, Token);
        await Until.True(() => intake.Buffer.GetStatus().Storage == StorageState.Ok);
        clock.Advance(TimeSpan.FromSeconds(5));
        Assert.True(await later);
        Assert.Contains("\"data\":1,\"edgeHub\"", Assert.Single(intake.Stored()), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_redelivered_message_is_recognized_by_its_id_and_content()
    {
        await using var intake = await IntakeFixture.OpenAsync();
        var inputs = Inputs(intake);
        InputMessage[] messages =
        [
            Message("1", "a"), Message("2", "b"), Message("1", "a"), // again
            Message("3", "a"), // another message with a reused id
            Message("1", "a", module: "Other"), Message("1", "a", module: null), Message("4"), Message("4"), // without an id
        ];
        foreach (var message in messages) Assert.True(await inputs.TakeAsync(message, Token));
        Assert.Equal([1, 2, 3, 1, 1, 4, 4], intake.Stored().Select(text => (int)JsonNode.Parse(text)!["data"]!));
        Assert.Equal(
            ["input weather from Other", Station, "input weather from pi1"], intake.Store.Sources.Status.Select(source => source.Name));
    }

    [Fact]
    public void The_number_of_remembered_messages_is_limited()
    {
        var recent = new RecentMessages();
        var marks = Enumerable.Range(0, RecentMessages.Max + 1).Select(i => RecentMessages.MarkOf(Message($"{i}", $"{i}"))).ToList();
        foreach (var mark in marks)
        {
            recent.Add(mark);
            recent.Add(mark);
        }

        Assert.False(recent.Contains(marks[0]));
        Assert.All(marks.Skip(1), mark => Assert.True(recent.Contains(mark)));
    }

    [Fact]
    public async Task A_sender_above_its_rate_is_slowed_down_and_not_refused()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var intake = await IntakeFixture.OpenAsync(new() { ReadingsPerSecond = 10 }, clock);
        var inputs = Inputs(intake, clock);
        Assert.True(await inputs.TakeAsync(Message($"[{string.Join(',', Enumerable.Repeat("1", 110))}]"), Token));
        var waiting = inputs.TakeAsync(Message("2"), Token);
        Assert.False(waiting.IsCompleted);
        Assert.True(await inputs.TakeAsync(Message("3", module: "Other"), Token));
        Assert.Equal(111, intake.Stored().Count);
        clock.Advance(TimeSpan.FromSeconds(1.1));
        Assert.True(await waiting);
        Assert.Empty(intake.Source(Station).Refused);
        Assert.Single(intake.Log.All, line => line.Contains($"{Station} sends more than Intake__ReadingsPerSecond allows", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_message_that_the_module_itself_sent_is_acknowledged_but_not_stored_and_logged_once()
    {
        await using var intake = await IntakeFixture.OpenAsync();
        var inputs = Inputs(intake);
        for (var i = 0; i < 3; i++) Assert.True(await inputs.TakeAsync(Message("1", module: "SensorForwarder"), Token));
        Assert.True(await inputs.TakeAsync(Message("2", module: "SensorForwarder", device: "other"), Token));
        Assert.Contains("\"data\":2", Assert.Single(intake.Stored()), StringComparison.Ordinal);
        Assert.Single(intake.Log.All, line => line.Contains("A route leads the output of this module back to its own input 'weather'", StringComparison.Ordinal));
        var source = intake.Source("input weather from SensorForwarder");
        Assert.Equal((0, 3), (source.Accepted, source.Refused[IntakeOutcome.Malformed]));
        Assert.Equal("this module itself sent it: a route leads its output to its input", source.Reason);
    }

    [Fact]
    public async Task A_stop_ends_the_wait_without_acknowledging_the_message()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var intake = await IntakeFixture.OpenAsync(new() { ReadingsPerSecond = 1 }, clock);
        var inputs = Inputs(intake, clock);
        Assert.True(await inputs.TakeAsync(Message($"[{string.Join(',', Enumerable.Repeat("1", 50))}]"), Token));
        using var stop = new CancellationTokenSource();
        var waiting = inputs.TakeAsync(Message("2"), stop.Token);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
    }
}
