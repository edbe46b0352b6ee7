using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;
using SensorForwarder.Text;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Behaviour of a receiver besides its status codes: partial answers, redirects, TLS, slow or incomplete
/// answers.</summary>
public sealed class HttpReceiverTests
{
    static readonly HttpSinkOptions Plain = new(null, new Dictionary<string, string>());

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Batch BatchOf(int count, int payloadBytes = 10) => new BatchEncoder("pi", "module").Encode(
        [.. Enumerable.Range(1, count).Select(id => new BufferedReading(
            id, BufferFixture.Noon, Encoding.UTF8.GetBytes($"\"{new string('x', payloadBytes)}\"")) { Epoch = "epoch" })], int.MaxValue);

    static async Task<SendResult> SendAsync(Uri url, HttpSinkOptions? options = null, TimeProvider? clock = null, Batch? batch = null)
    {
        using var sink = new HttpSink(options ?? Plain, clock ?? TimeProvider.System);
        return await sink.SendAsync(batch ?? BatchOf(3), new() { HttpEndpoint = url }, Token);
    }

    static Task<Receiver> JsonAsync(int status, string body) => Receiver.StartAsync(async context =>
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json; charset=utf-8";
        await context.Response.WriteAsync(body);
    });

    [Theory]
    [InlineData(200, """{"accepted":[1,3]}""", "1,3", "")]
    [InlineData(202, """{"accepted":[]}""", "", "")]
    [InlineData(200, """{"rejected":[{"id":2,"reason":"odd"}]}""", null, "2=odd")]
    [InlineData(422, """{"rejected":[{"id":2},{"id":99,"reason":"not ours"}],"accepted":[1]}""", null, "2=no reason given")]
    public async Task Lists_of_accepted_and_rejected_ids_are_understood(int status, string body, string? accepted, string rejected)
    {
        await using var receiver = await JsonAsync(status, body);
        var partial = (await SendAsync(receiver.Url)).Partial!;
        Assert.Equal(accepted, partial.Accepted is { } ids ? string.Join(',', ids) : null);
        Assert.Equal(rejected, string.Join(',', partial.Rejected.Select(pair => $"{pair.Key}={pair.Value}")));
    }

    [Theory]
    [InlineData("""{"accepted":3}""")]
    [InlineData("""{"accepted":true,"rejected":0}""")]
    [InlineData("""{"rejected":[]}""")]
    [InlineData("""{"status":"ok"}""")]
    [InlineData("""[1,2,3]""")]
    [InlineData("""{"accep""")]
    [InlineData("")]
    public async Task A_success_without_lists_of_ids_accepts_the_whole_batch(string body)
    {
        await using var receiver = await JsonAsync(200, body);
        Assert.Equal(SendResult.Accepted, await SendAsync(receiver.Url));
    }

    [Fact]
    public async Task After_a_partial_answer_rejected_readings_are_dead_lettered_and_unnamed_ones_are_retried()
    {
        var requests = new ConcurrentQueue<long[]>();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            using var json = await JsonDocument.ParseAsync(context.Request.Body);
            var ids = json.RootElement.GetProperty("batch").EnumerateArray().Select(entry => entry.GetProperty("id").GetInt64()).ToArray();
            requests.Enqueue(ids);
            await context.Response.WriteAsJsonAsync(new
            {
                accepted = ids.Where(id => id != 4).Take(6),
                rejected = ids.Where(id => id == 4).Select(id => new { id, reason = "four is odd" }),
            });
        });
        using var sink = new HttpSink(Plain, TimeProvider.System);
        await using var fixture = await ForwarderFixture.StartAsync(
            http: new FakeSink { Send = sink.SendAsync },
            settings: new() { HttpEndpoint = receiver.Url, BatchSize = 10, UploadInterval = TimeSpan.Zero });
        await fixture.StoreAsync(20);
        await fixture.RunAsync();
        await fixture.UntilDepthAsync(0);

        var letter = Assert.Single(fixture.Buffer.ListDeadLetters(0, 10));
        Assert.Equal((4, "four is odd"), (letter.Id, letter.Answer));
        Assert.Equal(1, requests.Count(ids => ids.Contains(4)));
        Assert.Equal(0, fixture.Forwarder.Status.Failures);
    }

    [Theory]
    [InlineData(11, 400)]
    [InlineData(40, 422)]
    [InlineData(74, 400)]
    public async Task One_rejected_reading_of_64_is_found_in_seven_requests(long bad, int status)
    {
        // The first ten are the probe; the next batch has 64 readings, and log2(64) + 1 is 7.
        const int Readings = 74, RequestsMax = 7;
        var refused = new ConcurrentQueue<int>();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            using var json = await JsonDocument.ParseAsync(context.Request.Body);
            var ids = json.RootElement.GetProperty("batch").EnumerateArray().Select(entry => entry.GetProperty("id").GetInt64()).ToArray();
            if (!ids.Contains(bad)) return;
            refused.Enqueue(ids.Length);
            context.Response.StatusCode = status;
            await context.Response.WriteAsync("no such sensor");
        });
        using var sink = new HttpSink(Plain, TimeProvider.System);
        await using var fixture = await ForwarderFixture.StartAsync(
            http: new FakeSink { Send = sink.SendAsync },
            settings: new() { HttpEndpoint = receiver.Url, BatchSize = 64, UploadInterval = TimeSpan.Zero });
        await fixture.StoreAsync(Readings);
        await fixture.RunAsync();
        await fixture.UntilDepthAsync(0);

        var letter = Assert.Single(fixture.Buffer.ListDeadLetters(0, 10));
        Assert.Equal(bad, letter.Id);
        Assert.Contains("no such sensor", letter.Answer, StringComparison.Ordinal);
        Assert.Equal(64, refused.First());
        Assert.InRange(refused.Count, 1, RequestsMax);
    }

    [Theory]
    [InlineData(307, true)]
    [InlineData(308, true)]
    [InlineData(301, false)]
    [InlineData(302, false)]
    [InlineData(303, false)]
    public async Task A_redirect_that_keeps_the_method_is_followed_on_the_same_host(int status, bool followed)
    {
        await using var receiver = await Receiver.StartAsync(context =>
        {
            if (context.Request.Path == "/new") return Task.CompletedTask;
            context.Response.StatusCode = status;
            context.Response.Headers.Location = "/new";
            return Task.CompletedTask;
        });
        Assert.Equal(followed ? SendOutcome.Accepted : SendOutcome.Denied, (await SendAsync(receiver.Url)).Outcome);
    }

    [Fact]
    public async Task A_redirect_to_another_server_is_not_followed_so_it_gets_no_secrets()
    {
        var asked = 0;
        await using var other = await Receiver.StartAsync(_ =>
        {
            Interlocked.Increment(ref asked);
            return Task.CompletedTask;
        });
        await using var receiver = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = 308;
            context.Response.Headers.Location = other.Url.ToString();
            return Task.CompletedTask;
        });
        var result = await SendAsync(receiver.Url, Plain with { Authorization = "Bearer secret" });
        Assert.Equal(SendOutcome.Denied, result.Outcome);
        Assert.Equal(0, asked);
    }

    [Fact]
    public async Task A_redirect_loop_ends()
    {
        var asked = 0;
        await using var receiver = await Receiver.StartAsync(context =>
        {
            Interlocked.Increment(ref asked);
            context.Response.StatusCode = 307;
            context.Response.Headers.Location = context.Request.Path.ToString();
            return Task.CompletedTask;
        });
        Assert.Equal(SendOutcome.Denied, (await SendAsync(receiver.Url)).Outcome);
        Assert.InRange(asked, 1, 5);
    }

    [Fact]
    public async Task Only_the_configured_root_certificates_are_trusted()
    {
        using var ours = new Certificates();
        using var theirs = new Certificates("other root");
        using var certificate = ours.Issue();
        await using var receiver = await Receiver.StartAsync(_ => Task.CompletedTask, certificate);
        Assert.Equal(SendOutcome.Accepted, (await SendAsync(receiver.Url, Plain with { Tls = ours.Files() })).Outcome);
        foreach (var options in new[] { Plain, Plain with { Tls = theirs.Files() } })
        {
            var result = await SendAsync(receiver.Url, options);
            Assert.Equal((SendOutcome.Retry, true), (result.Outcome, result.NotSent));
            Assert.StartsWith("TLS: ", result.Reason, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_certificate_for_another_host_name_is_refused()
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue("example.com");
        await using var receiver = await Receiver.StartAsync(_ => Task.CompletedTask, certificate);
        var result = await SendAsync(receiver.Url, Plain with { Tls = roots.Files() });
        Assert.Contains("RemoteCertificateNameMismatch", result.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_client_certificate_is_presented_to_a_server_that_requests_it()
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue();
        using var client = roots.Issue("pi-7");
        string? seen = null;
        await using var receiver = await Receiver.StartAsync(
            context =>
            {
                seen = $"{context.Connection.ClientCertificate?.Subject} {context.Request.Protocol}";
                return Task.CompletedTask;
            },
            certificate, asksForClient: true);
        Assert.Equal(SendOutcome.Retry, (await SendAsync(receiver.Url, Plain with { Tls = roots.Files() })).Outcome);
        var options = Plain with { Tls = roots.Files(client), SecretsFor = [UrlText.Origin(receiver.Url)] };
        Assert.Equal(SendOutcome.Accepted, (await SendAsync(receiver.Url, options)).Outcome);
        Assert.Equal("CN=pi-7 HTTP/2", seen);
    }

    [Theory]
    [InlineData(200, "text/plain", nameof(SendOutcome.Accepted))]
    [InlineData(200, "application/json", nameof(SendOutcome.Accepted))]
    [InlineData(307, "text/plain", nameof(SendOutcome.Denied))]
    [InlineData(400, "text/plain", nameof(SendOutcome.Rejected))]
    [InlineData(401, "text/plain", nameof(SendOutcome.Denied))]
    [InlineData(409, "text/plain", nameof(SendOutcome.Denied))]
    [InlineData(413, "text/plain", nameof(SendOutcome.TooLarge))]
    [InlineData(422, "application/json", nameof(SendOutcome.Rejected))]
    [InlineData(429, "text/plain", nameof(SendOutcome.Retry))]
    [InlineData(500, "text/plain", nameof(SendOutcome.Retry))]
    [InlineData(503, "application/json", nameof(SendOutcome.Retry))]
    public async Task An_answer_that_never_ends_does_not_block_the_send_or_fill_the_memory(
        int status, string contentType, string outcome)
    {
        var (written, piece) = (0L, new string(contentType == "text/plain" ? 'x' : ' ', 10_000));
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            context.Response.StatusCode = status;
            context.Response.ContentType = contentType;
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.WriteAsync(piece, context.RequestAborted);
                Interlocked.Add(ref written, piece.Length);
            }
        });
        var result = await SendAsync(receiver.Url);
        Assert.Equal(outcome, $"{result.Outcome}");
        if (result.Outcome != SendOutcome.Accepted) Assert.InRange(result.Reason.Length, 10, 300);
        Assert.InRange(Volatile.Read(ref written), 0, 64 << 20);
    }

    [Theory]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{\"accep", false)]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", true)]
    [InlineData("HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf", false)]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n", false)]
    public async Task A_truncated_answer_is_an_acceptance_only_if_the_missing_part_cannot_change_that(string bytes, bool accepted)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var serving = Task.Run(async () =>
        {
            using var client = await listener.AcceptTcpClientAsync(Token);
            _ = await client.GetStream().ReadAsync(new byte[65_536], Token);
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(bytes), Token);
        }, Token);
        var result = await SendAsync(new($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/"));
        Assert.Equal(accepted ? SendOutcome.Accepted : SendOutcome.Retry, result.Outcome);
        await serving;
    }

    [Fact]
    public async Task A_send_is_abandoned_when_the_receiver_reads_nothing_and_not_when_it_reads_slowly()
    {
        var clock = new FakeTimeProvider(BufferFixture.Noon);
        // A piece is larger than the socket buffers (tcp_wmem is 4 MiB), so that each needs several writes; the rest
        // after two pieces is larger too.
        using var listener = new TcpListener(IPAddress.Loopback, 0) { Server = { ReceiveBufferSize = 1 << 16 } };
        listener.Start();
        var sending = SendAsync(
            new($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/"), clock: clock, batch: BatchOf(1, 15 << 20));
        using var client = await listener.AcceptTcpClientAsync(Token);
        var piece = new byte[9 << 19];
        for (var i = 0; i < 2; i++)
        {
            await client.GetStream().ReadExactlyAsync(piece, Token);
            clock.Advance(TimeSpan.FromSeconds(10));
            Assert.False(sending.IsCompleted);
        }

        await Until.True(() => sending.IsCompleted, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(new SendResult(SendOutcome.Retry, "the receiver read no data within 15 s"), await sending);
    }
}
