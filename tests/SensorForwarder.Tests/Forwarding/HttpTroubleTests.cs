using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>After any temporary fault of a receiver every reading is delivered. Real forwarder, HTTP sink and
/// network; fake clock.</summary>
public sealed class HttpTroubleTests
{
    const int Readings = 60;
    const int TroublesInARow = 3;
    const double SecondsWhileItWaits = 0.2;

    static readonly HttpSinkOptions Secret = new("Bearer secret", new Dictionary<string, string>());

    static readonly IReadOnlyDictionary<string, RawAnswer> Troubles = Statuses().Concat(Broken()).ToDictionary();

    // The quick tier tests every fourth fault alone; the random sequences contain all of them.
    public static TheoryData<string> Names => [.. Troubles.Keys.Where((_, n) => !Tier.IsQuick || n % 4 == 0)];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Names))]
    public async Task After_any_faulty_answer_for_a_while_every_reading_is_delivered(string trouble)
    {
        await using var receiver = new RawReceiver(request => request <= TroublesInARow ? Troubles[trouble] : null);
        var secondsDuringSend = KeepsWaiting(trouble) ? SecondsWhileItWaits : 0;
        await using var fixture = await DrainAsync(receiver.Url, Secret, secondsDuringSend);
        Assert.Equal(Enumerable.Range(1, Readings).Select(n => (long)n), receiver.Ids.Order());
        Assert.Empty(fixture.Buffer.ListDeadLetters(0, 10));
        Assert.True(receiver.Requests > TroublesInARow);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task A_random_sequence_of_faulty_answers_loses_no_reading(int seed)
    {
        // A receiver that sometimes rejects what it accepts at other times may cause dead letters; each reading is then
        // one of them. 409 is excluded: for a batch that may have arrived it means that the receiver has it.
        var random = new Random(seed);
        var names = Troubles.Keys.Where(name => name != "409").ToArray();
        await using var receiver = new RawReceiver(_ =>
        {
            lock (random) return random.Next(3) == 0 ? null : Troubles[names[random.Next(names.Length)]];
        });
        await using var fixture = await DrainAsync(receiver.Url, Secret, SecondsWhileItWaits);
        var aside = fixture.Buffer.ListDeadLetters(0, Readings).Select(letter => letter.Id);
        Assert.Equal(Enumerable.Range(1, Readings).Select(n => (long)n), receiver.Ids.Union(aside).Order());
    }

    [Fact]
    public async Task Batches_become_smaller_when_a_receiver_answers_413_and_resets_the_connection_before_reading_the_body()
    {
        await using var receiver = new RawReceiver(static _ => null) { LargestBodyBytes = 1 << 20 };
        await using var fixture = await DrainAsync(receiver.Url, Secret, secondsDuringSend: 0, isLarge: true);
        Assert.Equal(Enumerable.Range(1, Readings).Select(n => (long)n), receiver.Ids.Order());
        Assert.Empty(fixture.Buffer.ListDeadLetters(0, 10));
    }

    [Fact]
    public async Task A_receiver_that_does_not_support_Expect_is_not_sent_that_header_again()
    {
        await using var receiver = new RawReceiver(static _ => null) { LargestBodyBytes = 1 << 20, KnowsExpect = false };
        using var sink = new HttpSink(Secret, TimeProvider.System);
        var settings = new ForwardingSettings { HttpEndpoint = receiver.Url };
        var body = new byte[8 << 20];
        Array.Fill(body, (byte)' ');
        """{"batch":[{"id":1,"data":{}}]}"""u8.CopyTo(body);
        var batch = new Batch("epoch", [new(1, BufferFixture.Noon, "{}"u8.ToArray())], body);
        Assert.Equal(SendOutcome.Retry, (await sink.SendAsync(batch, settings, Token)).Outcome);
        receiver.LargestBodyBytes = int.MaxValue;
        Assert.Equal(SendOutcome.Accepted, (await sink.SendAsync(batch, settings, Token)).Outcome);
        Assert.Equal([1L], receiver.Ids);
    }

    [Theory]
    [InlineData("reset 0")] // NO_ERROR
    [InlineData("reset 2")] // INTERNAL_ERROR
    [InlineData("reset 7")] // REFUSED_STREAM
    [InlineData("reset 8")] // CANCEL
    [InlineData("reset 11")] // ENHANCE_YOUR_CALM
    [InlineData("goaway")]
    [InlineData("goaway and gone")]
    [InlineData("half")]
    public async Task Over_HTTP_2_every_reading_is_delivered_after_stream_resets_and_closed_connections(string trouble)
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue();
        var (requests, protocols, ids) = (0, new HashSet<string>(), new HashSet<long>());
        await using var receiver = await Receiver.StartAsync(
            async context =>
            {
                var batch = await ReadIdsAsync(context.Request);
                lock (ids) protocols.Add(context.Request.Protocol);
                if (Interlocked.Increment(ref requests) <= TroublesInARow && !await BreakAsync(context, trouble)) return;
                lock (ids) ids.UnionWith(batch);
            },
            certificate);
        // The clock does not advance during a send: on a busy machine, a late answer would be one more failure.
        var options = Secret with { Tls = roots.Files() };
        await using var fixture = await DrainAsync(receiver.Url, options, secondsDuringSend: 0);
        Assert.Equal("HTTP/2", Assert.Single(protocols));
        Assert.Equal(Enumerable.Range(1, Readings).Select(n => (long)n), ids.Order());
        Assert.Empty(fixture.Buffer.ListDeadLetters(0, 10));
    }

    [Fact]
    public async Task A_connection_on_which_a_request_timed_out_is_not_reused()
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue();
        var connections = new List<string>();
        var isSilent = false;
        await using var receiver = await Receiver.StartAsync(
            async context =>
            {
                lock (connections) connections.Add(context.Connection.Id);
                await ReadIdsAsync(context.Request);
                if (isSilent) await Task.Delay(Timeout.InfiniteTimeSpan, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            },
            certificate);
        var clock = new FakeTimeProvider(BufferFixture.Noon);
        using var sink = new HttpSink(Secret with { Tls = roots.Files() }, clock);
        var settings = new ForwardingSettings { HttpEndpoint = receiver.Url };
        var batch = new Batch("epoch", [new(1, BufferFixture.Noon, "{}"u8.ToArray())], """{"batch":[{"id":1,"data":{}}]}"""u8.ToArray());
        Assert.Equal(SendOutcome.Accepted, (await sink.SendAsync(batch, settings, Token)).Outcome);

        isSilent = true;
        var late = sink.SendAsync(batch, settings, Token);
        await Until.True(() => { lock (connections) return connections.Count == 2; });
        await Until.True(() => late.IsCompleted, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(SendOutcome.Retry, (await late).Outcome);

        isSilent = false;
        Assert.Equal(SendOutcome.Accepted, (await sink.SendAsync(batch, settings, Token)).Outcome);
        Assert.Equal(connections[0], connections[1]);
        Assert.NotEqual(connections[1], connections[2]);
    }

    [Theory]
    [InlineData("expired")]
    [InlineData("of another name")]
    [InlineData("of another root")]
    [InlineData("self-signed")]
    public async Task A_server_with_an_invalid_certificate_gets_no_reading_and_with_a_valid_one_gets_all(string wrong)
    {
        using var roots = new Certificates();
        using var others = new Certificates("other root");
        using var bad = wrong switch
        {
            "expired" => roots.Issue(isExpired: true),
            "of another name" => roots.Issue("example.com"),
            "of another root" => others.Issue(),
            _ => others.IssueToItself(),
        };
        using var good = roots.Issue();
        var (connections, ids) = (0, new HashSet<long>());
        await using var receiver = await Receiver.StartAsync(
            async context =>
            {
                var batch = await ReadIdsAsync(context.Request);
                lock (ids) ids.UnionWith(batch);
            },
            listen => listen.UseHttps(https => https.ServerCertificateSelector =
                (_, _) => Interlocked.Increment(ref connections) <= TroublesInARow ? bad : good));
        // The clock does not advance during a send: on a busy machine, a late answer would be one more failure.
        var options = Secret with { Tls = roots.Files() };
        await using var fixture = await DrainAsync(receiver.Url, options, secondsDuringSend: 0);
        Assert.Equal(Enumerable.Range(1, Readings).Select(n => (long)n), ids.Order());
        Assert.InRange(fixture.Forwarder.Status.Failures, 1, TroublesInARow);
    }

    [Theory]
    [InlineData("closed")]
    [InlineData("reset")]
    [InlineData("plain text")]
    [InlineData("silence", Explicit = true)]
    public async Task A_failed_TLS_handshake_is_retried(string trouble)
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue();
        var (connections, ids) = (0, new HashSet<long>());
        await using var receiver = await Receiver.StartAsync(
            async context =>
            {
                var batch = await ReadIdsAsync(context.Request);
                lock (ids) ids.UnionWith(batch);
            },
            listen =>
            {
                listen.Use(next => connection => Interlocked.Increment(ref connections) == 1 ? SpoilAsync(connection, trouble) : next(connection));
                listen.UseHttps(certificate);
            });
        // The clock hardly advances during a send: on a busy machine, a late answer would be one more failure.
        await using var fixture = await DrainAsync(
            receiver.Url, Secret with { Tls = roots.Files() }, secondsDuringSend: trouble == "silence" ? 0.01 : 0);
        Assert.Equal(Enumerable.Range(1, Readings).Select(n => (long)n), ids.Order());
        Assert.Equal(1, fixture.Forwarder.Status.Failures);
    }

    /// <summary>Whether only a timeout ends the exchange. With any other fault the clock does not advance during a send:
    /// on a busy machine, a late answer would be one more failure.</summary>
    static bool KeepsWaiting(string trouble) =>
        trouble is "nothing at all" or "continue, and nothing" || trouble.EndsWith("silence", StringComparison.Ordinal)
        || trouble.EndsWith("never ends", StringComparison.Ordinal)
        // Without a valid length the body ends with the connection.
        || trouble is "a length that is no number" or "a negative length" or "an absurd length";

    static async Task SpoilAsync(ConnectionContext connection, string trouble)
    {
        await connection.Transport.Input.ReadAsync(Token);
        switch (trouble)
        {
            case "closed":
                break;
            case "reset":
                connection.Abort();
                break;
            case "plain text":
                await connection.Transport.Output.WriteAsync("HTTP/1.1 400 Bad Request\r\n\r\n"u8.ToArray(), Token);
                break;
            default:
                await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, connection.ConnectionClosed).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                break;
        }
    }

    /// <summary>Breaks the exchange. True: the batch counts as accepted nevertheless.</summary>
    static async Task<bool> BreakAsync(HttpContext context, string trouble)
    {
        switch (trouble)
        {
            case "goaway":
                context.Connection.RequestClose();
                return true;
            case "goaway and gone":
                context.Connection.RequestClose();
                context.Abort();
                return false;
            case "half":
                context.Response.ContentType = "application/json";
                await context.Response.WriteAsync("{\"accep", Token);
                context.Abort();
                return false;
            default:
                context.Features.GetRequiredFeature<IHttpResetFeature>().Reset(int.Parse(trouble[6..], CultureInfo.InvariantCulture));
                return false;
        }
    }

    static async Task<List<long>> ReadIdsAsync(HttpRequest request)
    {
        using var json = await JsonDocument.ParseAsync(request.Body, cancellationToken: Token);
        return [.. json.RootElement.GetProperty("batch").EnumerateArray().Select(reading => reading.GetProperty("id").GetInt64())];
    }

    /// <summary>Runs a forwarder until its buffer is empty. The clock runs fast between sends and slowly during a
    /// send.</summary>
    static async Task<ForwarderFixture> DrainAsync(
        Uri url, HttpSinkOptions options, double secondsDuringSend, bool isLarge = false)
    {
        var underWay = 0;
        HttpSink? sink = null;
        var fixture = await ForwarderFixture.StartAsync(
            http: new FakeSink
            {
                Send = async (batch, settings, cancellationToken) =>
                {
                    Interlocked.Increment(ref underWay);
                    try
                    {
                        return await sink!.SendAsync(batch, settings, cancellationToken);
                    }
                    finally
                    {
                        Interlocked.Decrement(ref underWay);
                    }
                },
            },
            settings: new()
            {
                HttpEndpoint = url,
                HttpTimeout = TimeSpan.FromSeconds(5),
                BatchSize = isLarge ? Readings : 20,
                BatchMaxBytes = HttpSink.LargestBodyBytes,
                UploadInterval = TimeSpan.Zero,
            });
        using var made = sink = new HttpSink(options, fixture.Clock);
        if (isLarge)
        {
            var values = Enumerable.Range(0, 10_000).Select(n => KeyValuePair.Create($"value{n}", 1.5)).ToList();
            for (var n = 1; n <= Readings; n++) await fixture.Buffer.EnqueueAsync(BufferFixture.Reading(n) with { Values = values }, Token);
        }
        else
        {
            await fixture.StoreAsync(Readings);
        }

        await fixture.RunAsync();
        await Until.True(() =>
        {
            if (fixture.Buffer.GetStatus().Depth == 0) return true;
            fixture.Clock.Advance(Volatile.Read(ref underWay) == 0 ? TimeSpan.FromMinutes(1) : TimeSpan.FromSeconds(secondsDuringSend));
            return false;
        });
        return fixture;
    }

    static IEnumerable<KeyValuePair<string, RawAnswer>> Statuses()
    {
        int[] statuses =
        [
            200, 201, 202, 203, 204, 205, 206, 300, 304, 305, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415,
            417, 418, 421, 422, 423, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 599, 600, 999,
        ];
        foreach (var status in statuses) yield return new($"{status}", new($"HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n", Takes: status < 300));
        foreach (var status in (int[])[301, 302, 303, 307, 308])
        {
            foreach (var to in (string[])["", "/telemetry", "http://other.invalid/", "https://127.0.0.1:9/", "file:///etc/passwd", "http://[", "//other.invalid/x"])
            {
                var location = to.Length == 0 ? "" : $"Location: {to}\r\n";
                yield return new($"{status} to {(to.Length == 0 ? "nowhere" : to)}", new($"HTTP/1.1 {status} There\r\n{location}Content-Length: 0\r\n\r\n"));
            }
        }

        foreach (var after in (string[])["7", "7200", "-1", "999999999999999999999", "Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon", ""])
        {
            foreach (var status in (int[])[429, 503])
                yield return new($"{status} after '{after}'", new($"HTTP/1.1 {status} Later\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n"));
        }
    }

    static Dictionary<string, RawAnswer> Broken()
    {
        const string Json = "Content-Type: application/json\r\n";
        var endless = new string('x', 5 << 20);
        RawAnswer Cut(string bytes) => new(bytes, Afterwards.Closes);
        return new Dictionary<string, RawAnswer>
        {
            ["nothing at all"] = new(""),
            ["closed"] = Cut(""),
            ["reset"] = new("", Afterwards.Resets),
            ["half a status line"] = Cut("HTTP/1.1 2"),
            ["half a status line, reset"] = new("HTTP/1.1 50", Afterwards.Resets),
            ["half a status line, silence"] = new("HTTP/1.1 50"),
            ["half a head, silence"] = new("HTTP/1.1 503 Busy\r\nContent-Le"),
            ["half a body, closed"] = Cut("HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf"),
            ["half a body, silence"] = new("HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf"),
            ["half an acceptance, closed"] = Cut($"HTTP/1.1 200 OK\r\n{Json}Content-Length: 100\r\n\r\n{{\"accep"),
            ["half an acceptance, silence"] = new($"HTTP/1.1 200 OK\r\n{Json}Content-Length: 100\r\n\r\n{{\"accep"),
            ["a body that is longer than it says"] = new("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlonger than that"),
            ["an acceptance that is longer than it says"] = new("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlonger than that", Takes: true),
            ["a body with 204"] = new("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello", Takes: true),
            ["two answers to one request"] = new("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ["two acceptances of one request"] = new("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Takes: true),
            ["two lengths"] = new("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n12345"),
            ["a length that is no number"] = new("HTTP/1.1 503 Busy\r\nContent-Length: many\r\n\r\n"),
            ["a negative length"] = new("HTTP/1.1 503 Busy\r\nContent-Length: -5\r\n\r\n"),
            ["an absurd length"] = new("HTTP/1.1 503 Busy\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            ["broken chunks"] = Cut($"HTTP/1.1 200 OK\r\n{Json}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            ["a status that is no number"] = new("HTTP/1.1 abc Well\r\n\r\n"),
            ["a version that is none"] = new("HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ["another protocol"] = new("SSH-2.0-OpenSSH_9.2\r\n"),
            ["bytes"] = new("\0\u0001\u00ff\u00fe\r\n\r\n"),
            ["a head that never ends"] = new($"HTTP/1.1 503 Busy\r\nX: {endless}"),
            ["an error page that never ends"] = new($"HTTP/1.1 500 Oops\r\nContent-Length: {1L << 40}\r\n\r\n{endless}"),
            ["an acceptance that never ends"] = new($"HTTP/1.1 200 OK\r\n{Json}Content-Length: {1L << 40}\r\n\r\n{endless}", Takes: true),
            ["continue, and nothing"] = new("HTTP/1.1 100 Continue\r\n\r\n"),
            ["continue, then busy"] = new("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
            ["early hints, then busy"] = new("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
            ["another protocol from now on"] = Cut("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
        };
    }
}
