using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Web pages instead of answers of the receiver, and answers that never end.</summary>
public sealed class HttpPageTests
{
    const string Page = "answered with a web page: a captive portal, or a wrong URL?";
    const string Html = "Content-Type: text/html\r\n";

    static readonly HttpSinkOptions Plain = new(null, new Dictionary<string, string>());

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Batch Batch => new BatchEncoder("pi", "module").Encode(
        [.. Enumerable.Range(1, 3).Select(id => new BufferedReading(id, BufferFixture.Noon, "{}"u8.ToArray()) { Epoch = "epoch" })],
        int.MaxValue);

    static RawAnswer Answer(string head, string body) =>
        new($"HTTP/1.1 200 OK\r\n{head}Content-Length: {Encoding.Latin1.GetByteCount(body)}\r\n\r\n{body}");

    static async Task<SendResult> SendAsync(RawAnswer answer, bool acceptHtml = false)
    {
        await using var receiver = new RawReceiver(_ => answer);
        using var sink = new HttpSink(Plain, TimeProvider.System);
        return await sink.SendAsync(Batch, new() { HttpEndpoint = receiver.Url, AcceptHtml = acceptHtml }, Token);
    }

    [Theory]
    [InlineData(Html, "<html><body>Welcome to the hotel</body></html>")]
    [InlineData(Html, "ok")]
    [InlineData(Html, "")]
    [InlineData("Content-Type: Text/HTML; charset=UTF-8\r\n", "<p>Please sign in")]
    [InlineData("Content-Type: text/html; charset\r\n", "x")]
    [InlineData("Content-Type: application/xhtml+xml\r\n", "<html xmlns='http://www.w3.org/1999/xhtml'/>")]
    [InlineData("", "<!DOCTYPE html><title>Sign in</title>")]
    [InlineData("", "<!doctype HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\">")]
    [InlineData("Content-Type: text/plain\r\n", "\r\n\t <HTML>")]
    [InlineData("Content-Type: application/json\r\n", "<!doctype html><p>{\"accepted\":[1,2,3]}")]
    [InlineData("Content-Type: application/octet-stream\r\n", "\u00ef\u00bb\u00bf<html lang=en>")]
    [InlineData("Content-Type: text/xml\r\n", "<?xml version=\"1.0\"?>\n<!DOCTYPE html><html/>")]
    [InlineData("", "<!-- WISPr --> <!-- and more --><head><title>Login</title>")]
    [InlineData("", "<meta http-equiv=\"refresh\" content=\"0;url=http://portal.example/\">")]
    [InlineData("", "<script>location='http://portal.example/'</script>")]
    [InlineData("", "<body onload=\"go()\">")]
    [InlineData("Refresh: 0; url=http://portal.example/login\r\n", "")]
    public async Task A_web_page_does_not_count_as_acceptance_unless_acceptHtml_is_set(string head, string body)
    {
        var result = await SendAsync(Answer(head, body));
        Assert.Equal((SendOutcome.Retry, false, false), (result.Outcome, result.IsReached, result.NotSent));
        Assert.StartsWith(Page, result.Reason, StringComparison.Ordinal);
        Assert.Equal(SendResult.Accepted, await SendAsync(Answer(head, body), acceptHtml: true));
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("", "ok")]
    [InlineData("Content-Type: text/plain\r\n", "stored, see <html>")]
    [InlineData("Content-Type: text/xml\r\n", "<?xml version=\"1.0\"?><response>stored</response>")]
    [InlineData("Content-Type: text/xml\r\n", "<body-count>3</body-count>")]
    [InlineData("", "<")]
    [InlineData("Content-Type: application/json\r\n", "{\"page\":\"<html>\"}")]
    [InlineData("Content-Type: application/json\r\n", "[\"<html>\"]")]
    public async Task A_200_answer_that_is_not_a_web_page_is_an_acceptance(string head, string body) =>
        Assert.Equal(SendResult.Accepted, await SendAsync(Answer(head, body)));

    [Fact]
    public async Task A_204_answer_is_an_acceptance_even_with_an_HTML_content_type() =>
        Assert.Equal(SendResult.Accepted, await SendAsync(new($"HTTP/1.1 204 No Content\r\n{Html}\r\n")));

