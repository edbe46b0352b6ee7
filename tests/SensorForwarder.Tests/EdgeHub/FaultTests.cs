using EdgeSimulator.Faults;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The module's connection against every fault of the simulator, with each kind of identity: accepted messages
/// have arrived, and the log says what a person has to do.</summary>
public abstract class FaultTests
{
    private protected abstract EdgeIdentity IdentityIn(HubWorld world);

    private protected async Task<HubWorld> OpenAsync(TimeProvider clock, Random? random = null)
    {
        var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        if (random is not null) world.Random = random;
        world.Use(IdentityIn(world));
        return world;
    }

    private protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>A clock for the module that the test advances; the hub uses the system's clock.</summary>
    private protected static ObservedClock NewClock() => new(TimeProvider.System.GetUtcNow());

    private protected static async Task RecoversAsync(HubWorld world, FakeTimeProvider clock)
    {
        world.Faults.Update(_ => new());
        var connected = world.Connection.WaitUntilConnectedAsync(Token);
        await Until.True(() => connected.IsCompleted, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
    }

    [Theory]
    [InlineData(1, "rejects the connection (UnsupportedProtocolVersion)")]
    [InlineData(2, "rejects the connection (ClientIdentifierNotValid)")]
    [InlineData(3, "is reachable but not ready (CONNACK 3)")]
    [InlineData(4, "refuses the identity pi1/telemetry from {0} (CONNACK 4)")]
    [InlineData(5, "refuses the identity pi1/telemetry from {0} (CONNACK 5)")]
    public async Task Each_CONNACK_error_code_is_logged_distinctly_and_the_connection_is_retried(int code, string line)
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { Connack = code });
        await world.StartAsync();
        await world.Log.Waits(line.Replace("{0}", world.Used.Source, StringComparison.Ordinal));
        await RecoversAsync(world, clock);
    }

    [Theory]
    [InlineData(nameof(CertificateFault.Expired), "expired at ")]
    [InlineData(nameof(CertificateFault.OtherHost), "is issued to 'other.example', not to ")]
    [InlineData(nameof(CertificateFault.Untrusted), "is not trusted: ")]
    public async Task A_bad_server_certificate_is_rejected_and_the_log_names_the_fault(string fault, string line)
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { Certificate = Enum.Parse<CertificateFault>(fault) });
        await world.StartAsync();
        await world.Log.Waits(line);
        Assert.DoesNotContain("module connected", world.Events);
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_slow_clock_is_detected_by_the_certificate_and_a_clock_step_ends_the_wait()
    {
        var clock = new SteppingClock();
        clock.Step(TimeSpan.FromDays(-365));
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Log.Waits("the clock is behind");
        clock.Step(TimeSpan.FromDays(365));
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.True(world.Log.Has("The clock has stepped by 31536000 s"));
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
    }

    [Fact]
    public async Task When_an_expired_token_is_refused_the_log_shows_the_time_of_the_clock()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { TokenClockSkewSeconds = 7200 });
        await world.StartAsync();
        await world.Log.Waits("This machine's clock says ");
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_CONNECT_without_an_answer_times_out_and_is_retried()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { NoConnack = true });
        await world.StartAsync();
        await Until.True(() => world.Log.Has("timed out waiting for the CONNACK"), clock, TimeSpan.FromSeconds(5));
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_connection_without_a_TLS_handshake_times_out_and_is_retried()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { HalfOpen = true });
        await world.StartAsync();
        await Until.True(() => world.Log.Has("timed out waiting for the TLS handshake"), clock, TimeSpan.FromSeconds(5));
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_connection_attempt_early_in_an_outage_has_a_shorter_timeout()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { HalfOpen = true });
        await world.StartAsync();
        await clock.UntilTimerAsync(clock.GetUtcNow().AddSeconds(10)); // a third of the timeout after a long outage
        await Until.True(
            () => world.Log.Has("timed out waiting for the TLS handshake"), clock, TimeSpan.FromSeconds(1));
        await RecoversAsync(world, clock);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task While_the_hub_is_unreachable_no_retry_delay_exceeds_a_quarter_of_the_outage(bool beginsWithRenewal)
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock, new Highest());
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { Connack = 3 });
        if (beginsWithRenewal) await clock.UntilTimerAsync(clock.GetUtcNow().AddMinutes(40), clock.GetUtcNow().AddMinutes(49));
        clock.Advance(beginsWithRenewal ? TimeSpan.FromMinutes(49) : TimeSpan.FromSeconds(20));
        var began = clock.GetUtcNow();
        if (!beginsWithRenewal) world.Hub.Cut("test");
        await Until.True(() => world.Log.Seconds("next attempt in ").Count >= 7, clock, TimeSpan.FromSeconds(0.1));
        var share = Math.Max(1, (clock.GetUtcNow() - began).TotalSeconds / 4);
        Assert.All(world.Log.Seconds("next attempt in "), wait => Assert.InRange(wait, 1, share + 0.051)); // the log rounds
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_silent_connection_is_closed_when_an_acknowledgement_is_overdue()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { HalfOpen = true });
        var sending = world.SendAsync(7);
        await Until.True(() => sending.IsCompleted, clock, TimeSpan.FromSeconds(5));
        Assert.Equal(HubSendStatus.Retry, (await sending).Status);
        Assert.Equal(1, world.Connection.Counters.TimedOut);
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_blackout_is_survived_and_messages_in_flight_are_not_reported_as_accepted()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { PubackDelayMilliseconds = 60_000 });
        var sends = Enumerable.Range(10, 8).Select(id => world.SendAsync(id)).ToList();
        world.Faults.Update(faults => faults with { Blackout = true });
        Assert.All(await Task.WhenAll(sends), result => Assert.Equal(HubSendStatus.Retry, result.Status));
        await Until.True(() => world.Log.Has("Connection refused"), clock, TimeSpan.FromSeconds(1));
        Assert.Equal(HubSendStatus.Retry, (await world.SendAsync(20)).Status);
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_missing_PUBACK_is_detected_while_others_arrive()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { LosePubacks = 1 });
        var lost = world.SendAsync(1);
        var id = 1L;
        while (!lost.IsCompleted)
        {
            await world.SendAsync(++id);
            clock.Advance(TimeSpan.FromSeconds(1));
        }

        Assert.Equal(HubSendStatus.Retry, (await lost).Status);
        Assert.Equal(1, world.Connection.Counters.TimedOut);
        Assert.True(id > 55, $"timed out after {id} s");
        await RecoversAsync(world, clock);
        Assert.Equal(1, world.Ledger.Summary().Duplicates);
        Assert.Equal(1, world.Ledger.Summary().DuplicatesExplained);
    }

    [Fact]
    public async Task PUBACKs_out_of_order_are_accepted()
    {
        await using var world = await OpenAsync(TimeProvider.System);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { SwapPubacks = 20 });
        var results = await Task.WhenAll(Enumerable.Range(1, 100).Select(id => world.SendAsync(id)));
        Assert.All(results, result => Assert.Equal(HubSendStatus.Accepted, result.Status));
        Assert.Equal(1, world.Handler.Connects);
    }

    [Fact]
    public async Task A_throttling_hub_does_not_cause_a_timeout_while_acknowledgements_arrive()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { PubackDelayMilliseconds = 50 });
        var sends = Enumerable.Range(1, 20).Select(id => world.SendAsync(id)).ToList();

        // 30 s of the module's clock for each acknowledgement: ten minutes for all messages in flight.
        for (var done = 1; done <= sends.Count; done++)
        {
            await sends[done - 1];
            // Only if the next acknowledgement is still missing, or several steps would fall between two of them.
            if (done == sends.Count || !sends[done].IsCompleted) clock.Advance(TimeSpan.FromSeconds(30));
        }

        Assert.All(sends, send => Assert.Equal(HubSendStatus.Accepted, send.Result.Status));
        Assert.Equal(1, world.Handler.Connects);
    }

    [Fact]
    public async Task Messages_are_accepted_over_a_slow_line_with_high_latency()
    {
        await using var world = await OpenAsync(TimeProvider.System);
        world.Faults.Update(faults => faults with { LatencyMilliseconds = 100, BandwidthBytesPerSecond = 200_000 });
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        var results = await Task.WhenAll(Enumerable.Range(1, 8).Select(id => world.SendAsync(id, padding: 30_000)));
        Assert.All(results, result => Assert.Equal(HubSendStatus.Accepted, result.Status));
    }

    [Theory]
    [InlineData(429)]
    [InlineData(500)]
    public async Task A_refused_twin_request_does_not_delay_telemetry(int status)
    {
        await using var world = await OpenAsync(TimeProvider.System);
        world.Faults.Update(faults => faults with { TwinStatus = status });
        HubAnswer answer = default;
        world.Handler.OnConnected = async token => answer = await world.Connection.GetTwinAsync(token);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal(status, answer.Status);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
    }

    [Fact]
    public async Task A_stalled_twin_request_does_not_break_the_connection()
    {
        await using var world = await OpenAsync(TimeProvider.System);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { TwinDelayMilliseconds = 1000 });
        var twin = world.Connection.GetTwinAsync(Token);
        var sending = world.SendAsync(1);
        Assert.Equal(HubSendStatus.Accepted, (await sending).Status);
        Assert.Equal(200, (await twin).Status);
        Assert.Equal(1, world.Handler.Connects);
    }

    [Fact]
    public async Task A_twin_request_without_an_answer_times_out()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { HalfOpen = true });
        var twin = world.Connection.GetTwinAsync(Token);
        await Until.True(() => twin.IsCompleted, clock, TimeSpan.FromSeconds(5));
        Assert.Equal(0, (await twin).Status);
        Assert.Equal(0, world.Connection.OpenRequests);
    }

    [Fact]
    public async Task A_second_client_with_the_same_identity_is_reported_in_the_log()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        using var rival = world.NewConnection(IdentityIn(world));
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        await rival.StartAsync(Token);
        await Until.True(() => world.Log.Has("another client connects as pi1/telemetry"), clock, TimeSpan.FromSeconds(1));

        // Without the rival the connection recovers.
        await rival.StopAsync(Token);
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_token_renewal_while_the_hub_is_not_ready_counts_as_an_outage()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { Connack = 3 });
        clock.Advance(TimeSpan.FromMinutes(49));
        await Until.True(
            () => world.Connection.Status.State == HubState.Disconnected, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(HubSendStatus.Retry, (await world.SendAsync(9)).Status);
        Assert.Equal(1, world.Connection.Status.Reconnects);
        await RecoversAsync(world, clock);
    }
}

