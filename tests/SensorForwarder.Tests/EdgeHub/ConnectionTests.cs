using System.Text.Json.Nodes;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The module's connection without faults: telemetry, twin, methods, token renewals, lost connections and stops.</summary>
public sealed class ConnectionTests
{
    static readonly TimeSpan MethodTimeout = TimeSpan.FromSeconds(60);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Messages_are_accepted_with_a_workload_identity_and_with_a_key()
    {
        await using var world = await HubWorld.ConnectAsync();
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);

        world.Use(world.KeyIdentity);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(2)).Status);

        Assert.Equal(2, world.Ledger.Summary().Unique);
        Assert.Equal(new HubCounters(0, 1, 1, 0, world.Connection.Counters.AcknowledgedBytes, 0), world.Connection.Counters);
        Assert.True(world.Connection.Counters.AcknowledgedBytes > HubWorld.Message(2).Body.Length);
        Assert.Equal(["$.ce", "$.ct", "$.mid", "$.on"], world.Recent.After(0)[1].Properties.Keys.Order());
    }

    [Fact]
    public async Task The_announced_model_id_is_the_one_in_the_twin()
    {
        await using var world = await HubWorld.OpenAsync();
        world.Use(world.KeyIdentity, new() { Transport = HubTransport.Mqtt, ModelId = "dtmi:com:example:Sensor;1" });
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal("dtmi:com:example:Sensor;1", world.Twin.ModelId);
    }

    [Fact]
    public async Task A_full_window_of_messages_arrives_in_the_order_of_the_calls()
    {
        await using var world = await HubWorld.ConnectAsync();
        var sends = Enumerable.Range(1, 100).Select(id => world.SendAsync(id)).ToList();
        Assert.All(await Task.WhenAll(sends), result => Assert.Equal(HubSendStatus.Accepted, result.Status));
        Assert.Equal(
            Enumerable.Range(1, 100).Select(id => $"e1:{id}-{id}"),
            world.Recent.After(0).Select(message => message.Properties["$.mid"]!));
    }

    [Fact]
    public async Task Telemetry_waits_for_the_twin_for_a_limited_time()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock);
        world.Handler.OnConnected = _ => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, CancellationToken.None);
        await world.StartAsync();
        await Until.True(() => world.Handler.Connects == 1);
        Assert.Equal(HubSendStatus.Retry, (await world.SendAsync(1)).Status);
        Assert.Equal(200, (await world.Connection.GetTwinAsync(Token)).Status);

        var connected = world.Connection.WaitUntilConnectedAsync(Token);
        await Until.True(() => connected.IsCompleted, clock, TimeSpan.FromSeconds(10));
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
        Assert.True(world.Log.Has("The twin could not be read after connecting (no answer in time)"));
    }

    [Fact]
    public async Task A_connect_handler_that_throws_is_logged_and_messages_are_still_accepted()
    {
        await using var world = await HubWorld.OpenAsync();
        world.Handler.OnConnected = _ => throw new InvalidOperationException("broken");
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
        Assert.True(world.Log.Has("[5008]"));
    }

    [Fact]
    public async Task The_twin_is_read_reported_properties_are_patched_and_desired_patches_are_received()
    {
        await using var world = await HubWorld.ConnectAsync();
        var twin = await world.Connection.GetTwinAsync(Token);
        Assert.Equal("""{"desired":{"$version":1},"reported":{"$version":1}}""", System.Text.Encoding.UTF8.GetString(twin.Body.Span));

        Assert.Equal(204, (await world.Connection.PatchReportedAsync("""{"a":1}"""u8.ToArray(), Token)).Status);
        Assert.Equal(400, (await world.Connection.PatchReportedAsync("""{"a.b":1}"""u8.ToArray(), Token)).Status);
        Assert.Equal(413, (await world.Connection.PatchReportedAsync(new byte[40_000], Token)).Status);
        Assert.Equal(1, (int)world.Twin.Document()["reported"]!["a"]!);

        world.Twin.PatchDesired(JsonNode.Parse("""{"batchSize":5}""")!.AsObject());
        await Until.True(() => !world.Handler.Patches.IsEmpty);
        Assert.Equal((2L, """{"batchSize":5,"$version":2}"""), world.Handler.Patches.First());
    }

    [Fact]
    public async Task Up_to_64_methods_run_concurrently_and_do_not_delay_telemetry_or_the_twin()
    {
        await using var world = await HubWorld.ConnectAsync();
        var release = new TaskCompletionSource();
        var running = 0;
        world.Handler.OnMethod = async (name, _, _) =>
        {
            Interlocked.Increment(ref running);
            await release.Task;
            return new(200, System.Text.Encoding.UTF8.GetBytes($"\"{name}\""));
        };
        // More calls than may run concurrently: the others wait in a queue, and nothing else is delayed.
        var calls = Enumerable.Range(0, 100).Select(i =>
            world.Hub.Methods.InvokeAsync($"m{i}", new JsonObject(), MethodTimeout, Token)).ToList();
        await Until.True(() => running == 64);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
        Assert.Equal(200, (await world.Connection.GetTwinAsync(Token)).Status);

        release.SetResult();
        var results = await Task.WhenAll(calls);
        Assert.Equal(Enumerable.Range(0, 100).Select(i => $"200 m{i}"), results.Select(result => $"{result.Status} {(string)result.Payload!}"));
        Assert.Equal(100, world.Connection.Counters.MethodCalls);
        await Until.True(() => world.Connection.OpenRequests == 0);
    }

    [Fact]
    public async Task A_method_that_throws_is_answered_with_500_and_a_status_it_returns_is_passed_on()
    {
        await using var world = await HubWorld.ConnectAsync();
        world.Handler.OnMethod = (name, _, _) => name switch
        {
            "broken" => throw new InvalidOperationException("secret detail"),
            "big" => Task.FromResult(new MethodAnswer(200, new byte[200_000])),
            _ => Task.FromResult(new MethodAnswer(404, """{"error":"no such sensor"}"""u8.ToArray())),
        };
        var broken = await world.Hub.Methods.InvokeAsync("broken", null, MethodTimeout, Token);
        Assert.Equal(500, broken.Status);
        Assert.DoesNotContain("secret", broken.Payload!.ToJsonString(), StringComparison.Ordinal);
        Assert.Equal(500, (await world.Hub.Methods.InvokeAsync("big", null, MethodTimeout, Token)).Status);
        Assert.Equal(404, (await world.Hub.Methods.InvokeAsync("any", null, MethodTimeout, Token)).Status);

        world.Connection.Handler = null;
        Assert.Equal(501, (await world.Hub.Methods.InvokeAsync("any", null, MethodTimeout, Token)).Status);
    }

    [Fact]
    public async Task A_method_that_never_returns_is_answered_with_500_after_a_timeout()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        var called = new TaskCompletionSource();
        world.Handler.OnMethod = (_, _, _) =>
        {
            called.SetResult();
            return new TaskCompletionSource<MethodAnswer>().Task;
        };
        var call = world.Hub.Methods.InvokeAsync("hangs", null, TimeSpan.FromMinutes(5), Token);
        await called.Task;
        await Until.True(() => call.IsCompleted, clock, TimeSpan.FromSeconds(30));
        Assert.Equal(500, (await call).Status);
        await Until.True(() => world.Connection.OpenRequests == 0);
        Assert.True(world.Log.Has("[5005]"));
    }

    [Fact]
    public async Task A_lost_connection_is_reported_with_its_reason_and_reopened()
    {
        await using var world = await HubWorld.ConnectAsync();
        await world.SendAsync(1);

        world.Hub.Cut("test");
        await Until.True(() => world.Handler.Connects == 2);
        await world.DeliverAsync(2);

        // The text depends on whether the reset arrives before the last read.
        var status = world.Connection.Status;
        Assert.Matches("^(closed by the hub|the connection was (reset|lost))$", status.LastError);
        Assert.Equal((HubState.Connected, 1), (status.State, status.Reconnects));
        Assert.Equal(2, world.Ledger.Summary().Unique);
    }

    [Fact]
    public async Task As_soon_as_the_status_is_connected_a_message_is_accepted()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        await world.StartAsync();
        for (var lost = 0; lost < 5; lost++)
        {
            var sending = Task.Run(() => SendWhenConnected(world, lost), Token);
            await Until.True(() => sending.IsCompleted, clock, TimeSpan.FromSeconds(1));
            Assert.Equal(HubSendStatus.Accepted, (await sending).Status);
            world.Hub.Cut("test");
        }
    }

    // Polls without a pause, in order to send as early as possible.
    static Task<HubSendResult> SendWhenConnected(HubWorld world, int lost)
    {
        while (world.Connection.Status is var status && (status.State != HubState.Connected || status.Reconnects != lost))
        {
            Token.ThrowIfCancellationRequested();
            Thread.Yield();
        }

        return world.SendAsync(lost + 1);
    }

    [Fact]
    public async Task A_token_renewal_neither_loses_nor_duplicates_messages_and_does_not_count_as_an_outage()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.ConnectAsync(clock);
        var status = world.Connection.Status;
        for (var renewal = 1; renewal <= 3; renewal++)
        {
            // Messages are in flight all the time, and wait in line while the connection is replaced.
            var id = 0L;
            using var stop = new CancellationTokenSource();
            // The clock advances while nothing is in flight, or messages would seem overdue.
            clock.Advance(TimeSpan.FromMinutes(47.9));
            var senders = Enumerable.Range(0, 8).Select(_ => Task.Run(
                async () =>
                {
                    while (!stop.IsCancellationRequested) Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(Interlocked.Increment(ref id) + (renewal * 1_000_000))).Status);
                },
                Token)).ToList();
            clock.Advance(TimeSpan.FromSeconds(30));
            await Until.True(
                () => world.Connection.Counters.Renewals == renewal, clock, TimeSpan.FromMilliseconds(100));
            await world.Connection.WaitUntilConnectedAsync(Token);
            await stop.CancelAsync();
            await Task.WhenAll(senders);
        }

        Assert.Equal(0, world.Ledger.Summary().Duplicates);
        Assert.Equal(world.Connection.Counters.Acknowledged, world.Ledger.Summary().Unique);
        Assert.Equal((4, 3), (world.Handler.Connects, world.Connection.Counters.Renewals));
        Assert.Same(status, world.Connection.Status);
    }

    [Fact]
    public async Task A_method_that_runs_during_a_token_renewal_is_answered_on_the_new_connection()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        world.Use(world.WorkloadIdentity, new() { Transport = HubTransport.Mqtt, TokenLife = TimeSpan.FromMinutes(2) });
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        var called = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        world.Handler.OnMethod = async (_, _, _) =>
        {
            called.SetResult();
            await release.Task;
            return new(200, "{}"u8.ToArray());
        };
        var call = world.Hub.Methods.InvokeAsync("slow", null, MethodTimeout, Token);
        await called.Task;
        clock.Advance(TimeSpan.FromSeconds(100));
        await Until.True(() => world.Connection.Counters.Renewals >= 1, clock, TimeSpan.FromSeconds(1));
        release.SetResult();
        Assert.Equal(200, (await call).Status);
    }

    [Fact]
    public async Task A_stop_waits_for_messages_in_flight_and_disconnects_cleanly()
    {
        await using var world = await HubWorld.ConnectAsync();
        world.Faults.Update(faults => faults with { PubackDelayMilliseconds = 100 });
        var sending = world.SendAsync(1);
        await world.Connection.StopAsync(Token);
        Assert.Equal(HubSendStatus.Accepted, (await sending).Status);
        await Until.True(() => world.Events.Contains("module disconnected"));
        Assert.Equal(HubState.Disconnected, world.Connection.Status.State);
        Assert.Equal(0, world.Connection.Status.Reconnects);
        Assert.Equal(HubSendStatus.Retry, (await world.SendAsync(2)).Status);
        Assert.Equal(0, (await world.Connection.GetTwinAsync(Token)).Status);
    }

    [Fact]
    public async Task A_cancelled_send_affects_neither_its_message_nor_the_connection()
    {
        await using var world = await HubWorld.ConnectAsync();
        world.Faults.Update(faults => faults with { PubackDelayMilliseconds = 300 });
        using var impatient = new CancellationTokenSource();
        var sending = world.Connection.SendAsync(HubWorld.Message(1), impatient.Token);
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => sending);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(2)).Status);
        Assert.Equal(2, world.Connection.Counters.Acknowledged);
        Assert.Equal(1, world.Handler.Connects);
    }

    [Fact]
    public async Task A_message_that_is_too_large_is_refused_locally_and_one_just_below_the_limit_is_accepted()
    {
        await using var world = await HubWorld.ConnectAsync();
        Assert.Equal(HubSendStatus.Refused, (await world.SendAsync(1, padding: 262_144)).Status);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(2, padding: 261_000)).Status);
        Assert.Equal(1, world.Handler.Connects);
    }
}