    [Theory]
    [InlineData("302 Found\r\nLocation: http://portal.example/login?key=secret", nameof(SendOutcome.Denied))]
    [InlineData("303 See Other\r\nLocation: //portal.example/", nameof(SendOutcome.Denied))]
    [InlineData("307 Temporary\r\nLocation: https://portal.example/", nameof(SendOutcome.Denied))]
    [InlineData("511 Network Authentication Required", nameof(SendOutcome.Retry))]
    public async Task A_redirect_to_another_host_and_a_demand_to_sign_in_are_reported_as_a_captive_portal(string head, string outcome)
    {
        foreach (var acceptHtml in (bool[])[false, true])
        {
            var result = await SendAsync(new($"HTTP/1.1 {head}\r\n{Html}Content-Length: 6\r\n\r\n<html>"), acceptHtml);
            Assert.Equal((outcome, false), (result.Outcome.ToString(), result.IsReached));
            Assert.StartsWith(Page, result.Reason, StringComparison.Ordinal);
            Assert.DoesNotContain("secret", result.Reason, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Behind_a_captive_portal_no_reading_is_dropped_and_after_the_sign_in_all_are_delivered()
    {
        var log = new LogLines();
        var isSignedIn = false;
        await using var receiver = new RawReceiver(_ => isSignedIn ? null : Answer(Html, "<html>Welcome"));
        await using var http = await HttpFixture.RunAsync(receiver.Url, readings: 53, log: log);
        await http.UntilAsync(() => http.Forwarding.Forwarder.Status.Failures >= 3);
        Assert.Equal((53, 0), (http.Forwarding.Buffer.GetStatus().Depth, receiver.Ids.Count));
        Assert.Contains(log.All, line =>
            line.StartsWith("<4>", StringComparison.Ordinal) && line.Contains(Page, StringComparison.Ordinal));

        isSignedIn = true;
        await http.UntilAsync(() => http.Forwarding.Buffer.GetStatus().Depth == 0);
        Assert.Equal(Enumerable.Range(1, 53).Select(n => (long)n), receiver.Ids.Order());
    }

    [Fact]
    public async Task AcceptHtml_ends_the_back_off_immediately()
    {
        await using var receiver = new RawReceiver(_ => Answer(Html, "ok") with { Takes = true });
        await using var http = await HttpFixture.RunAsync(receiver.Url, readings: 10);
        var fixture = http.Forwarding;
        // The clock does not advance, so there is no second attempt.
        await Until.True(() => fixture.Forwarder.Status.Failures == 1);
        fixture.Forwarder.Apply(
            new() { HttpEndpoint = receiver.Url, UploadInterval = TimeSpan.Zero, AcceptHtml = true });
        await fixture.UntilDepthAsync(0);
    }

    [Theory]
    [InlineData("Content-Type: application/json\r\n", "{\"a\":\"", "x", true)]
    [InlineData("Content-Type: application/json\r\n", "", "x", true)]
    [InlineData("Content-Type: application/json\r\n", "", " ", true)]
    [InlineData("Content-Type: application/json\r\n", "[1", ",1", true)]
    [InlineData("Content-Type: application/json\r\n", "{\"status\":\"ok\"}", "", true)]
    [InlineData("Content-Type: application/json\r\n", "{\"accepted\":[1,2,3]}", "", true)]
    [InlineData("Content-Type: text/plain\r\n", "", " ", true)]
    [InlineData("Content-Type: text/plain\r\n", "", "", true)]
    [InlineData("", "ok", "x", true)]
    [InlineData("", "<data>", "<data>", true)]
    [InlineData("Content-Type: application/json\r\n", "{\"accepted\":[1", ",1", false)]
    [InlineData("Content-Type: application/json\r\n", "{\"accep", "", false)]
    [InlineData("", "{\"accepted\":[1", "", false)]
    [InlineData("Content-Type: application/json\r\n", "", "", false)]
    [InlineData(Html, "<html>", "<p>", false)]
    public async Task A_2xx_whose_body_never_ends_is_an_acceptance_unless_the_missing_part_may_name_readings(
        string head, string start, string more, bool isAccepted)
    {
        foreach (var pieceLength in (int[])[1, 20_000])
        {
            var piece = new StringBuilder().Insert(0, more, pieceLength).ToString();
            var answering = new TaskCompletionSource();
            await using var receiver = await Receiver.StartAsync(async context =>
            {
                if (head.Length > 0) context.Response.ContentType = head["Content-Type: ".Length..].Trim();
                await context.Request.Body.CopyToAsync(Stream.Null);
                await context.Response.WriteAsync(start);
                await context.Response.Body.FlushAsync();
                answering.TrySetResult();
                while (!context.RequestAborted.IsCancellationRequested)
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, CancellationToken.None);
                    if (piece.Length > 0) await context.Response.WriteAsync(piece);
                }
            });
            var clock = new FakeTimeProvider(BufferFixture.Noon);
            using var sink = new HttpSink(Plain, clock);
            var sending = sink.SendAsync(Batch, new() { HttpEndpoint = receiver.Url }, Token);
            await answering.Task.WaitAsync(Until.Limit, TimeProvider.System, Token);
            await Until.True(() => sending.IsCompleted, clock, TimeSpan.FromSeconds(0.1));
            var result = await sending;
            Assert.Equal(isAccepted ? SendOutcome.Accepted : SendOutcome.Retry, result.Outcome);
            Assert.InRange(clock.GetUtcNow() - BufferFixture.Noon, TimeSpan.Zero, TimeSpan.FromSeconds(60));
            if (more.Length == 0) break;
        }
    }

    [Theory]
    [InlineData("{\"status\":\"ok\"}", true)]
    [InlineData("{'status': 'ok'}", true)] // not JSON, so its end is not awaited
    [InlineData("{'accepted': [1]}", false)]
    [InlineData("", true)]
    [InlineData("{\"accepted\":[1,2,3],\"rejec", false)]
    [InlineData("{\"stat", false)]
    public async Task A_2xx_that_is_cut_off_is_an_acceptance_unless_the_missing_part_may_name_readings(string body, bool isAccepted)
    {
        var head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
        var result = await SendAsync(new(head + body, Afterwards.Closes));
        Assert.Equal(isAccepted ? SendOutcome.Accepted : SendOutcome.Retry, result.Outcome);
    }
}
