using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;
using SQLitePCL;

namespace SensorForwarder.Tests.Configuration;

public sealed class SettingsTrialTests : IAsyncLifetime
{
    const string Good = """{"sink":"http","httpEndpoint":"http://good/","batchSize":1,"uploadIntervalSeconds":0,"commitIntervalMs":0,"settingsTrialMinutes":2,"sensors":{}}""";
    static readonly string Bad = Good.Replace("good", "bad", StringComparison.Ordinal);

    readonly FakeTimeProvider _clock = new(BufferFixture.Noon);
    readonly SettingsFixture _parts;
    readonly Recorder _volume = new() { FailCode = raw.SQLITE_FULL, FailsOn = true };
    readonly FakeSink _http;
    readonly HashSet<string> _answering = ["good"];
    SettingsTrial _trial = null!;
    long _version;
    int _stored;

    public SettingsTrialTests()
    {
        _http = new FakeSink { Send = (_, settings, _) => Task.FromResult(Answer(settings)) };
        _parts = new SettingsFixture(inMemory: true) { Clock = _clock, Volume = _volume };
        _parts.Sinks[SinkKind.Http] = _http;
    }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string InForce => _parts.Store.Current!.Settings.Forwarding.HttpEndpoint!.Host;

    string? Refused => _parts.Store.Current!.Verdicts.Single(verdict => verdict.Key == "httpEndpoint").Error;

    public async ValueTask InitializeAsync()
    {
        await StartAsync();
        await OfferAsync(Good);
        await StoreAsync();
        await Until.True(() => _parts.Store.IsForwarding, _clock, TimeSpan.FromSeconds(1));
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        await _parts.DisposeAsync();
    }

    async Task StartAsync()
    {
        await _parts.StartAsync();
        await _parts.Forwarder.StartAsync(Token);
        _trial = new(_parts.Store, _parts.Buffer, _parts.Forwarder, _clock, NullLogger<SettingsTrial>.Instance);
        await _trial.StartAsync(Token);
    }

    async Task StopAsync()
    {
        await _trial.StopAsync(CancellationToken.None);
        _trial.Dispose();
        var stopping = _parts.Forwarder.StopAsync(CancellationToken.None);
        await Until.True(() => stopping.IsCompleted, _clock, TimeSpan.FromSeconds(1));
        await _parts.StopAsync();
    }

    SendResult Answer(ForwardingSettings settings)
    {
        lock (_answering) return _answering.Contains(settings.HttpEndpoint!.Host) ? SendResult.Accepted : new(SendOutcome.Retry, "nobody there");
    }

    async Task OfferAsync(string desired) => await _parts.Store.OfferTwinAsync(SettingsFixture.Parse(desired), ++_version, Token);

    async Task StoreAsync() => await _parts.Buffer.EnqueueAsync(BufferFixture.Reading(++_stored), Token);

    async Task PassAsync(TimeSpan time)
    {
        var end = _clock.GetUtcNow() + time;
        await Until.True(() => _clock.GetUtcNow() >= end, _clock, time > TimeSpan.FromMinutes(1) ? TimeSpan.FromSeconds(10) : TimeSpan.FromSeconds(1));
    }

    Task RolledBackAsync() => Until.True(() => InForce == "good", _clock, TimeSpan.FromSeconds(1));

    [Fact]
    public async Task A_change_that_stops_forwarding_is_rolled_back_and_refused_until_another_value_is_set()
    {
        await StoreAsync();
        await OfferAsync(Bad);
        Assert.Equal("bad", InForce);
        await StoreAsync();
        await Until.True(() => _parts.Forwarder.Status.LastError is not null);
        var began = _clock.GetUtcNow();
        await RolledBackAsync();
        Assert.True(_clock.GetUtcNow() - began >= TimeSpan.FromMinutes(2));
        Assert.Equal("rolled back, because nothing could be forwarded for 2 minutes after the change (nobody there); only another value is accepted", Refused);
        await Until.True(() => _parts.Buffer.GetStatus().Depth == 0, _clock, TimeSpan.FromSeconds(1));

        // The hub sends the same twin again, as after a reconnect.
        await OfferAsync(Bad);
        Assert.Equal("good", InForce);
        Assert.NotNull(Refused);

        await OfferAsync(Bad.Replace("bad", "other", StringComparison.Ordinal));
        Assert.Equal("other", InForce);
        Assert.Null(Refused);
    }

