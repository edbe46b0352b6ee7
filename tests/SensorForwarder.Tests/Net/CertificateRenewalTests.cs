using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Net;

/// <summary>Certificate and key files that change, are partly written, or do not exist yet.</summary>
public sealed class CertificateRenewalTests : IDisposable
{
    readonly RenewedCertificates _tls = new();

    // For each request: the client certificate's subject and issuer, and the connection id.
    readonly ConcurrentQueue<(string Client, string Connection)> _requests = [];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _tls.Dispose();

    static BootOptions Boot(params (string Name, string Value)[] environment) => BootOptions.Read(
        new ConfigurationBuilder()
            .AddInMemoryCollection(environment.Select(pair =>
                KeyValuePair.Create(pair.Name.Replace("__", ":", StringComparison.Ordinal), (string?)pair.Value)))
            .Build());

    static Batch Batch { get; } = new BatchEncoder("pi", "module").Encode(
        [new BufferedReading(1, BufferFixture.Noon, Encoding.UTF8.GetBytes("\"x\"")) { Epoch = "epoch" }], int.MaxValue);

    HttpSink NewSink(Uri url) => new(
        Boot([.. _tls.HttpVariables, ("Http__SecretsFor", url.GetLeftPart(UriPartial.Authority))]).Http, TimeProvider.System);

    static Task<SendResult> SendAsync(HttpSink sink, Uri url) =>
        sink.SendAsync(Batch, new() { HttpEndpoint = url }, Token);

    /// <summary>Sends to a receiver that closes each connection after its request. The client may use a connection that is being
    /// closed: such a request fails, and is sent again.</summary>
    static async Task<SendResult> SendToClosingAsync(HttpSink sink, Uri url)
    {
        var result = SendResult.Accepted;
        await Until.True(async () =>
            !(result = await SendAsync(sink, url)).Reason.Contains("closed the connection", StringComparison.Ordinal));
        return result;
    }

    /// <summary>Closes each connection after its request, so that every request needs a new handshake.</summary>
    Task<Receiver> ReceiveAsync() => _tls.ListenAsync(context =>
    {
        var certificate = context.Connection.ClientCertificate!;
        _requests.Enqueue(($"{certificate.Subject} of {certificate.Issuer}", context.Connection.Id));
        context.Connection.RequestClose();
        return Task.CompletedTask;
    });

    [Theory]
    [InlineData(nameof(Replacement.InPlace))]
    [InlineData(nameof(Replacement.Rename))]
    [InlineData(nameof(Replacement.LinkSwap))]
    public async Task Changed_certificate_files_are_used_for_the_next_connection(string how)
    {
        var replacement = Enum.Parse<Replacement>(how);
        _tls.Write("pi-7", replacement);

        // The server keeps connections open; the sink must open a new one for the new certificate.
        await using var receiver = await _tls.ListenAsync(context =>
        {
            var certificate = context.Connection.ClientCertificate!;
            _requests.Enqueue(($"{certificate.Subject} of {certificate.Issuer}", context.Connection.Id));
            return Task.CompletedTask;
        });
        using var sink = NewSink(receiver.Url);
        for (var i = 0; i < 2; i++) Assert.Equal(new(SendOutcome.Accepted), await SendAsync(sink, receiver.Url));
        _tls.ReplaceAuthority();
        _tls.Write("pi-7 renewed", replacement);
        for (var i = 0; i < 2; i++) Assert.Equal(new(SendOutcome.Accepted), await SendAsync(sink, receiver.Url));
        Assert.Equal(
            [
                "CN=pi-7 of CN=root 1", "CN=pi-7 of CN=root 1",
                "CN=pi-7 renewed of CN=root 2", "CN=pi-7 renewed of CN=root 2",
            ],
            _requests.Select(request => request.Client));
        Assert.Equal(2, _requests.Select(request => request.Connection).Distinct().Count());
    }

