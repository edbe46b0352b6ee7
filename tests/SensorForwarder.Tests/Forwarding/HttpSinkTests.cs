using System.Globalization;
using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;
using SensorForwarder.Text;

namespace SensorForwarder.Tests.Forwarding;

public sealed class HttpSinkTests
{
    static readonly HttpSinkOptions NoHeaders = new(null, new Dictionary<string, string>());

    static readonly Batch Batch = new BatchEncoder("pi", "module").Encode(
        [new BufferedReading(5, BufferFixture.Noon, "{\"sensor\":\"a\"}"u8.ToArray()) { Epoch = "epoch" }], int.MaxValue);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task<SendResult> SendAsync(
        Uri url, HttpSinkOptions? options = null, BatchCompression compression = BatchCompression.None, TimeProvider? clock = null)
    {
        using var sink = new HttpSink(options ?? NoHeaders, clock ?? TimeProvider.System);
        return await sink.SendAsync(Batch, new() { HttpEndpoint = url, Compression = compression }, Token);
    }

    [Theory]
    [InlineData(200, nameof(SendOutcome.Accepted))]
    [InlineData(202, nameof(SendOutcome.Accepted))]
    [InlineData(204, nameof(SendOutcome.Accepted))]
    [InlineData(301, nameof(SendOutcome.Denied))]
    [InlineData(400, nameof(SendOutcome.Rejected))]
    [InlineData(401, nameof(SendOutcome.Denied))]
    [InlineData(403, nameof(SendOutcome.Denied))]
    [InlineData(404, nameof(SendOutcome.Denied))]
    [InlineData(408, nameof(SendOutcome.Retry))]
    [InlineData(413, nameof(SendOutcome.TooLarge))]
    [InlineData(422, nameof(SendOutcome.Rejected))]
    [InlineData(429, nameof(SendOutcome.Retry))]
    [InlineData(500, nameof(SendOutcome.Retry))]
    [InlineData(503, nameof(SendOutcome.Retry))]
    public async Task Each_HTTP_status_has_its_documented_outcome(int status, string outcome)
    {
        await using var receiver = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = status;
            return Task.CompletedTask;
        });
        var result = await SendAsync(receiver.Url);
        Assert.Equal(Enum.Parse<SendOutcome>(outcome), result.Outcome);
        if (result.Outcome != SendOutcome.Accepted) Assert.Contains($"{status}", result.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_has_the_documented_body_and_headers()
    {
        string? body = null;
        IHeaderDictionary? headers = null;
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            headers = new HeaderDictionary(context.Request.Headers.ToDictionary());
            body = await new StreamReader(context.Request.Body).ReadToEndAsync();
        });
        var options = new HttpSinkOptions("Bearer secret", new Dictionary<string, string> { ["X-Site"] = "north" }) { SecretsFor = [UrlText.Origin(receiver.Url)] };
        await SendAsync(receiver.Url, options);

        Assert.Equal(Encoding.UTF8.GetString(Batch.Body.Span), body);
        Assert.Equal("application/json; charset=utf-8", headers!.ContentType);
        Assert.Equal("epoch:5-5", headers["Idempotency-Key"]);
        Assert.Equal("live", headers["Batch-Lane"]);
        Assert.Equal("Bearer secret", headers.Authorization);
        Assert.Equal("north", headers["X-Site"]);
    }

    [Fact]
    public async Task A_gzip_request_decompresses_to_the_same_body()
    {
        byte[]? body = null;
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            Assert.Equal("gzip", context.Request.Headers.ContentEncoding);
            var unpacked = new MemoryStream();
            await using var gzip = new GZipStream(context.Request.Body, CompressionMode.Decompress);
            await gzip.CopyToAsync(unpacked);
            body = unpacked.ToArray();
        });
        Assert.Equal(SendOutcome.Accepted, (await SendAsync(receiver.Url, compression: BatchCompression.Gzip)).Outcome);
        Assert.Equal(Batch.Body.ToArray(), body);
    }

    [Theory]
    [InlineData("120", null, 120)]
    [InlineData("soon", null, null)]
    [InlineData("+90", null, 90)]
    [InlineData("-90", null, null)]
    [InlineData("+90", 31_536_000, 90)] // the clock of the receiver is a year ahead, or ours a year behind
    [InlineData("+90", -31_536_000, 90)]
    [InlineData("-90", 31_536_000, null)]
    public async Task Retry_After_is_read_as_seconds_or_as_a_date_by_the_clock_of_the_receiver(string header, int? ahead, int? seconds)
    {
        var now = BufferFixture.Noon.AddSeconds(ahead ?? 0);
        if (header[0] is '+' or '-') header = $"{now.AddSeconds(int.Parse(header, CultureInfo.InvariantCulture)):R}";
        var date = ahead is null ? "" : $"Date: {now:R}\r\n";
        await using var receiver = new RawReceiver(_ => new($"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n{date}Retry-After: {header}\r\n\r\n"));
        var result = await SendAsync(receiver.Url, clock: new FakeTimeProvider(BufferFixture.Noon));
        Assert.Equal(seconds, (int?)result.RetryAfter?.TotalSeconds);
    }

    [Fact]
    public async Task A_long_answer_is_shortened_and_shown_on_one_line()
    {
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            context.Response.StatusCode = 400;
            await context.Response.WriteAsync("bad\n<6>forged\u001b[31m " + new string('x', 1_000_000));
        });
        var result = await SendAsync(receiver.Url);
        Assert.InRange(result.Reason.Length, 10, 300);
        Assert.DoesNotContain(result.Reason, char.IsControl);
    }

    [Theory]
    [InlineData("text/plain", "you sent Authorization: Bearer abcdef012345 and X-Key: 0123456789!")]
    [InlineData("text/plain", "{0}Bearer abcdef012345")]
    [InlineData("application/json", "{{\"rejected\":[{{\"id\":5,\"reason\":\"abcdef012345 may not\"}}]}}")]
    public async Task Secrets_that_a_receiver_repeats_in_its_answer_are_redacted(string type, string answer)
    {
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            context.Response.StatusCode = 422;
            context.Response.ContentType = type;
            await context.Response.WriteAsync(string.Format(CultureInfo.InvariantCulture, answer, new string('x', 70)));
        });
        var options = new HttpSinkOptions("Bearer abcdef012345", new Dictionary<string, string> { ["X-Key"] = "0123456789" });
        var result = await SendAsync(receiver.Url, options);
        var told = string.Concat([result.Reason, .. result.Partial?.Rejected.Values ?? []]);
        Assert.DoesNotContain("abc", told, StringComparison.Ordinal);
        Assert.DoesNotContain("012", told, StringComparison.Ordinal);
        Assert.Contains("..", told, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_query_of_the_endpoint_is_redacted_when_a_receiver_repeats_it_in_its_answer()
    {
        const string Query = "?sig=abc%2Bdef0123&v=2&ghijklmnop";
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            context.Response.StatusCode = 404;
            await context.Response.WriteAsync($"nothing at /in{Query}, sig abc+def0123 or abc%2Bdef0123, v 2, ghijklmnop");
        });
        var result = await SendAsync(new($"{receiver.Url}{Query}"));
        Assert.Equal("answered 404: nothing at /in?.., sig .. or .., v 2, ..", result.Reason);
    }

    [Fact]
    public async Task A_receiver_that_does_not_answer_within_the_timeout_is_retried()
    {
        var clock = new FakeTimeProvider(BufferFixture.Noon);
        var asked = new TaskCompletionSource();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            asked.SetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        });
        var sending = SendAsync(receiver.Url, clock: clock);
        await asked.Task;
        Assert.False(sending.IsCompleted);
        clock.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal(SendOutcome.Retry, (await sending).Outcome);
    }

    [Theory]
    [InlineData("")]
    [InlineData("SSH-2.0-OpenSSH_9.2\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Le")]
    [InlineData("HTTP/1.1 999999 ?\r\n\r\n")]
    public async Task An_answer_that_is_not_valid_HTTP_is_retried(string bytes)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var serving = Task.Run(async () =>
        {
            using var client = await listener.AcceptTcpClientAsync(Token);
            var buffer = new byte[4096];
            _ = await client.GetStream().ReadAsync(buffer, Token);
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(bytes), Token);
        }, Token);
        var result = await SendAsync(new($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/"));
        Assert.Equal(SendOutcome.Retry, result.Outcome);
        Assert.NotEmpty(result.Reason);
        await serving;
    }

    [Fact]
    public async Task A_refused_connection_is_retried_and_reported_in_plain_words()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        var result = await SendAsync(new($"http://127.0.0.1:{port}/"));
        Assert.Equal(new SendResult(SendOutcome.Retry, "Connection refused") { NotSent = true }, result);
    }

    [Fact]
    public void The_endpoint_is_described_without_user_name_password_and_query()
    {
        using var sink = new HttpSink(NoHeaders, TimeProvider.System);
        Assert.Equal(
            "https://example.com/in", sink.Describe(new() { HttpEndpoint = new("https://user:pass@example.com/in?key=secret") }));
    }
}