    [Fact]
    public async Task A_rolled_back_change_stays_rolled_back_after_a_restart()
    {
        await OfferAsync(Bad);
        await StoreAsync();
        await RolledBackAsync();
        await Until.True(() => _parts.Buffer.LoadDocument("settings.rolledBack") is { Length: > 2 });
        await StopAsync();
        await StartAsync();
        Assert.Equal("good", InForce);
        Assert.NotNull(Refused);
    }

    [Fact]
    public async Task While_the_volume_rejects_writes_a_change_is_still_rolled_back_and_another_one_is_accepted()
    {
        await OfferAsync(Bad);
        await StoreAsync();
        (_volume.FailKind, _volume.FailAt) = (FileOperationKind.Write, 1);
        await RolledBackAsync();
        Assert.NotNull(Refused);
        await OfferAsync(Bad.Replace("bad", "other", StringComparison.Ordinal));
        Assert.Equal("other", InForce);
        _volume.FailKind = null;
    }

    [Fact]
    public async Task A_trial_continues_after_a_restart()
    {
        await OfferAsync(Bad);
        await StoreAsync();
        await Until.True(() => _parts.Buffer.LoadDocument("settings.trial") is { Length: > 2 }, _clock, TimeSpan.FromSeconds(1));
        await StopAsync();
        await StartAsync();
        Assert.Equal("bad", InForce);
        await RolledBackAsync();
        Assert.NotNull(Refused);
    }

    [Fact]
    public async Task A_change_that_has_worked_is_kept_even_if_the_receiver_fails_later()
    {
        lock (_answering) _answering.Add("bad");
        await OfferAsync(Bad);
        for (var i = 0; i < 30; i++)
        {
            await StoreAsync();
            await PassAsync(TimeSpan.FromSeconds(5));
        }

        lock (_answering) _answering.Clear();
        await StoreAsync();
        await PassAsync(TimeSpan.FromMinutes(10));
        Assert.Equal("bad", InForce);
    }

    [Fact]
    public async Task Without_readings_to_forward_a_change_is_not_rolled_back()
    {
        await OfferAsync(Bad);
        await PassAsync(TimeSpan.FromMinutes(10));
        Assert.Equal("bad", InForce);
        await StoreAsync();
        await RolledBackAsync();
    }

    [Fact]
    public async Task While_forwarding_is_paused_no_change_is_rolled_back()
    {
        _parts.Forwarder.Pause();
        await OfferAsync(Bad);
        await StoreAsync();
        await PassAsync(TimeSpan.FromMinutes(10));
        Assert.Equal("bad", InForce);
    }

    [Fact]
    public async Task A_trial_time_of_zero_disables_the_trial()
    {
        await OfferAsync(Bad.Replace("\"settingsTrialMinutes\":2", "\"settingsTrialMinutes\":0", StringComparison.Ordinal));
        await StoreAsync();
        await PassAsync(TimeSpan.FromMinutes(10));
        Assert.Equal("bad", InForce);
    }

    [Fact]
    public async Task A_change_is_not_put_on_trial_if_forwarding_already_failed_before()
    {
        lock (_answering) _answering.Clear();
        await StoreAsync();
        await Until.True(() => !_parts.Store.IsForwarding, _clock, TimeSpan.FromSeconds(1));
        await OfferAsync(Bad);
        await PassAsync(TimeSpan.FromMinutes(10));
        Assert.Equal("bad", InForce);
    }
}