    [Theory]
    [InlineData("ca.pem", "gone")]
    [InlineData("ca.pem", "empty")]
    [InlineData("ca.pem", "half")]
    [InlineData("ca.pem", "one and a half")]
    [InlineData("ca.pem", "a directory")]
    [InlineData("client.pem", "gone")]
    [InlineData("client.pem", "half")]
    [InlineData("client.pem", "of another key")]
    [InlineData("client.key", "empty")]
    [InlineData("client.key", "half")]
    [InlineData("client.key", "of another certificate")]
    public async Task While_a_certificate_file_is_invalid_its_last_valid_content_is_used(string name, string wrong)
    {
        _tls.Write("pi-7");
        await using var receiver = await ReceiveAsync();
        using var sink = NewSink(receiver.Url);
        Assert.Equal(new(SendOutcome.Accepted), await SendToClosingAsync(sink, receiver.Url));

        var path = Path.Combine(_tls.Directory, name);
        var text = await File.ReadAllTextAsync(path, Token);
        var other = _tls.Issue("pi-8");
        File.Delete(path);
        if (wrong == "a directory") Directory.CreateDirectory(path);
        else if (wrong != "gone")
        {
            await File.WriteAllTextAsync(path, wrong switch
            {
                "empty" => "",
                "half" => text[..(text.Length / 2)],
                "one and a half" => Certificates.Pem(other) + text[..(text.Length / 2)],
                _ => name == "client.pem" ? Certificates.Pem(other) : Certificates.KeyPem(other),
            }, Token);
        }

        for (var i = 0; i < 2; i++) Assert.Equal(new(SendOutcome.Accepted), await SendToClosingAsync(sink, receiver.Url));
        Assert.All(_requests, request => Assert.Equal("CN=pi-7 of CN=root 1", request.Client));
        Assert.Equal(3, _requests.Select(request => request.Connection).Distinct().Count());

        if (wrong == "a directory") Directory.Delete(path);
        _tls.ReplaceAuthority();
        _tls.Write("pi-7 renewed");
        Assert.Equal(new(SendOutcome.Accepted), await SendToClosingAsync(sink, receiver.Url));
        Assert.Equal("CN=pi-7 renewed of CN=root 2", _requests.Last().Client);
    }

    [Fact]
    public async Task A_client_certificate_is_renewed_even_while_the_CA_file_is_missing()
    {
        _tls.Write("pi-7");
        await using var receiver = await ReceiveAsync();
        using var sink = NewSink(receiver.Url);
        Assert.Equal(new(SendOutcome.Accepted), await SendToClosingAsync(sink, receiver.Url));
        _tls.Write("pi-7 renewed");
        File.Delete(_tls.CaFile);
        Assert.Equal(new(SendOutcome.Accepted), await SendToClosingAsync(sink, receiver.Url));
        Assert.Equal(
            ["CN=pi-7 of CN=root 1", "CN=pi-7 renewed of CN=root 1"], _requests.Select(request => request.Client));
    }

    [Theory]
    [InlineData("ca.pem", "Http__CaFile", false)]
    [InlineData("ca.pem", "Http__CaFile", true)]
    [InlineData("client.pem", "Http__ClientCertificateFile", false)]
    [InlineData("client.pem", "Http__ClientCertificateFile", true)]
    [InlineData("client.key", "Http__ClientKeyFile", false)]
    [InlineData("client.key", "Http__ClientKeyFile", true)]
    public async Task A_certificate_file_that_is_missing_at_the_start_fails_each_send_by_name_until_it_exists(
        string name, string variable, bool isEmpty)
    {
        _tls.Write("pi-7");
        var path = Path.Combine(_tls.Directory, name);
        File.Move(path, $"{path}.later");
        if (isEmpty) await File.WriteAllTextAsync(path, "", Token);
        await using var receiver = await ReceiveAsync();
        using var sink = NewSink(receiver.Url);
        var result = await SendAsync(sink, receiver.Url);
        Assert.Equal((SendOutcome.Retry, true), (result.Outcome, result.NotSent));
        Assert.StartsWith($"{variable}: '{path}' ", result.Reason, StringComparison.Ordinal);

        // A missing file does not affect requests without TLS.
        await using var plain = await Receiver.StartAsync(_ => Task.CompletedTask);
        Assert.Equal(new(SendOutcome.Accepted), await SendAsync(sink, plain.Url));

        File.Move($"{path}.later", path, overwrite: true);
        Assert.Equal(new(SendOutcome.Accepted), await SendToClosingAsync(sink, receiver.Url));
    }

    [Fact]
    public async Task A_sink_without_its_certificate_files_is_ready_again_as_soon_as_they_exist()
    {
        using var sink = NewSink(new("https://127.0.0.1:9/"));
        var settings = new ForwardingSettings { HttpEndpoint = new("https://127.0.0.1:9/") };
        Assert.True(sink.IsReady(settings));
        Assert.Equal(SendOutcome.Retry, (await sink.SendAsync(Batch, settings, Token)).Outcome);
        Assert.False(sink.IsReady(settings));
        Assert.True(sink.IsReady(settings with { HttpEndpoint = new("http://127.0.0.1:9/") }));
        _tls.Write("pi-7");
        await sink.WaitUntilReadyAsync(Token);
        Assert.True(sink.IsReady(settings));
    }