/// <summary>With <c>EdgeHubConnectionString</c>, as iotedgehubdev sets it.</summary>
public sealed class ConnectionStringFaultTests : FaultTests
{
    private protected override EdgeIdentity IdentityIn(HubWorld world) => world.KeyIdentity;
}

/// <summary>With the <c>IOTEDGE_*</c> variables of edgeAgent, and with faults of the workload API.</summary>
public sealed class WorkloadFaultTests : FaultTests
{
    private protected override EdgeIdentity IdentityIn(HubWorld world) => world.WorkloadIdentity;

    [Theory]
    [InlineData(403, "The workload API refuses sign: 403 ")]
    [InlineData(404, "The workload API refuses sign: 404 ")]
    [InlineData(500, "The workload API refuses sign: 500 ")]
    public async Task A_refusal_of_the_workload_API_is_logged_and_retried(int status, string line)
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { WorkloadStatus = status });
        await world.StartAsync();
        await Until.True(() => world.Log.Has(line), clock, TimeSpan.FromSeconds(1));
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task A_workload_API_that_closes_its_socket_is_logged_and_retried()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        world.Faults.Update(faults => faults with { WorkloadCloses = true });
        await world.StartAsync();
        await Until.True(() => world.Log.Has("can't be reached"), clock, TimeSpan.FromSeconds(1));
        await RecoversAsync(world, clock);
    }

    [Fact]
    public async Task An_unreachable_workload_API_does_not_prevent_a_reconnect_while_the_token_is_valid()
    {
        var clock = NewClock();
        await using var world = await OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { WorkloadCloses = true });
        world.Hub.Cut("test");
        await Until.True(() => world.Handler.Connects >= 2, clock, TimeSpan.FromSeconds(1));
    }
}
