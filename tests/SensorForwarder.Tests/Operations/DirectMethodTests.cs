using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

public sealed class DirectMethodTests
{
    static async Task<(int Status, JsonElement Body)> CallAsync(ForwarderFixture fixture, string name, string payload = "")
    {
        var roots = new SensorRoots("/proc", "/sys", Path.GetTempPath());
        using var scheduler = new SensorScheduler(
            new(roots, TimeProvider.System), fixture.Buffer, TimeProvider.System, new Random(1), NullLogger<SensorScheduler>.Instance);
        await scheduler.ApplyAsync(
            new Dictionary<string, SensorSettings> { ["attic"] = new("attic", "simulated", TimeSpan.FromDays(1), "{}") }, ForwarderFixture.Token);
        var methods = new DirectMethods(
            fixture.Buffer, fixture.Forwarder, scheduler, new(fixture.Buffer, fixture.Forwarder, scheduler, TimeProvider.System));
        var answer = await methods.InvokeAsync(name, Encoding.UTF8.GetBytes(payload), ForwarderFixture.Token);
        await scheduler.StopAsync(ForwarderFixture.Token);
        return (answer.Status, JsonDocument.Parse(answer.Body).RootElement);
    }

    [Theory]
    [InlineData("ping", "", 200)]
    [InlineData("ping", "null", 200)]
    [InlineData("ping", "{\"a\":1}", 200)]
    [InlineData("ping", "[1]", 400)]
    [InlineData("ping", "\"x\"", 400)]
    [InlineData("ping", "{", 400)]
    [InlineData("Ping", "", 501)]
    [InlineData("flush", "{\"timeoutSeconds\":\"x\"}", 400)]
    [InlineData("flush", "{\"timeoutSeconds\":-1}", 400)]
    [InlineData("flush", "{\"timeoutSeconds\":301}", 400)]
    [InlineData("readNow", "{\"sensor\":7}", 400)]
    [InlineData("readNow", "{\"sensor\":\"cellar\"}", 404)]
    [InlineData("getDeadLetters", "{\"afterId\":{}}", 400)]
    public async Task Every_call_is_answered_with_the_right_status(string name, string payload, int status)
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var (code, body) = await CallAsync(fixture, name, payload);
        Assert.Equal(status, code);
        Assert.Equal(status != 200, body.TryGetProperty("error", out _));
    }

    [Fact]
    public async Task GetStatus_says_what_a_person_or_the_simulator_asks_for()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        await fixture.StoreAsync(3);
        var (_, body) = await CallAsync(fixture, "getStatus");
        Assert.Equal(fixture.Buffer.Epoch, body.GetProperty("epoch").GetString());
        Assert.InRange(body.GetProperty("lastCommittedId").GetInt64(), 3, 4);
        Assert.InRange(body.GetProperty("queueDepth").GetInt64(), 3, 4);
        Assert.Equal("simulated", body.GetProperty("sensors").GetProperty("attic").GetProperty("kind").GetString());
    }

    [Fact]
    public async Task Flush_answers_when_all_is_sent_and_refuses_while_paused()
    {
        await using var fixture = await (await ForwarderFixture.StartAsync(http: new FakeSink { Rule = _ => SendResult.Accepted })).RunAsync();
        await fixture.StoreAsync(25);
        var (status, body) = await CallAsync(fixture, "flush");
        Assert.Equal((200, true), (status, body.GetProperty("drained").GetBoolean()));

        Assert.Equal(200, (await CallAsync(fixture, "pause")).Status);
        Assert.Equal(409, (await CallAsync(fixture, "flush")).Status);
        Assert.Equal(200, (await CallAsync(fixture, "resume")).Status);
        Assert.Equal(200, (await CallAsync(fixture, "flush")).Status);
    }

    [Fact]
    public async Task ReadNow_gives_the_values()
    {
        await using var fixture = await ForwarderFixture.StartAsync();
        var (_, body) = await CallAsync(fixture, "readNow", "{\"sensor\":\"attic\"}");
        var reading = body.GetProperty("readings").GetProperty("attic");
        Assert.Equal("good", reading.GetProperty("quality").GetString());
        Assert.InRange(reading.GetProperty("values").GetProperty("temperature").GetDouble(), 5, 40);
    }

    [Fact]
    public async Task Dead_letters_can_be_seen_sent_again_and_thrown_away()
    {
        var refuse = true;
        await using var fixture = await (await ForwarderFixture.StartAsync(http: new FakeSink
        {
            Rule = batch => refuse && batch.FirstId <= 2 && batch.LastId >= 2 ? new(SendOutcome.Rejected, "answered 400: no") : SendResult.Accepted,
        })).RunAsync();
        await fixture.StoreAsync(4);
        await Until.True(() => fixture.Buffer.GetStatus().DeadLetters == 1);

        var (_, list) = await CallAsync(fixture, "getDeadLetters");
        var letter = Assert.Single(list.GetProperty("deadLetters").EnumerateArray());
        Assert.Equal(2, letter.GetProperty("id").GetInt64());
        Assert.Equal("answered 400: no", letter.GetProperty("answer").GetString());
        Assert.Equal("attic", letter.GetProperty("data").GetProperty("sensor").GetString());

        refuse = false;
        Assert.Equal(1, (await CallAsync(fixture, "retryDeadLetters")).Body.GetProperty("retried").GetInt32());
        await Until.True(() => fixture.Http.Seen.ToArray().Any(batch => batch.FirstId == 2 && batch.LastId == 2 && fixture.Buffer.GetStatus().Depth <= 1));
        Assert.Equal(0, (await CallAsync(fixture, "purgeDeadLetters")).Body.GetProperty("purged").GetInt32());
    }
}
