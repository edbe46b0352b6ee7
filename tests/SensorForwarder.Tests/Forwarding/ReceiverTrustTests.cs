using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Net;
using SensorForwarder.Options;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A writer of the twin gets neither the secrets of the host's operator nor access to its network.</summary>
public sealed class ReceiverTrustTests
{
    static readonly Batch Batch = new BatchEncoder("pi", "module").Encode(
        [new BufferedReading(5, BufferFixture.Noon, "{\"sensor\":\"a\"}"u8.ToArray()) { Epoch = "epoch" }], int.MaxValue);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static BootOptions Boot(params (string Name, string? Value)[] values) => BootOptions.Read(new ConfigurationBuilder()
        .AddInMemoryCollection(values.Select(pair => KeyValuePair.Create(pair.Name.Replace("__", ":", StringComparison.Ordinal), pair.Value)))
        .Build());

    static BootOptions WithSecrets(params (string Name, string? Value)[] values) =>
        Boot([("Http__Authorization", "Bearer geheim"), ("Http__Headers__X-Key", "geheim"), .. values]);

    static SettingsParser ParserOf(BootOptions boot) =>
        new(Settings.Defaults(boot), hasIdentity: false, new(Module.SensorKinds, new(new("/proc", "/sys", "/tmp"), TimeProvider.System)), boot.Http);

    static JsonObject Acknowledge(BootOptions boot, string? endpoint) =>
        TwinReport.Patch(ParserOf(boot).Parse(endpoint is null ? [] : new() { ["httpEndpoint"] = endpoint }, []), [])["httpEndpoint"]!.AsObject();

    static async Task<SendResult> SendAsync(BootOptions boot, Uri url)
    {
        using var sink = new HttpSink(boot.Http, TimeProvider.System);
        return await sink.SendAsync(Batch, new() { HttpEndpoint = url }, Token);
    }

    /// <summary>A receiver that records the secrets it receives.</summary>
    static Task<Receiver> ReceiverAsync(List<string> told, Uri? next = null, X509Certificate2? certificate = null)
    {
        Task AnswerAsync(HttpContext context)
        {
            lock (told) told.Add($"{context.Request.Headers.Authorization} {context.Request.Headers["X-Key"]} {context.Connection.ClientCertificate?.Subject}".Trim());
            if (next is null) return Task.CompletedTask;
            context.Response.StatusCode = 307;
            context.Response.Headers.Location = next.ToString();
            return Task.CompletedTask;
        }

        return certificate is null ? Receiver.StartAsync(AnswerAsync) : Receiver.StartAsync(AnswerAsync, listen => listen.UseHttps(certificate, https =>
        {
            https.ClientCertificateMode = ClientCertificateMode.AllowCertificate;
            https.AllowAnyClientCertificate();
        }));
    }

    [Fact]
    public async Task The_secrets_are_sent_to_the_origin_of_the_boot_value_and_to_no_other()
    {
        var (own, other) = (new List<string>(), new List<string>());
        await using var receiver = await ReceiverAsync(own);
        await using var stranger = await ReceiverAsync(other);
        var boot = WithSecrets(("Http__Endpoint", $"{receiver.Url}"));
        Assert.Equal(SendOutcome.Accepted, (await SendAsync(boot, receiver.Url)).Outcome);
        Assert.Equal(SendOutcome.Accepted, (await SendAsync(boot, new(receiver.Url, "/elsewhere"))).Outcome);
        Assert.Equal(SendOutcome.Accepted, (await SendAsync(boot, stranger.Url)).Outcome);
        Assert.Equal(["Bearer geheim geheim", "Bearer geheim geheim"], own);
        Assert.Equal([""], other);
    }

    [Fact]
    public async Task The_client_certificate_is_presented_to_the_listed_origins_and_to_no_other()
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue();
        using var client = roots.Issue("pi-7");
        using var files = new BufferFixture();
        var (rootFile, clientFile) = (Path.Combine(files.Directory, "root.pem"), Path.Combine(files.Directory, "client.pem"));
        await File.WriteAllTextAsync(rootFile, roots.Root.ExportCertificatePem(), Token);
        await File.WriteAllTextAsync(clientFile, client.ExportCertificatePem() + "\n" + client.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem(), Token);