    [Fact]
    public async Task A_FIFO_in_place_of_the_CA_file_is_named_in_the_error_and_does_not_block()
    {
        _tls.Write("pi-7");
        File.Delete(_tls.CaFile);
        using (var mkfifo = Process.Start("mkfifo", [_tls.CaFile])) await mkfifo.WaitForExitAsync(Token);
        await using var receiver = await ReceiveAsync();
        using var sink = NewSink(receiver.Url);
        var result = await SendAsync(sink, receiver.Url).WaitAsync(Until.Limit, TimeProvider.System, Token);
        Assert.Equal(SendOutcome.Retry, result.Outcome);
        Assert.Equal($"Http__CaFile: '{_tls.CaFile}' is not a regular file", result.Reason);
    }

    // A hub that records the client certificate of each connection and keeps the connection open.
    static RawHub Hub(ConcurrentQueue<string?> clients) => new(async connection =>
    {
        await connection.WelcomeAsync();
        clients.Enqueue(connection.ClientCertificateName);
        await connection.ReadPacketAsync();
    });

    HubDialer Dialer(RawHub hub, string credentials) => new(
        Boot(
            ("EdgeHubConnectionString", $"HostName=stubhub;GatewayHostName={hub.HostName};DeviceId=pi1;{credentials}"),
            ("EdgeModuleCACertificateFile", _tls.CaFile),
            (credentials == X509 ? "EdgeHub__ClientCertificateFile" : "unused 1", _tls.CertificateFile),
            (credentials == X509 ? "EdgeHub__ClientKeyFile" : "unused 2", _tls.KeyFile)).Identity!,
        new() { Transport = HubTransport.Mqtt }, TimeProvider.System, new Random(1));

    const string X509 = "x509=true";

    static async Task ConnectAsync(HubDialer dialer)
    {
        var (session, _) = await dialer.DialAsync(_ => { }, Token);
        await session.CloseAsync();
    }

    [Fact]
    public async Task The_hub_gets_the_renewed_certificate_and_the_last_valid_one_while_a_file_is_half_written()
    {
        var clients = new ConcurrentQueue<string?>();
        await using var hub = Hub(clients);
        _tls.Write("pi1");
        File.Copy(hub.CaFile, _tls.CaFile, overwrite: true);
        using var dialer = Dialer(hub, X509);
        await ConnectAsync(dialer);
        await File.WriteAllTextAsync(_tls.KeyFile, "-----BEGIN PRIVATE KEY-----\nMIG", Token);
        await ConnectAsync(dialer);
        _tls.Write("pi1 renewed");
        File.Copy(hub.CaFile, _tls.CaFile, overwrite: true);
        await ConnectAsync(dialer);
        // The server may not have recorded the last connection yet.
        await Until.True(() => clients.Count == 3);
        Assert.Equal(["pi1", "pi1", "pi1 renewed"], clients);
    }

    [Theory]
    [InlineData(X509)]
    [InlineData($"SharedAccessKey={HubWorld.Key}")]
    public async Task A_hub_is_checked_against_the_current_content_of_the_CA_file(string credentials)
    {
        var clients = new ConcurrentQueue<string?>();
        await using var hub = Hub(clients);
        _tls.Write("pi1");
        File.Delete(_tls.CaFile);
        using var dialer = Dialer(hub, credentials);
        var failure = await Assert.ThrowsAsync<DialException>(() => ConnectAsync(dialer));
        Assert.Equal(DialFailure.Credentials, failure.Failure);
        Assert.StartsWith($"EdgeModuleCACertificateFile: '{_tls.CaFile}' ", failure.Message, StringComparison.Ordinal);

        File.Copy(hub.CaFile, _tls.CaFile);
        await ConnectAsync(dialer);

        // The token is still valid, but the hub's certificate is checked against the new CA file.
        await File.WriteAllTextAsync(_tls.CaFile, Certificates.Pem(_tls.Issuer.Root), Token);
        failure = await Assert.ThrowsAsync<DialException>(() => ConnectAsync(dialer));
        Assert.Equal(DialFailure.Untrusted, failure.Failure);
        File.Copy(hub.CaFile, _tls.CaFile, overwrite: true);
        await ConnectAsync(dialer);
        await Until.True(() => clients.Count == 2);
    }
}
