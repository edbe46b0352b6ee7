using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Options;
using SensorForwarder.Tests.Operations;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

/// <summary>A password or key that was entered in the wrong place is never shown.</summary>
public sealed class SecretTests
{
    static readonly string[] BootValues =
    [
        "Http:Endpoint", "EdgeHub:MetricsUrl", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "EdgeHubConnectionString",
        "IotHubConnectionString", "Buffer:Encryption", "EdgeHub:Transport", "Web:Port", "Web:Dashboard", "RuntimeLogLevel", "OTEL_SDK_DISABLED",
        "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_RESOURCE_ATTRIBUTES", "Http:Authorization",
        "Http:Headers:X-Key", "Http:SecretsFor", "Http:AllowedHosts", "IOTEDGE_WORKLOADURI", "IOTEDGE_AUTHSCHEME", "IOTEDGE_DEVICEID",
        "IOTEDGE_MODULEID", "IOTEDGE_IOTHUBHOSTNAME", "IOTEDGE_GATEWAYHOSTNAME",
    ];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("sensor:PW-0815@gw/x", "a text of 19 characters")]
    [InlineData("http:/u:PW-0815@gw", "a text of 18 characters")]
    [InlineData(@"http:\\u:PW-0815@gw", "http://gw with a user or password")]
    [InlineData("http://u:P?PW-0815@gw", "a text of 21 characters")]
    [InlineData("ftp://gw/#token=PW-0815", "ftp://gw")]
    [InlineData("http://gateway-of-the-northern-site.example.com/readings/in?user=sensor&pass=PW-0815&x=u:p@gw\t\u0000", null)]
    [InlineData("http://sensor-of-the-northern-site:PW-0815-that-is-longer-than-what-is-shown@gw.example.com/", "http://gw.example.com with a user or password")]
    public void A_rejected_endpoint_is_shown_only_by_scheme_and_host_or_not_at_all(string url, string? shown)
    {
        var error = SettingsFixture.NewParser().Parse(new() { ["httpEndpoint"] = url }, []).Verdicts.Single(v => v.Key == "httpEndpoint").Error;
        Assert.DoesNotContain("PW", error ?? "", StringComparison.Ordinal);
        if (shown is not null) Assert.Equal($"{shown} is not allowed; allowed is an absolute http or https URL without user and password", error);
    }

    [Theory]
    [InlineData("http://gw.example/in", "http://gw.example/in")]
    [InlineData("https://gw.example:8443/in?sig=geheim#frag", "https://gw.example:8443/in?..")]
    [InlineData("http://sensor:4711/pw@gw/", "http://..")] // may be a password that contains a slash
    public void An_endpoint_in_use_is_shown_without_parts_that_may_be_secret(string url, string shown)
    {
        var parsed = SettingsFixture.NewParser().Parse(new() { ["httpEndpoint"] = url }, []);
        Assert.Equal(url, parsed.Settings.Forwarding.HttpEndpoint!.OriginalString);
        Assert.Equal(shown, (string?)TwinReport.Patch(parsed, [])["httpEndpoint"]!["value"]);
    }

    [Theory]
    [InlineData("""{"batchSize":fPW0815}""")]
    [InlineData("""{"http://u:PW0815@gw":1,"http://u:PW0815@gw":2}""")]
    public void A_document_that_is_not_valid_JSON_is_not_quoted(string document)
    {
        Assert.Null(DocumentReader.Read(Encoding.UTF8.GetBytes(document), out var problem));
        Assert.DoesNotContain("PW0815", problem, StringComparison.Ordinal);
    }

    [Fact]
    public void A_duplicate_key_of_a_document_is_named()
    {
        Assert.Null(DocumentReader.Read("""{"batchSize":1,"batchSize":2}"""u8, out var problem));
        Assert.Contains("'batchSize'", problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_secret_in_a_settings_document_appears_in_no_output()
    {
        var log = new LogLines();
        using var events = new RecentEvents(TimeProvider.System);
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync("{}");
        using var writers = LoggerFactory.Create(builder => builder.SetMinimumLevel(LogLevel.Trace).AddProvider(events));
        using var operations = new OperationParts(parts, TimeProvider.System);
        var methods = new DirectMethods(parts.Buffer, parts.Forwarder, parts.Scheduler, parts.Store, operations.Source, Module.SensorKinds, TimeProvider.System);
        foreach (var logger in (ILogger<SettingsStore>[])[log.For<SettingsStore>(), writers.CreateLogger<SettingsStore>()])
        {
            using var store = new SettingsStore(
                SettingsFixture.NewParser(), new(new LogLevelSwitch(LogLevel.Trace), parts.Buffer, parts.Forwarder, parts.Scheduler), parts.Buffer, logger);
            await store.StartAsync([], Token);
            using var page = new OperationParts(parts.Buffer, parts.Forwarder, parts.Scheduler, store, TimeProvider.System);
            var version = 0;
            MalformedUrl.Any.Sample(
                url =>
                {
                    // A valid path is shown.
                    if (Option.TryUrl(url.Text, out var endpoint) && url.IsIn(endpoint.AbsolutePath) && !endpoint.PathAndQuery.Contains('@')) return;
                    foreach (var document in Documents(url.Text))
                    {
                        var parsed = store.OfferTwinAsync(document, ++version, Token).GetAwaiter().GetResult();
                        var payload = Encoding.UTF8.GetBytes(document.ToJsonString());
                        var outputs = new List<string>
                        {
                            TwinReport.Patch(parsed, []).ToJsonString(),
                            Encoding.UTF8.GetString(page.Page.WriteSettings()),
                            Encoding.UTF8.GetString(page.Page.WriteNow()),
                            operations.ReadStatus().ToJsonString(),
                        };
                        var called = document.ContainsKey("timeoutSeconds") ? (string[])["validateSettings", "flush", "getDeadLetters"] : ["validateSettings"];
                        outputs.AddRange(called.Select(method =>
                            Encoding.UTF8.GetString(methods.InvokeAsync(method, payload, Token).GetAwaiter().GetResult().Body.Span)));
                        outputs.AddRange(log.All.TakeLast(40));
                        outputs.AddRange(events.Newest().Take(40).Select(entry => entry.Text));
                        foreach (var output in outputs) Assert.False(url.IsIn(output), $"{url.Text}\n{document.ToJsonString()}\n{output}");
                    }
                },
                iter: Tier.Size("TEST_SECRET_DOCUMENTS", quick: 20, full: 100, deep: 100), threads: 1);
        }
    }

    /// <summary>Documents with this text in wrong places.</summary>
    static IEnumerable<JsonObject> Documents(string text) =>
    [
        new() { ["commitIntervalMs"] = 0, ["httpEndpoint"] = text, ["httpEndpoit"] = text, ["batchSize"] = text, ["sink"] = text, ["pollIntervalSeconds"] = text, [text] = text },
        new()
        {
            ["commitIntervalMs"] = 0,
            ["httpEndpoint"] = new JsonArray(text), ["batchSize"] = new JsonObject { [text] = text }, ["logLevel"] = new JsonArray(new JsonArray(text)),
            ["sensors"] = text, ["timeoutSeconds"] = text, ["afterId"] = new JsonArray(text),
        },
        new()
        {
            ["commitIntervalMs"] = 0,
            ["httpEndpoint"] = new JsonObject { ["url"] = text },
            ["sensors"] = new JsonObject
            {
                ["a"] = text,
                ["b"] = new JsonObject { ["kind"] = text },
                ["c"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = text, ["seed"] = text, [text] = text },
                ["d"] = new JsonObject { ["kind"] = "simulated", ["scale"] = new JsonObject { [text] = 1 }, ["enabled"] = text },
                ["e"] = new JsonObject { ["kind"] = "file", ["path"] = $"x{text}", ["format"] = text },
                ["f"] = new JsonObject { ["kind"] = "bme280", ["address"] = text },
                ["g"] = new JsonArray(text),
                [$" {text}"] = new JsonObject { ["kind"] = "host" },
            },
        },
    ];

    [Fact]
    public void A_secret_in_a_malformed_boot_value_does_not_appear_in_the_error_message() => Gen.Select(MalformedUrl.Any, Gen.Int[0, BootValues.Length - 1]).Sample(
        (url, index) =>
        {
            var values = new Dictionary<string, string?> { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://collector:4317", [BootValues[index]] = url.Text };
            var message = Record.Exception(() => BootOptions.Read(new ConfigurationBuilder().AddInMemoryCollection(values).Build()))?.Message;
            Assert.False(message is not null && url.IsIn(message), $"{BootValues[index]}={url.Text}\n{message}");
        },
        iter: 5_000);

    [Theory]
    [InlineData("EdgeHubConnectionString", "HostName=https://u:PW0815@hub;DeviceId=d;SharedAccessKey=a2V5")]
    [InlineData("EdgeHubConnectionString", "HostName=hub;DeviceId=d;x509=PW0815/+=;SharedAccessKey=a2V5")]
    [InlineData("EdgeHubConnectionString", "HostName=hub;DeviceId=PW/0815;SharedAccessKey=a2V5")]
    [InlineData("EdgeHubConnectionString", "HostName=hub;PW0815=1;PW0815=2")]
    [InlineData("Buffer__Encryption", "PW0815")]
    [InlineData("Buffer__KeyFile", "PW\n0815")]
    [InlineData("Settings__File", "http://u:PW0815@gw/settings.json")]
    [InlineData("OTEL_EXPORTER_OTLP_HEADERS", "Bearer PW0815=1")]
    public void A_boot_value_that_may_be_a_key_is_not_quoted(string name, string value)
    {
        var values = new Dictionary<string, string?> { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://collector:4317", [name.Replace("__", ":", StringComparison.Ordinal)] = value };
        var message = Assert.Throws<BootValueException>(() => BootOptions.Read(new ConfigurationBuilder().AddInMemoryCollection(values).Build())).Message;
        Assert.StartsWith($"{name}: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("PW", message, StringComparison.Ordinal);
    }
}