        var told = new List<string>();
        await using var first = await ReceiverAsync(told, certificate: certificate);
        await using var second = await ReceiverAsync(told, certificate: certificate);
        await using var stranger = await ReceiverAsync(told, certificate: certificate);
        var boot = Boot(
            ("Http__CaFile", rootFile), ("Http__ClientCertificateFile", clientFile),
            ("Http__SecretsFor", $"{first.Url.GetLeftPart(UriPartial.Authority)}, {second.Url.GetLeftPart(UriPartial.Authority)}/"));
        using var sink = new HttpSink(boot.Http, TimeProvider.System);
        foreach (var receiver in (Receiver[])[first, stranger, second])
            Assert.Equal(SendOutcome.Accepted, (await sink.SendAsync(Batch, new() { HttpEndpoint = receiver.Url }, Token)).Outcome);
        Assert.Equal(["CN=pi-7", "", "CN=pi-7"], told);
    }

    [Theory]
    [InlineData("http", "Bearer geheim geheim", "")]
    [InlineData("https", "", "Bearer geheim geheim")]
    [InlineData("both", "Bearer geheim geheim", "Bearer geheim geheim")]
    public async Task A_redirect_to_https_is_another_origin_for_secrets(string listed, string toldToFirst, string toldToSecond)
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue();
        using var files = new BufferFixture();
        var rootFile = Path.Combine(files.Directory, "root.pem");
        await File.WriteAllTextAsync(rootFile, roots.Root.ExportCertificatePem(), Token);
        var (first, second) = (new List<string>(), new List<string>());
        await using var safe = await ReceiverAsync(second, certificate: certificate);
        await using var receiver = await ReceiverAsync(first, safe.Url);
        var origins = listed switch { "http" => $"{receiver.Url}", "https" => $"{safe.Url}", _ => $"{receiver.Url},{safe.Url}" };
        var boot = WithSecrets(("Http__CaFile", rootFile), ("Http__SecretsFor", origins.Replace("/telemetry", "", StringComparison.Ordinal)));
        Assert.Equal(SendOutcome.Accepted, (await SendAsync(boot, receiver.Url)).Outcome);
        Assert.Equal([toldToFirst], first);
        Assert.Equal([toldToSecond], second);
    }

    [Theory]
    [InlineData("https://gw.example/", null, "https://gw.example/in", true)]
    [InlineData("https://gw.example/", null, "https://GW.example:443/other?x=1", true)]
    [InlineData("https://gw.example/", null, "http://gw.example/", false)]
    [InlineData("https://gw.example/", null, "http://gw.example:443/", false)]
    [InlineData("https://gw.example/", null, "https://gw.example:8443/", false)]
    [InlineData("https://gw.example/", null, "https://gw.example.org/", false)]
    [InlineData("https://gw.example/", "https://b.example", "https://gw.example/", false)]
    [InlineData("https://gw.example/", "https://b.example", "https://b.example/in", true)]
    [InlineData("https://gw.example/", "https://gw.example,https://b.example:8443/", "https://b.example:8443/in", true)]
    [InlineData(null, "http://[2001:db8::1]:8000", "http://[2001:db8:0::1]:8000/in", true)]
    [InlineData(null, null, "https://gw.example/", false)]
    public void An_endpoint_that_is_not_sent_the_secrets_is_acknowledged_with_a_note(string? endpoint, string? listed, string url, bool gets)
    {
        var entry = Acknowledge(WithSecrets(("Http__Endpoint", endpoint), ("Http__SecretsFor", listed)), url);
        Assert.Equal(200, (int)entry["ac"]!);
        var note = (string?)entry["ad"];
        Assert.Equal(gets, note is null);
        if (!gets) Assert.Matches(@"are not sent to https?://[^/]*: set Http__SecretsFor to this origin", note);
    }

    [Fact]
    public void Without_secrets_there_is_no_note() => Assert.False(Acknowledge(Boot(("Http__Endpoint", "https://gw.example/")), "https://b.example/").ContainsKey("ad"));

    [Fact]
    public async Task A_log_line_at_the_start_and_at_each_change_names_the_origin_that_is_not_sent_the_secrets()
    {
        var log = new LogLines();
        await using var parts = await new SettingsFixture(inMemory: true).StartAsync("{}");
        using var store = new SettingsStore(
            ParserOf(WithSecrets()), new(new LogLevelSwitch(LogLevel.Information), parts.Buffer, parts.Forwarder, parts.Scheduler), parts.Buffer, log.For<SettingsStore>());
        await store.StartAsync([], Token);
        Assert.Contains("are not sent to any server: set Http__SecretsFor", Assert.Single(log.All), StringComparison.Ordinal);
        await store.OfferTwinAsync(new() { ["httpEndpoint"] = "http://other.example/in?sig=geheim" }, 2, Token);
        await store.OfferTwinAsync(new() { ["httpEndpoint"] = "http://other.example/in?sig=geheim", ["batchSize"] = 7 }, 3, Token);
        Assert.Equal(2, log.All.Count());
        Assert.Contains("are not sent to http://other.example: set Http__SecretsFor", log.All.Last(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Http__SecretsFor", "gw.example")]
    [InlineData("Http__SecretsFor", "https://gw.example/in")]
    [InlineData("Http__SecretsFor", "https://gw.example,https://user:geheim@b.example")]
    [InlineData("Http__SecretsFor", "https://gw.example,ftp://b.example")]
    [InlineData("Http__SecretsFor", "https://gw.example/?geheim")]
    [InlineData("Http__AllowedHosts", "https://gw.example")]
    [InlineData("Http__AllowedHosts", "gw.example:443")]
    [InlineData("Http__AllowedHosts", "*")]
    [InlineData("Http__AllowedHosts", "gw.example,geheim@b")]
    public void A_malformed_list_of_origins_or_hosts_is_reported_with_its_entry(string name, string value)
    {
        var message = Assert.Throws<BootValueException>(() => Boot((name, value))).Message;
        Assert.StartsWith($"{name}: entry {value.Split(',').Length} is not ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("geheim", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("http://169.254.169.254/latest/meta-data/")]
    [InlineData("http://169.254.0.1:8080/")]
    [InlineData("http://2852039166/")]
    [InlineData("http://0xA9.254.43518/")]
    [InlineData("http://[fe80::1]/")]
    [InlineData("http://[fe80::1%25eth0]/")]
    [InlineData("http://[FEBF::1]/")]
    [InlineData("http://[::ffff:169.254.169.254]/")]
    [InlineData("http://[::169.254.169.254]/")]
    [InlineData("http://[64:ff9b::a9fe:a9fe]/")]
    public void A_link_local_address_is_refused_unless_the_operator_has_configured_it(string url)
    {
        var entry = Acknowledge(Boot(), url);
        Assert.Equal(400, (int)entry["ac"]!);
        Assert.Contains("is a link-local address, which is not allowed unless Http__AllowedHosts lists the host", (string?)entry["ad"], StringComparison.Ordinal);

        var host = new Uri(url).Host.Trim('[', ']');
        Assert.Equal(200, (int)Acknowledge(Boot(("Http__AllowedHosts", host)), url)["ac"]!);
        Assert.Equal(200, (int)Acknowledge(Boot(("Http__Endpoint", url)), url)["ac"]!);
        Assert.Equal(203, (int)Acknowledge(Boot(("Http__Endpoint", url)), null)["ac"]!);
    }

    [Theory]
    [InlineData("http://127.0.0.1/", null, true)]
    [InlineData("http://192.168.1.7/", null, true)]
    [InlineData("http://[fd00::1]/", null, true)]
    [InlineData("http://gw.example/", "gw.example", true)]
    [InlineData("http://GW.example:8000/", "gw.EXAMPLE", true)]
    [InlineData("http://a.gw.example/", "gw.example", false)]
    [InlineData("http://a.gw.example/", "*.gw.example", true)]
    [InlineData("http://gw.example/", "*.gw.example", false)]
    [InlineData("http://xgw.example/", "b.example, *.gw.example", false)]
    [InlineData("http://10.0.0.8/", "gw.example, 10.0.0.8", true)]
    [InlineData("http://10.0.0.9/", "gw.example, 10.0.0.8", false)]
    [InlineData("http://[2001:db8:0:0::1]/", "2001:db8::1", true)]
    [InlineData("http://boot.example/in", "gw.example", true)]
    public void With_a_list_of_hosts_only_these_are_allowed(string url, string? listed, bool isAllowed)
    {
        var entry = Acknowledge(Boot(("Http__Endpoint", "http://boot.example/"), ("Http__AllowedHosts", listed)), url);
        Assert.Equal(isAllowed ? 200 : 400, (int)entry["ac"]!);
        if (isAllowed) return;
        Assert.Equal("http://boot.example/", (string?)entry["value"]);
        Assert.EndsWith("is not allowed; Http__AllowedHosts does not list this host", (string?)entry["ad"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_sink_does_not_connect_to_a_link_local_address()
    {
        var result = await SendAsync(Boot(), new("http://169.254.169.254:1/"));
        Assert.Equal((SendOutcome.Retry, true), (result.Outcome, result.NotSent));
        Assert.Contains("169.254.169.254 is a link-local address", result.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_sink_does_not_connect_to_a_name_that_resolves_to_a_link_local_address()
    {
        IPAddress[] addresses = [IPAddress.Parse("169.254.1.1"), IPAddress.Parse("::ffff:169.254.1.1")];
        var dialer = new Dialer(TimeProvider.System, (_, _) => Task.FromResult(addresses));
        using var sink = new HttpSink(Boot().Http, TimeProvider.System, dialer);
        var result = await sink.SendAsync(Batch, new() { HttpEndpoint = new("http://rebound.test:1/") }, Token);
        Assert.True(result is { Outcome: SendOutcome.Retry, NotSent: true }, result.ToString());
        Assert.Contains("169.254.1.1 is a link-local address", result.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_an_error_answer_80_characters_are_quoted()
    {
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            context.Response.StatusCode = 404;
            await context.Response.WriteAsync(string.Concat(Enumerable.Range(0, 100).Select(n => $"{n:000} ")));
        });
        var result = await SendAsync(Boot(), receiver.Url);
        Assert.Equal($"answered 404: {string.Concat(Enumerable.Range(0, 20).Select(n => $"{n:000} ")).Trim()}", result.Reason);
    }
}
