using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using System.Runtime.Versioning;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>Port 9600 as used by browsers, scrapers and attackers. Tests that only read share one module.</summary>
public sealed class WebTests(SharedWeb shared) : IClassFixture<SharedWeb>
{
    const string Fast = SharedWeb.Fast;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task<JsonNode> JsonAsync(WebProcess web, string path) => JsonNode.Parse(await web.Http.GetStringAsync(path, Token))!;

    [Fact]
    public async Task The_page_loads_only_its_own_files_has_no_inline_code_and_is_small()
    {
        var web = shared.Web;
        var page = await web.Http.GetStringAsync("/", Token);
        var files = Regex.Matches(page, "(?:src|href)=\"([^\"#]+)\"").Select(match => match.Groups[1].Value).Distinct().ToList();
        Assert.Equal(["icon.svg", "style.css", "link.js", "history.js", "page.js"], files.Where(file => file.Contains('.', StringComparison.Ordinal)));
        Assert.DoesNotMatch(@"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page);

        var bytes = Encoding.UTF8.GetByteCount(page);
        foreach (var file in files)
        {
            using var answer = await web.Http.GetAsync(file, Token);
            var isHealth = file is "healthz" or "readyz"; // the status code depends on how busy the machine is
            if (isHealth) Assert.NotEqual(HttpStatusCode.NotFound, answer.StatusCode);
            else Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            var content = await answer.Content.ReadAsStringAsync(Token);
            if (!file.Contains('.', StringComparison.Ordinal)) continue;
            bytes += Encoding.UTF8.GetByteCount(content);
            Assert.DoesNotMatch("https?://(?!www.w3.org/2000/svg)[a-z]", content);
        }

        bytes += (await web.Http.GetByteArrayAsync("/api/settings", Token)).Length + (await web.Http.GetByteArrayAsync("/api/events", Token)).Length
            + (await web.Http.GetByteArrayAsync("/api/hour", Token)).Length + (await web.Http.GetByteArrayAsync("/api/now", Token)).Length;
        Assert.InRange(bytes, 10_000, 100_000);
    }

    [Fact]
    public async Task A_long_answer_is_compressed_for_clients_that_accept_gzip()
    {
        var web = shared.Web;
        var script = await web.Http.GetByteArrayAsync("/page.js", Token);
        foreach (var (asked, isCompressed) in new[] { ("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("deflate", false), (";;,", false) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/page.js");
            request.Headers.TryAddWithoutValidation("Accept-Encoding", asked);
            using var answer = await web.Http.SendAsync(request, Token);
            Assert.Equal(isCompressed ? ["gzip"] : [], answer.Content.Headers.ContentEncoding);
            Assert.Equal(["Accept-Encoding"], answer.Headers.Vary);
            await using var stream = await answer.Content.ReadAsStreamAsync(Token);
            await using var plain = isCompressed ? new GZipStream(stream, CompressionMode.Decompress) : stream;
            using var read = new MemoryStream();
            await plain.CopyToAsync(read, Token);
            Assert.Equal(script, read.ToArray());
            if (isCompressed) Assert.InRange(answer.Content.Headers.ContentLength!.Value, 1, script.Length * 2 / 3);
        }
    }

    [Fact]
    public async Task Each_answer_has_the_security_headers_and_no_server_header()
    {
        var web = shared.Web;
        foreach (var path in (string[])["/", "/metrics", "/nothing"])
        {
            using var answer = await web.Http.GetAsync(path, Token);
            var policy = Assert.Single(answer.Headers.GetValues("Content-Security-Policy"));
            Assert.StartsWith("default-src 'none'; script-src 'self'; style-src 'self';", policy, StringComparison.Ordinal);
            Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
            Assert.Equal("nosniff", Assert.Single(answer.Headers.GetValues("X-Content-Type-Options")));
            Assert.Equal("DENY", Assert.Single(answer.Headers.GetValues("X-Frame-Options")));
            Assert.False(answer.Headers.Contains("Server"));
            Assert.False(answer.Headers.Contains("Access-Control-Allow-Origin"));
        }
    }

    [Fact]
    public async Task The_page_gets_the_status_every_second_and_the_number_of_open_pages_is_limited()
    {
        await using var web = await WebProcess.StartAsync(Fast);
        var streams = new List<StreamReader>();
        for (var i = 0; i < StatusStream.MaxStreams; i++)
            streams.Add(new(await web.Http.GetStreamAsync("/api/stream", Token)));
        var depths = new List<long>();
        while (depths.Count < 3 || depths[^1] <= depths[0])
        {
            var line = await streams[0].ReadLineAsync(Token);
            if (line!.Length == 0) continue;
            var now = JsonNode.Parse(line["data: ".Length..])!;
            depths.Add((long)now["queue"]!["depth"]!);
            Assert.Equal("attic", (string?)now["sensors"]![0]!["name"]);
            Assert.Equal("Ok", (string?)now["storage"]!["state"]);
        }

        using (var tooMany = await web.Http.GetAsync("/api/stream", HttpCompletionOption.ResponseHeadersRead, Token))
            Assert.Equal(HttpStatusCode.ServiceUnavailable, tooMany.StatusCode);
        streams.ForEach(stream => stream.Dispose());
        HttpResponseMessage? again = null;
        await Until.True(async () =>
        {
            again?.Dispose();
            again = await web.Http.GetAsync("/api/stream", HttpCompletionOption.ResponseHeadersRead, Token);
            return again.StatusCode == HttpStatusCode.OK;
        });

        // An open page does not delay a stop.
        Assert.Equal(0, await web.Module.StopAsync());
        again!.Dispose();
    }

    [Fact(Explicit = true)]
    public async Task Pages_that_stop_reading_are_disconnected_and_make_room_for_others()
    {
        await using var web = await WebProcess.StartAsync(Fast);
        var silent = new List<TcpClient>();
        for (var i = 0; i < StatusStream.MaxStreams; i++)
        {
            // A small receive buffer, so that it is soon full.
            var client = new TcpClient { ReceiveBufferSize = 1_024 };
            silent.Add(client);
            await client.ConnectAsync(IPAddress.Loopback, web.Port, Token);
            await client.GetStream().WriteAsync("GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), Token);
            await client.GetStream().ReadExactlyAsync(new byte[1_000], Token);
        }

        Assert.Equal(HttpStatusCode.ServiceUnavailable, await AskAsync());
        await Until.True(async () => await AskAsync() == HttpStatusCode.OK);
        silent.ForEach(client => client.Dispose());

        async Task<HttpStatusCode> AskAsync()
        {
            using var answer = await web.Http.GetAsync("/api/stream", HttpCompletionOption.ResponseHeadersRead, Token);
            return answer.StatusCode;
        }
    }

    [Fact]
    public async Task Queued_readings_can_be_queried_during_a_blackout_and_an_invalid_query_is_explained()
    {
        var web = shared.Web;
        await Until.True(async () => (long)(await JsonAsync(web, "/api/readings?sensor=attic&points=5"))["readings"]! >= 10);
        var point = (await JsonAsync(web, "/api/readings?sensor=attic&points=5"))["points"]!.AsArray()[^1]!;
        Assert.True((double)point["values"]!["temperature"]!["min"]! <= (double)point["values"]!["temperature"]!["max"]!);

        // The whole time range of one value.
        var all = await JsonAsync(web, "/api/readings?sensor=attic&points=5&from=oldest&value=humidity");
        Assert.InRange((string)all["points"]![0]!["time"]!, (string)all["from"]!, (string)all["to"]!);
        Assert.All(all["points"]!.AsArray(), p => Assert.Equal(["humidity"], p!["values"]!.AsObject().Select(pair => pair.Key)));
        foreach (var query in (string[])["", "sensor=", "sensor=attic&points=0", "sensor=attic&points=1001", "sensor=attic&from=yesterday", "sensor=attic&from=2026-01-02&to=2026-01-01", "sensor=attic&from=0001-01-01", "sensor=attic&to=0001-01-01", "sensor=attic&to=9999-12-31T23:59:59Z"])
        {
            using var answer = await web.Http.GetAsync($"/api/readings?{query}", Token);
            Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
            Assert.Contains("points is 1..1000", await answer.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);
        }
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public async Task A_history_that_cannot_be_read_is_answered_with_503_and_the_reason()
    {
        var web = shared.Web;
        await Until.True(async () => (long)(await JsonAsync(web, "/api/readings?sensor=attic"))["readings"]! > 0);
        // Another process holds SQLite's read locks in the -shm file.
        const int FirstReadLock = 123, ReadLocks = 5;
        var index = Path.Combine(web.DataDirectory, "telemetry.db-shm");
        using (var held = new FileStream(index, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete))
        {
            await Until.True(() =>
            {
                try
                {
                    held.Lock(FirstReadLock, ReadLocks);
                    return true;
                }
                catch (IOException)
                {
                    return false; // one of the module's connections is reading
                }
            });
            using var answer = await web.Http.GetAsync("/api/readings?sensor=attic", Token);
            Assert.Equal(
                (HttpStatusCode.ServiceUnavailable, "application/json"),
                (answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
            var error = (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync(Token))!["error"];
            Assert.StartsWith("the buffer can't be read now", error, StringComparison.Ordinal);
        }

        Assert.True((long)(await JsonAsync(web, "/api/readings?sensor=attic"))["readings"]! > 0);
    }

    [Fact]
    public async Task Metrics_carry_the_labels_of_the_module_and_the_status_is_JSON()
    {
        Assert.IsType<JsonObject>((await JsonAsync(shared.Web, "/status"))["sensors"]);
        var metrics = await shared.Web.Http.GetStringAsync("/metrics", Token);
        var depth = Assert.Single(
            metrics.Split('\n'), line => line.StartsWith("sensorforwarder_queue_depth{", StringComparison.Ordinal));
        foreach (var label in (string[])["iothub=\"\"", "edge_device=\"", "module=\"SensorForwarder\"", "instance_number=\""])
            Assert.Contains(label, depth, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_the_dashboard_metrics_and_health_are_still_served()
    {
        await using var web = await WebProcess.StartAsync(Fast, ("Web__Dashboard", "false"));
        foreach (var path in (string[])["/", "/page.js", "/api/now", "/api/stream", "/api/settings"])
        {
            using var answer = await web.Http.GetAsync(path, Token);
            Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
            Assert.Equal("Not found. The paths are /metrics, /status, /healthz and /readyz.\n", await answer.Content.ReadAsStringAsync(Token));
        }

        Assert.Contains("live", await web.Http.GetStringAsync("/healthz", Token), StringComparison.Ordinal);
        Assert.Contains("sensorforwarder_queue_depth", await web.Http.GetStringAsync("/metrics", Token), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost: evil.example.com\r\n\r\n", 421)]
    [InlineData("GET / HTTP/1.1\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400)]
    [InlineData("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405)]
    [InlineData("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404)]
    [InlineData("GET /..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404)]
    [InlineData("GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400)]
    [InlineData("GET http://evil.example.com/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\nX : folded\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\n folded: 1\r\n\r\n", 400)]
    [InlineData("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505)]
    [InlineData("\0\u0001\u0002\u0003\r\n\r\n", 400)]
    public async Task A_malformed_request_is_refused_with_a_single_answer(string request, int status)
    {
        var web = shared.Web;
        var answer = await web.SendRawAsync(request);
        Assert.StartsWith($"HTTP/1.1 {status} ", answer, StringComparison.Ordinal);

        // A request that is smuggled behind it is not answered.
        Assert.Single(Regex.Matches(answer, "HTTP/1.1 "));
        Assert.Contains("live", await web.Http.GetStringAsync("/healthz", Token), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Endless_request_lines_and_headers_are_refused()
    {
        var web = shared.Web;
        Assert.StartsWith("HTTP/1.1 414 ", await web.SendRawAsync($"GET /{new string('a', 100_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 431 ", await web.SendRawAsync($"GET / HTTP/1.1\r\nHost: localhost\r\nX: {new string('a', 1_000_000)}\r\n\r\n"), StringComparison.Ordinal);
        var many = string.Concat(Enumerable.Range(0, 1000).Select(i => $"X{i}: 1\r\n"));
        Assert.StartsWith("HTTP/1.1 431 ", await web.SendRawAsync($"GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_that_holds_all_its_connections_open_blocks_neither_the_health_check_nor_other_clients()
    {
        var web = shared.Web;
        var held = new List<TcpClient>();
        for (var i = 0; i < 100; i++)
        {
            try
            {
                held.Add(await web.ConnectAsync());
                await held[^1].GetStream().WriteAsync("GET /api/stream HTTP/1.1\r\nHost: localhost\r\n"u8.ToArray(), Token);
            }
            catch (Exception exception) when (exception is IOException or SocketException)
            {
                // Turned away.
            }
        }

        await using (var check = web.Ask("--health"))
        {
            Assert.Equal(0, await check.ExitCodeAsync());
            Assert.Equal("live", (string?)JsonNode.Parse(Assert.Single(check.Lines))!["status"]);
        }

        using (var other = new TcpClient(new IPEndPoint(IPAddress.Parse("127.0.0.2"), 0)))
        {
            await other.ConnectAsync(IPAddress.Loopback, web.Port, Token);
            await other.GetStream().WriteAsync("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"u8.ToArray(), Token);
            using var answer = new StreamReader(other.GetStream());
            Assert.StartsWith("HTTP/1.1 200 ", await answer.ReadToEndAsync(Token), StringComparison.Ordinal);
        }

        // Once the client closes its connections, it is served again.
        held.ForEach(client => client.Dispose());
        await Until.True(async () => (await web.SendRawAsync("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .StartsWith("HTTP/1.1 200 ", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("/api/now", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image", 403)]
    [InlineData("/api/stream", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty", 403)]
    [InlineData("/metrics", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document", 403)]
    [InlineData("/", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe", 403)]
    [InlineData("/", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document", 200)]
    [InlineData("/api/now", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty", 200)]
    [InlineData("/metrics", "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document", 200)]
    public async Task A_page_of_another_site_can_only_link_to_the_dashboard(string path, string headers, int status)
    {
        var web = shared.Web;
        var answer = await web.SendRawAsync($"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n\r\n");
        Assert.StartsWith($"HTTP/1.1 {status} ", answer, StringComparison.Ordinal);
    }

    [Fact(Explicit = true)]
    public async Task A_thousand_slow_and_broken_clients_do_not_delay_sensing_and_use_bounded_memory()
    {
        await using var web = await WebProcess.StartAsync(Fast);
        await Until.True(async () => (long)(await JsonAsync(web, "/api/now"))["queue"]!["depth"]! > 10);
        var before = await JsonAsync(web, "/api/now");
        var memoryBefore = web.Module.MemoryBytes;

        var clients = new List<TcpClient>();
        var open = 0;
        var began = TimeProvider.System.GetTimestamp();
        string[] beginnings = ["", "G", "GET / HTTP/1.1\r\nHost: loc", "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc", "\u0016\u0003\u0001"];
        var memory = memoryBefore;
        for (var i = 0; i < 1000; i++)
        {
            try
            {
                var client = await web.ConnectAsync();
                clients.Add(client);
                await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes(beginnings[i % beginnings.Length]), Token);
                open++;
            }
            catch (Exception exception) when (exception is IOException or SocketException)
            {
                // Turned away.
            }

            if (i % 50 == 0) memory = Math.Max(memory, web.Module.MemoryBytes);
        }

        // Longer than the module's timeout for the rest of a request.
        while (TimeProvider.System.GetElapsedTime(began) < TimeSpan.FromSeconds(10))
        {
            memory = Math.Max(memory, web.Module.MemoryBytes);
            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, Token);
        }

        clients.ForEach(client => client.Dispose());
        await Until.True(async () =>
        {
            try
            {
                return (await web.Http.GetStringAsync("/healthz", Token)).Contains("live", StringComparison.Ordinal);
            }
            catch (HttpRequestException)
            {
                return false; // the last connections are still being closed
            }
        });

        var after = await JsonAsync(web, "/api/now");
        var seconds = (DateTime.Parse((string)after["now"]!, null) - DateTime.Parse((string)before["now"]!, null)).TotalSeconds;
        var readings = (long)after["storage"]!["committedReadings"]! - (long)before["storage"]!["committedReadings"]!;
        TestContext.Current.TestOutputHelper?.WriteLine($"{open} clients were accepted, {readings} readings in {seconds:0.0} s, memory {memoryBefore >> 20} MB, at most {memory >> 20} MB");

        // The schedule is ten readings a second. Missed readings are counted, and show whether sensing was delayed.
        var missed = (await JsonAsync(web, "/status"))["sensors"]!["attic"]!["missed"]!.GetValue<long>();
        Assert.True(readings + missed >= (seconds - 2) * 9, $"{readings} readings and {missed} missed in {seconds} s");
        Assert.True(readings > missed, $"{readings} readings, {missed} missed");
        Assert.InRange(memory - memoryBefore, long.MinValue, 64L << 20);
        Assert.Equal(0, await web.Module.StopAsync());
    }
}
