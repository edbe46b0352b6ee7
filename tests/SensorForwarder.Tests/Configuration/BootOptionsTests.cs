using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

public sealed class BootOptionsTests
{
    static BootOptions Read(params (string Name, string Value)[] environment) => BootOptions.Read(
        new ConfigurationBuilder()
            .AddInMemoryCollection(environment.Select(pair =>
                KeyValuePair.Create(pair.Name.Replace("__", ":", StringComparison.Ordinal), (string?)pair.Value)))
            .Build());

    [Fact]
    public void Without_any_the_module_runs_without_a_hub_and_keeps_its_data_beside_it()
    {
        var boot = Read();
        Assert.Null(boot.Identity);
        Assert.Equal("data", boot.BufferDirectory);
        Assert.Equal(9600, boot.WebPort);
        Assert.Equal("SensorForwarder", boot.ModuleId);
        Assert.Equal(LogLevel.Information, boot.LogLevel);
    }

    [Theory]
    [InlineData("Web__Port", "http")]
    [InlineData("Web__Port", "65536")]
    [InlineData("Web__Port", "-1")]
    [InlineData("RuntimeLogLevel", "loud")]
    [InlineData("RuntimeLogLevel", "7")]
    [InlineData("Sensors__FileRoots", "sys")]
    [InlineData("Sensors__FileRoots", "/srv/../etc")]
    public void A_malformed_one_is_named_with_its_value(string name, string value)
    {
        var message = Assert.Throws<BootValueException>(() => Read((name, value))).Message;
        Assert.StartsWith($"{name}: '{value}'", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("fatal", LogLevel.Critical)]
    [InlineData("error", LogLevel.Error)]
    [InlineData("warning", LogLevel.Warning)]
    [InlineData("info", LogLevel.Information)]
    [InlineData("debug", LogLevel.Debug)]
    [InlineData("verbose", LogLevel.Trace)]
    [InlineData("Information", LogLevel.Information)]
    public void The_log_levels_of_IoT_Edge_are_understood(string name, LogLevel level) =>
        Assert.Equal(level, Read(("RuntimeLogLevel", name)).LogLevel);

    [Theory]
    [InlineData("/srv/meters", "/srv/meters")]
    [InlineData("/srv/meters:/run/x/", "/srv/meters", "/run/x")]
    [InlineData(" /srv/meters , /run//x ,", "/srv/meters", "/run/x")]
    [InlineData("/", "/")]
    [InlineData("", "/sys", "/host/sys", "/proc", "/run/sensors", "/data/files")]
    public void Directories_of_file_sensors_are_separated_by_colons_or_commas(string text, params string[] directories)
    {
        var boot = Read(("Sensors__FileRoots", text), ("Sensors__SysfsRoot", "/host/sys"));
        Assert.Equal(directories, boot.Sensors.Files);
    }

    [Fact]
    public void Headers_are_taken_by_name_and_secrets_are_never_printed()
    {
        var boot = Read(("Http__Authorization", "Bearer hunter2"), ("Http__Headers__X-Key", "hunter3"), ("Http__Endpoint", "http://a/"));
        Assert.Equal("hunter3", boot.Http.Headers["X-Key"]);
        Assert.DoesNotContain("hunter", boot.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Http__Authorization", "Bearer secret\nX: y")]
    [InlineData("Http__Headers__X-Key", "secret\u00e9")]
    [InlineData("Http__Headers__X Key", "secret")]
    [InlineData("Http__Headers__Content-Type", "secret")]
    [InlineData("Http__Headers__Host", "secret")]
    [InlineData("Http__ClientKeyFile", "/no/such/file.pem")]
    public void A_bad_value_of_the_http_sink_is_named_and_no_secret_is_shown(string name, string value)
    {
        var message = Assert.Throws<BootValueException>(() => Read((name, value))).Message;
        Assert.StartsWith($"{name}: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("\n")]
    [InlineData("\r\n")]
    [InlineData(" \t\n\n")]
    public void What_a_file_or_a_heredoc_leaves_at_the_end_of_a_value_is_not_part_of_it(string end)
    {
        (string Name, string Value)[] values =
        [
            ("Http__Endpoint", "http://a/in"), ("Http__Authorization", "Bearer key"),
            ("Http__Headers__X-Key", "key"), ("Http__Headers__X-Empty", ""),
            ("Buffer__Directory", "/data"), ("Buffer__KeyFile", "/key"), ("Settings__File", "/settings.json"),
            ("Web__Port", "9601"), ("Web__AllowedHosts", "pi.example,\nroof.example"), ("Web__Dashboard", "false"),
            ("Device__Id", "pi"), ("Module__Id", "m"), ("RuntimeLogLevel", "debug"),
            ("EdgeHub__Transport", "mqttws"), ("EdgeHub__MetricsUrl", "http://b/metrics"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"), ("OTEL_SERVICE_NAME", "s"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ("EdgeHubConnectionString", "HostName=h.example;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5"),
        ];
        var plain = Read(values);
        var ended = Read([.. values.Select(pair => (pair.Name, pair.Value + end))]);
        Assert.Equal(Texts(plain), Texts(ended));
        Assert.Equal("key", ended.Http.Headers["X-Key"]);
        Assert.Equal(["pi.example", "roof.example"], ended.WebAllowedHosts);
        Assert.Equal((plain.Hub, plain.Upstream), (ended.Hub, ended.Upstream));

        static IEnumerable<string?> Texts(BootOptions boot) =>
        [
            boot.BufferDirectory, boot.BufferKeyFile, boot.SettingsFile, $"{boot.HttpEndpoint}", boot.Http.Authorization,
            .. boot.Http.Headers.Select(header => $"{header}").Order(), $"{boot.WebPort} {boot.WebDashboard} {boot.LogLevel}",
            .. boot.Otlp!.Headers.Select(header => $"{header}").Order(), $"{boot.Otlp.Endpoint}",
            .. boot.Otlp.ResourceAttributes.Select(pair => $"{pair}").Order(), $"{boot.Otlp.Protocol} {boot.Otlp.Interval}",
            boot.Identity!.HubHostName, boot.Identity.DeviceId, boot.Identity.ModuleId,
            Convert.ToBase64String(boot.Identity.SharedAccessKey!.Value.Span),
        ];
    }

    [Fact]
    public void Certificates_are_read_from_their_files_and_a_key_that_does_not_fit_is_named()
    {
        using var roots = new Certificates();
        using var directory = new BufferFixture();
        using var ours = roots.Issue("pi-7");
        using var other = roots.Issue("pi-8");
        string Save(string name, string text)
        {
            var path = Path.Combine(directory.Directory, name);
            File.WriteAllText(path, text);
            return path;
        }

        string FaultOf(params (string, string)[] environment) =>
            Read(environment).Http.Tls.TryRead(out _, out var fault) ? "none" : fault;

        var ca = Save("ca.pem", Certificates.Pem(roots.Root));
        var certificate = Save("client.pem", Certificates.Pem(ours, roots.Root));
        var key = Save("client.key", Certificates.KeyPem(ours));
        var both = Save("both.pem", Certificates.KeyPem(ours) + Certificates.Pem(ours, roots.Root));
        var binary = Path.Combine(directory.Directory, "ca.der");
        File.WriteAllBytes(binary, roots.Root.RawData);
        foreach (var environment in new (string, string)[][]
        {
            [("Http__CaFile", ca), ("Http__ClientCertificateFile", certificate), ("Http__ClientKeyFile", key)],
            [("Http__CaFile", binary), ("Http__ClientCertificateFile", both)],
        })
        {
            Assert.True(Read(environment).Http.Tls.TryRead(out var tls, out _));
            Assert.Equal(roots.Root.Thumbprint, Assert.Single(tls.Roots!).Thumbprint);
            Assert.True(tls.Certificate!.HasPrivateKey);
            Assert.Equal(roots.Root.Thumbprint, Assert.Single(tls.Chain).Thumbprint);
        }

        var wrong = Save("wrong.key", Certificates.KeyPem(other));
        Assert.StartsWith(
            $"Http__ClientKeyFile: '{wrong}' has no key",
            FaultOf(("Http__ClientCertificateFile", certificate), ("Http__ClientKeyFile", wrong)),
            StringComparison.Ordinal);
        Assert.StartsWith(
            $"Http__ClientCertificateFile: '{certificate}' has no key",
            FaultOf(("Http__ClientCertificateFile", certificate)), StringComparison.Ordinal);
        var bad = Save("bad.pem", "no certificate");
        Assert.Equal($"Http__CaFile: '{bad}' has no certificate (PEM or DER)", FaultOf(("Http__CaFile", bad)));
        Assert.Equal("Http__CaFile: '/no/such/file.pem' is not there", FaultOf(("Http__CaFile", "/no/such/file.pem")));
    }
}
