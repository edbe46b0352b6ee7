using System.Runtime.Versioning;
using System.Text;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Configuration;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

/// <summary>The log lines about certificate and key files, which are written even while there is no connection.</summary>
[SupportedOSPlatform("linux")]
public sealed class CertificateWatchTests : IDisposable
{
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    readonly RenewedCertificates _tls = new();
    readonly LogLines _log = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _tls.Dispose();
        LogLine.Check(_log.All);
    }

    static BootOptions Boot(params (string Name, string Value)[] environment) => BootOptions.Read(
        new ConfigurationBuilder()
            .AddInMemoryCollection(environment.Select(pair =>
                KeyValuePair.Create(pair.Name.Replace("__", ":", StringComparison.Ordinal), (string?)pair.Value)))
            .Build());

    async Task<CertificateWatch> WatchAsync(BootOptions boot, TimeProvider clock)
    {
        var watch = new CertificateWatch(boot, clock, _log.For<CertificateWatch>());
        await watch.StartAsync(Token);
        return watch;
    }

    int Count(string text) => _log.All.Count(line => line.Contains(text, StringComparison.Ordinal));

    // The watch has finished a check when it waits for the next one.
    static async Task LookHourlyUntilAsync(ObservedClock clock, Func<bool> condition)
    {
        for (var hours = 0; ; hours++)
        {
            await clock.UntilTimerAsync(clock.GetUtcNow(), clock.GetUtcNow() + TimeSpan.FromMinutes(1));
            if (condition()) return;
            Assert.True(hours < 1_000, "the condition did not become true within 1,000 hours");
            clock.Advance(TimeSpan.FromHours(1));
        }
    }

    static async Task StopAsync(CertificateWatch watch)
    {
        await watch.StopAsync(Token);
        watch.Dispose();
    }

    [Fact]
    public async Task An_invalid_certificate_file_is_logged_once_and_so_is_its_recovery()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        _tls.Write("pi-7");
        File.Move(_tls.CaFile, $"{_tls.CaFile}.later");
        var watch = await WatchAsync(Boot(_tls.HttpVariables), clock);
        await _log.Waits($"Http__CaFile: '{_tls.CaFile}' does not exist. No connection");
        File.Move($"{_tls.CaFile}.later", _tls.CaFile);
        await Until.True(() => _log.Has("are valid again"), clock, TimeSpan.FromMinutes(1));

        // Missing, then half written, then of another certificate: logged once.
        var key = await File.ReadAllTextAsync(_tls.KeyFile, Token);
        File.Delete(_tls.KeyFile);
        var line = $"Http__ClientKeyFile: '{_tls.KeyFile}' does not exist. The previous content stays in use";
        await Until.True(() => _log.Has(line), clock, TimeSpan.FromMinutes(1));
        await File.WriteAllTextAsync(_tls.KeyFile, key[..40], Token);
        clock.Advance(TimeSpan.FromMinutes(1));
        _tls.Write("pi-7 renewed");
        await Until.True(() => Count("are valid again") >= 2, clock, TimeSpan.FromMinutes(1));
        _tls.Write("pi-7 renewed again");
        await Until.True(() => _log.Has("the files have changed"), clock, TimeSpan.FromMinutes(1));
        await StopAsync(watch);
        Assert.Equal(2, Count("does not exist"));
        Assert.Equal(2, Count("are valid again"));
    }

    [Fact]
    public async Task An_expiring_certificate_is_logged_once_a_day_in_its_last_week_and_when_it_has_expired()
    {
        var until = new DateTimeOffset(_tls.Write("pi-7").NotAfter);
        var clock = new ObservedClock(until.AddDays(-8));
        var watch = await WatchAsync(Boot(_tls.HttpVariables), clock);
        await LookHourlyUntilAsync(clock, () => _log.Has("expires at"));
        Assert.Matches(
            $@"Http__ClientCertificateFile: '{_tls.CertificateFile}' .* CN=pi-7 .*expires at .*, in (7\.0|6\.\d) days",
            Assert.Single(_log.All, line => line.Contains("expires at", StringComparison.Ordinal)));
        await LookHourlyUntilAsync(clock, () => _log.Has("expired at"));
        Assert.InRange(Count("expires at"), 2, 8);

        _tls.Write("pi-7 renewed", days: 10);
        await LookHourlyUntilAsync(clock, () => _log.Has("CN=pi-7 renewed"));
        Assert.Equal(1, Count("expired at"));
        await StopAsync(watch);
    }

    [Fact]
    public async Task A_renewed_short_lived_certificate_is_logged_only_in_the_last_third_of_its_life()
    {
        _tls.Write("pi-7", days: 2);
        var clock = new ObservedClock(TimeProvider.System.GetUtcNow());
        var watch = await WatchAsync(Boot(_tls.HttpVariables), clock);
        await _log.Waits("CN=pi-7 that expires at");
        _tls.Write("pi-7 renewed", days: 9);
        await LookHourlyUntilAsync(clock, () => _log.Has("CN=pi-7 renewed that expires at"));
        var line = _log.All.First(line => line.Contains("CN=pi-7 renewed", StringComparison.Ordinal));
        Assert.Matches(@"in (3\.0|2\.\d) days", line);
        await StopAsync(watch);
    }

    [Fact]
    public async Task The_metric_shows_when_each_certificate_expires()
    {
        await using var parts = await new SettingsFixture().StartAsync("""{"sensors":{}}""");
        var certificate = _tls.Write("pi-7");
        var boot = Boot([
            .. _tls.HttpVariables,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", _tls.CaFile),
            ("IotHubConnectionString", "HostName=h;DeviceId=d;x509=true"), ("EdgeHub__ClientCertificateFile", "/none"),
        ]);
        using var operations = new OperationParts(parts, TimeProvider.System, new FakeHub());
        using var metrics = operations.NewMetrics(boot);
        using var text = new MetricsText(metrics);
        IReadOnlyList<PrometheusSample> Samples() => PrometheusText.Read(Encoding.UTF8.GetString(text.Write()))
            .Single(family => family.Name == "sensorforwarder_certificate_expiry_timestamp_seconds").Samples;

        Assert.Empty(Samples());
        var watch = await WatchAsync(boot, TimeProvider.System);
        await Until.True(() => Samples().Count > 0);
        var sample = Assert.Single(Samples());
        Assert.Equal("Http__ClientCertificateFile", sample.Labels["variable"]);
        Assert.Equal(new DateTimeOffset(certificate.NotAfter).ToUnixTimeSeconds(), sample.Value);
        await StopAsync(watch);
    }

    [Fact]
    public async Task A_key_file_that_other_users_can_read_is_logged_with_its_mode()
    {
        string Key(string name, UnixFileMode mode)
        {
            var path = Path.Combine(_tls.Directory, name);
            File.WriteAllText(path, "a key");
            File.SetUnixFileMode(path, mode);
            return path;
        }

        var link = Path.Combine(_tls.Directory, "link");
        File.CreateSymbolicLink(link, Key("http.key", OwnerOnly));
        var otlp = Key("otlp.key", OwnerOnly | UnixFileMode.OtherRead);
        var both = Key("hub.pem", OwnerOnly | UnixFileMode.GroupRead);
        var buffer = Key("buffer.key", OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        var watch = await WatchAsync(
            Boot(
                ("Http__ClientCertificateFile", _tls.CertificateFile), ("Http__ClientKeyFile", link),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"),
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", _tls.CertificateFile),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", otlp),
                ("IotHubConnectionString", "HostName=h;DeviceId=d;x509=true"), ("EdgeHub__ClientCertificateFile", both),
                ("Buffer__KeyFile", buffer)),
            TimeProvider.System);
        await _log.Waits("Buffer__KeyFile");
        await StopAsync(watch);
        foreach (var (variable, path, mode) in new[]
        {
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", otlp, "0604"), ("EdgeHub__ClientCertificateFile", both, "0640"),
            ("Buffer__KeyFile", buffer, "0644"),
        })
        {
            var text = $"{variable}: '{path}' is a key that other users can read (mode {mode}). Run chmod 600";
            Assert.Single(_log.All, line => line.Contains(text, StringComparison.Ordinal));
        }

        Assert.Equal(3, Count("other users can read"));
    }
}
