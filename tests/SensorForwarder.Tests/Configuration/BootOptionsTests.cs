using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Options;
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
    public void Without_boot_values_the_module_runs_without_a_hub_and_keeps_its_data_in_the_working_directory()
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
    public void A_malformed_boot_value_is_refused_with_its_name_and_value(string name, string value)
    {
        var message = Assert.Throws<BootValueException>(() => Read((name, value))).Message;
        Assert.StartsWith($"{name}: '{value}'", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("127.0.0.1:8086", "127.0.0.1:8086")]
    [InlineData("[::1]:8086", "[::1]:8086")]
    [InlineData("unix:/run/sensorforwarder/intake.sock", "/run/sensorforwarder/intake.sock")]
    public void The_intake_address_is_an_IP_endpoint_or_a_Unix_socket(string text, string place)
    {
        var intake = Read(("Intake__Http", text)).Intake;
        Assert.Equal((place, 1_000, TimeSpan.Zero), (intake.Http!.ToString(), intake.ReadingsPerSecond, intake.MaxSilence));
        Assert.Null(Read().Intake.Http);
    }

    [Theory]
    [InlineData("8086")]
    [InlineData("127.0.0.1")]
    [InlineData("localhost:8086")]
    [InlineData("unix:intake.sock")]
    [InlineData("http://127.0.0.1:8086/")]
    public void An_invalid_intake_address_is_refused_with_examples(string text)
    {
        var message = Assert.Throws<BootValueException>(() => Read(("Intake__Http", text))).Message;
        Assert.StartsWith("Intake__Http: ", message, StringComparison.Ordinal);
        Assert.Contains("127.0.0.1:8086, 0.0.0.0:8086 or [::1]:8086, or unix:/PATH", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0.0.0.0:8086")]
    [InlineData("[::]:8086")]
    [InlineData("192.168.1.7:8086")]
    public void An_intake_that_is_open_to_other_machines_needs_a_token(string text)
    {
        var message = Assert.Throws<BootValueException>(() => Read(("Intake__Http", text))).Message;
        Assert.StartsWith($"Intake__Http: {text} is open to other machines", message, StringComparison.Ordinal);
        Assert.Contains("Intake__TokenFile", message, StringComparison.Ordinal);
        Assert.Equal("/run/secrets/token", Read(("Intake__Http", text), ("Intake__TokenFile", "/run/secrets/token")).Intake.TokenFile);
    }

    [Theory]
    [InlineData("fatal", LogLevel.Critical)]
    [InlineData("error", LogLevel.Error)]
    [InlineData("warning", LogLevel.Warning)]
    [InlineData("info", LogLevel.Information)]
    [InlineData("debug", LogLevel.Debug)]
    [InlineData("verbose", LogLevel.Trace)]
    [InlineData("Information", LogLevel.Information)]
    public void The_log_level_names_of_IoT_Edge_are_accepted(string name, LogLevel level) =>
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
    public void HTTP_headers_are_read_by_name_and_secrets_are_never_printed()
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
    public void An_invalid_value_of_the_HTTP_sink_is_named_without_showing_a_secret(string name, string value)
    {
        var message = Assert.Throws<BootValueException>(() => Read((name, value))).Message;
        Assert.StartsWith($"{name}: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("Http__Endpoint", "somewhere")]
    [InlineData("EdgeHub__MetricsUrl", "somewhere")]
    [InlineData("EdgeHub__MetricsUrl", "htp://user:secret@host/metrics?key=secret")]
    [InlineData("Buffer__Encryption", "secret")]
    [InlineData("Buffer__Encryption", "workload")]
    [InlineData("Buffer__Encryption", "workload", true)]
    public void An_invalid_address_or_choice_is_named_without_showing_a_secret(string name, string value, bool hasKey = false)
    {
        (string, string)[] edge =
        [
            ("IOTEDGE_WORKLOADURI", "unix:///workload.sock"), ("IOTEDGE_DEVICEID", "pi"), ("IOTEDGE_MODULEID", "m"),
            ("IOTEDGE_IOTHUBHOSTNAME", "h.example"), ("IOTEDGE_AUTHSCHEME", "sasToken"),
            ("IOTEDGE_MODULEGENERATIONID", "1"), ("Buffer__KeyFile", "/some/key"),
        ];
        var message = Assert.Throws<BootValueException>(() => Read([(name, value), .. hasKey ? edge : []])).Message;
        Assert.StartsWith($"{name}: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("\n")]
    [InlineData("\r\n")]
    [InlineData(" \t\n\n")]
    public void Trailing_white_space_of_a_boot_value_is_ignored(string end)
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
        Assert.Equal((plain.Hub, plain.EdgeHubMetricsUrl), (ended.Hub, ended.EdgeHubMetricsUrl));

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
    public void Certificates_are_read_from_their_files_and_a_key_that_does_not_match_is_named()
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
        Assert.Equal("Http__CaFile: '/no/such/file.pem' does not exist", FaultOf(("Http__CaFile", "/no/such/file.pem")));
    }

    [Theory]
    [InlineData("0", 0)]
    [InlineData("65535", 65535)]
    public void Every_port_number_is_accepted(string text, int port) => Assert.Equal(port, Read(("Web__Port", text)).WebPort);

    [Theory]
    [InlineData(null, nameof(HubTransport.Auto))]
    [InlineData("auto", nameof(HubTransport.Auto))]
    [InlineData("mqtt", nameof(HubTransport.Mqtt))]
    [InlineData("mqttws", nameof(HubTransport.MqttWs))]
    public void The_hub_transport_is_chosen_by_its_name(string? name, string transport) =>
        Assert.Equal(transport, $"{(name is null ? Read() : Read(("EdgeHub__Transport", name))).Hub.Transport}");

    [Fact]
    public void The_dashboard_is_on_unless_it_is_turned_off()
    {
        Assert.True(Read().WebDashboard);
        Assert.True(Read(("Web__Dashboard", "TRUE")).WebDashboard);
        Assert.False(Read(("Web__Dashboard", "false")).WebDashboard);
        Assert.Empty(Read().WebAllowedHosts);
    }

    [Fact]
    public void Device_and_module_names_come_from_the_identity_the_environment_or_the_machine()
    {
        var alone = Read();
        Assert.Equal((Environment.MachineName, "SensorForwarder"), (alone.DeviceId, alone.ModuleId));
        var named = Read(("Device__Id", "pi-7"), ("Module__Id", "m"));
        Assert.Equal(("pi-7", "m"), (named.DeviceId, named.ModuleId));
        var known = Read(
            ("Device__Id", "pi-7"), ("Module__Id", "m"),
            ("EdgeHubConnectionString", "HostName=h.example;DeviceId=d;ModuleId=n;SharedAccessKey=a2V5"));
        Assert.Equal(("d", "n"), (known.DeviceId, known.ModuleId));
    }

    [Theory]
    [InlineData(false, null, null)]
    [InlineData(true, null, "http://gw:9600/metrics")]
    [InlineData(true, " ", null)]
    [InlineData(true, "http://other:1/m", "http://other:1/m")]
    [InlineData(false, "http://other:1/m", "http://other:1/m")]
    public void The_URL_of_the_metrics_page_of_edgeHub_defaults_to_the_gateway(bool hasGateway, string? url, string? expected)
    {
        List<(string, string)> environment = [];
        if (hasGateway)
        {
            environment.Add((
                "EdgeHubConnectionString",
                "HostName=h.example;GatewayHostName=gw;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5"));
        }

        if (url is not null) environment.Add(("EdgeHub__MetricsUrl", url));
        Assert.Equal(expected is null ? null : new Uri(expected), Read([.. environment]).EdgeHubMetricsUrl);
    }

    [Theory]
    [InlineData("Buffer__Encryption", "aes", "the value is not allowed; allowed is one of \"none\", \"workload\"", "To use your own key, set 'Buffer__KeyFile'")]
    [InlineData("Buffer__Encryption", "workload", "'workload' needs IoT Edge's workload API")]
    [InlineData("EdgeHub__Transport", "amqp", "'amqp' is not allowed; allowed is one of \"auto\", \"mqtt\"", "'mqttws' (WebSocket on 443)")]
    [InlineData("EdgeHub__MetricsUrl", "edgeHub:9600", "a text of 12 characters is not allowed; allowed is an absolute http or https URL", "Empty: off")]
    [InlineData("Http__Endpoint", "http://u:p@a/", "http://a with a user or password is not allowed", "belong in 'Http__Authorization'")]
    [InlineData("Http__Endpoint", "ftp://a/", "ftp://a is not allowed; allowed is an absolute http or https URL")]
    [InlineData("Web__Port", "off", "'off' is not allowed; allowed is an integer from 0 to 65535", "0: off")]
    [InlineData("Web__Dashboard", "yes", "'yes' is not allowed; allowed is true or false")]
    [InlineData("Buffer__Directory", "https://x/data", "the value is not allowed; allowed is a path on one line")]
    [InlineData("Buffer__KeyFile", "abc\ndef", "the value is not allowed; allowed is a path on one line")]
    [InlineData("Settings__File", "file:///x", "the value is not allowed; allowed is a path on one line")]
    [InlineData("Http__SecretsFor", "https://a,https://b/path", "entry 2 is not allowed; allowed is a list of origins")]
    [InlineData("Http__SecretsFor", "https://a?x", "entry 1 is not allowed; allowed is a list of origins")]
    [InlineData("Http__SecretsFor", "https://a/#x", "entry 1 is not allowed; allowed is a list of origins")]
    [InlineData("Http__SecretsFor", "a.example", "entry 1 is not allowed; allowed is a list of origins")]
    [InlineData("Http__AllowedHosts", "a.example,b:80/x", "entry 2 is not allowed; allowed is a list of host names")]
    [InlineData("Http__AllowedHosts", "http://a", "entry 1 is not allowed; allowed is a list of host names")]
    [InlineData("Http__AllowedHosts", "*.", "entry 1 is not allowed; allowed is a list of host names")]
    [InlineData("Sensors__FileRoots", "sys", "entry 1 is not allowed; allowed is a list of absolute paths without '..'")]
    [InlineData("Sensors__FileRoots", "/sys:/srv/../etc", "entry 2 is not allowed; allowed is a list of absolute paths without '..'")]
    [InlineData("Http__ClientKeyFile", "/a.key", "'/a.key' is a key without a certificate", "Http__ClientCertificateFile")]
    public void An_invalid_boot_value_is_refused_with_the_reason_and_a_hint(string name, string value, string problem, string hint = "")
    {
        var message = Assert.Throws<BootValueException>(() => Read((name, value))).Message;
        Assert.StartsWith(name, message, StringComparison.Ordinal);
        Assert.Contains(problem, message, StringComparison.Ordinal);
        Assert.Contains(hint, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Idempotency-Key")]
    [InlineData("batch-lane")]
    [InlineData("authorization")]
    [InlineData("Host")]
    [InlineData("Connection")]
    [InlineData("Transfer-Encoding")]
    [InlineData("Expect")]
    [InlineData("Content-Length")]
    public void A_header_that_the_module_sets_itself_is_refused(string name) =>
        Assert.Contains(
            "this header can't be set",
            Assert.Throws<BootValueException>(() => Read(($"Http__Headers__{name}", "x"))).Message,
            StringComparison.Ordinal);

    [Fact]
    public void A_header_value_may_contain_every_character_that_HTTP_allows() =>
        Assert.Equal("a\tb ~!", Read(("Http__Headers__X-Key", "a\tb ~!")).Http.Headers["X-Key"]);

    [Fact]
    public void Secrets_are_sent_only_to_the_configured_endpoint_unless_other_origins_are_named()
    {
        Assert.Equal(["https://a:8443"], Read(("Http__Endpoint", "https://a:8443/in")).Http.SecretsFor);
        Assert.Empty(Read().Http.SecretsFor);
        Assert.Equal(
            ["https://b", "http://c:81"],
            Read(("Http__Endpoint", "https://a/in"), ("Http__SecretsFor", "https://B:443/, http://c:81")).Http.SecretsFor);
    }

    [Fact]
    public void Only_the_allowed_hosts_and_the_host_of_the_endpoint_may_be_sent_to()
    {
        static bool MayGo(BootOptions boot, string url) => boot.Http.Addresses.Objection(new(url)) is null;
        Assert.True(MayGo(Read(), "http://anywhere/"));
        var boot = Read(("Http__Endpoint", "http://a.example/"), ("Http__AllowedHosts", "b.example, *.c.example"));
        Assert.True(MayGo(boot, "http://a.example/x"));
        Assert.True(MayGo(boot, "http://b.example:81/"));
        Assert.True(MayGo(boot, "http://x.c.example/"));
        Assert.False(MayGo(boot, "http://x.b.example/"));
        Assert.False(MayGo(boot, "http://other/"));
    }
}
