using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Runtime.Versioning;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Intake;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>The HTTP intake with requests of Telegraf, scripts and attackers.</summary>
public sealed class HttpIntakeTests : IDisposable
{
    const string Reading = """{"sensor":"attic","values":{"number":1}}""";

    readonly string _directory = Directory.CreateTempSubdirectory("intake-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    static IntakeOptions Loopback => new() { Http = new IPEndPoint(IPAddress.Loopback, FreePort.Find()), ReadingsPerSecond = 0 };

    static async Task<(int Status, string Text, HttpResponseHeaders Headers)> PostAsync(
        HttpClient http, string path, HttpContent content, string? authorization = null, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = content };
        if (authorization is not null) request.Headers.TryAddWithoutValidation("Authorization", authorization);
        foreach (var (name, value) in headers) request.Headers.TryAddWithoutValidation(name, value);
        using var answer = await http.SendAsync(request, Token);
        return ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync(Token), answer.Headers);
    }

    static async Task<int> StatusAsync(HttpClient http, string body = Reading, string? authorization = null) =>
        (await PostAsync(http, "/readings", Json(body), authorization)).Status;

    static StringContent Json(string body) => new(body, Encoding.UTF8, "application/json");

    static ByteArrayContent Gzip(byte[] body)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true)) gzip.Write(body);
        var content = new ByteArrayContent(packed.ToArray());
        content.Headers.ContentEncoding.Add("gzip");
        return content;
    }

    [Fact]
    public async Task JSON_readings_JSON_lines_and_line_protocol_are_acknowledged_when_they_are_committed()
    {
        await using var intake = await IntakeFixture.OpenAsync(Loopback);
        using var http = await intake.ListenAsync();
        Assert.Equal(204, await StatusAsync(http));
        Assert.Single(intake.Stored());
        Assert.Equal(204, (await PostAsync(http, "/readings", new StringContent($"{Reading}\n{Reading}\n", Encoding.UTF8, "application/x-ndjson"))).Status);
        Assert.Equal(204, (await PostAsync(http, "/readings?sensor=webhook", Json("""{"event":"opened"}"""))).Status);
        Assert.Equal(204, (await PostAsync(http, "/readings", Json("[]"))).Status);
        Assert.Equal(204, (await PostAsync(http, "/api/v2/write?bucket=b&org=o&precision=s", new StringContent("a v=1 1795521600\nb v=2"))).Status);
        Assert.Equal(204, (await PostAsync(http, "/write?db=telegraf", Gzip("c,host=pi v=1 1795521600000000000\n"u8.ToArray()))).Status);
        Assert.Equal(204, (await PostAsync(http, "/readings", Gzip(Encoding.UTF8.GetBytes(Reading)))).Status);
        var stored = intake.Stored().Select(text => JsonNode.Parse(text)!).ToList();
        Assert.Equal(["attic", "attic", "attic", "webhook", "a", "b", "c,host=pi", "attic"], stored.Select(reading => (string?)reading["sensor"]));
        Assert.Equal("2026-11-24T12:00:00.000Z", (string?)stored[4]["time"]);
        Assert.Equal((8, 0), (intake.Source("http 127.0.0.1").Accepted, intake.Source("http 127.0.0.1").Refused.Count));
    }

    [Fact]
    public async Task An_invalid_request_is_refused_with_the_documented_status_and_message()
    {
        await using var intake = await IntakeFixture.OpenAsync(Loopback);
        using var http = await intake.ListenAsync();
        await RefusedAsync(400, "line 2: it is not JSON", Json($"{Reading}\n{{\n"), "/readings");
        await RefusedAsync(400, "line 1: field 'v' is not a number", new StringContent("a v=x"), "/api/v2/write");
        await RefusedAsync(400, "precision is not one of ns, us, ms, s, m, h", new StringContent("a v=1"), "/write?precision=d");
        await RefusedAsync(400, "sensor is not a name of 1 to 256 characters", Json("1"), $"/readings?sensor={new string('x', 257)}");
        await RefusedAsync(413, "it has 262145 bytes; the limit is 262144", Json($"\"{new string('x', 262_143)}\""), "/readings");
        await RefusedAsync(413, "the body has more than 4194304 bytes", new ByteArrayContent(new byte[IntakeLimits.MaxRequestBytes + 1]), "/readings");
        await RefusedAsync(413, "the body has more than 4194304 bytes", Gzip(new byte[IntakeLimits.MaxRequestBytes + 1]), "/write");
        await RefusedAsync(400, "the body is not valid gzip, or is incomplete", Cut(Gzip(new byte[100_000])), "/write");
        var deflate = Json(Reading);
        deflate.Headers.ContentEncoding.Add("br");
        await RefusedAsync(400, "its Content-Encoding is neither gzip nor identity", deflate, "/readings");
        await RefusedAsync(404, "the paths are /readings, /api/v2/write and /write", Json(Reading), "/nothing");
        await RefusedAsync(403, "web pages can't send readings", Json(Reading), "/readings", ("Origin", "http://a.example"));
        await RefusedAsync(403, "web pages can't send readings", Json(Reading), "/readings", ("Sec-Fetch-Site", "cross-site"));
        using (var get = await http.GetAsync("/readings", Token))
        {
            Assert.Equal(HttpStatusCode.MethodNotAllowed, get.StatusCode);
            Assert.Equal(["POST"], get.Content.Headers.Allow);
        }

        Assert.Empty(intake.Stored());
        Assert.Equal(204, await StatusAsync(http));

        // Clients of InfluxDB check the server first.
        using var ping = await http.GetAsync("/ping", Token);
        Assert.Equal(HttpStatusCode.NoContent, ping.StatusCode);
        Assert.Equal("pass", (string?)JsonNode.Parse(await http.GetStringAsync("/health", Token))!["status"]);

        async Task RefusedAsync(int status, string message, HttpContent content, string path, params (string, string)[] headers)
        {
            var answer = await PostAsync(http, path, content, null, headers);
            Assert.Equal(status, answer.Status);
            Assert.StartsWith(message, (string?)JsonNode.Parse(answer.Text)!["message"], StringComparison.Ordinal);
        }

        static ByteArrayContent Cut(ByteArrayContent whole)
        {
            using var stream = whole.ReadAsStream(Token);
            var bytes = new byte[stream.Length - 9];
            stream.ReadExactly(bytes);
            var content = new ByteArrayContent(bytes);
            content.Headers.ContentEncoding.Add("gzip");
            return content;
        }
    }

    [Fact]
    public async Task Only_requests_with_the_token_are_accepted_and_the_token_can_be_replaced()
    {
        var file = Path.Combine(_directory, "token");
        await using var intake = await IntakeFixture.OpenAsync(Loopback with { TokenFile = file });
        using var http = await intake.ListenAsync();
        Assert.Equal(401, await StatusAsync(http, authorization: "Token first"));
        await intake.Log.Waits("Every request is refused with 401 until it can");
        await File.WriteAllTextAsync(file, " first\n", Token);
        foreach (var right in (string[])["Token first", "token first", "Bearer first", $"Basic {Convert.ToBase64String("anybody:first"u8)}"])
            Assert.Equal(204, await StatusAsync(http, authorization: right));
        foreach (var wrong in (string?[])[null, "first", "Token", "Token firs", "Token first2", "Token ", "Digest first", "Basic first", $"Basic {Convert.ToBase64String("first"u8)}"])
        {
            var answer = await PostAsync(http, "/readings", Json(Reading), wrong);
            Assert.Equal((401, "Token"), (answer.Status, answer.Headers.WwwAuthenticate.ToString()));
        }

        await File.WriteAllTextAsync(file, "second, which is longer", Token);
        Assert.Equal(401, await StatusAsync(http, authorization: "Token first"));
        Assert.Equal(204, await StatusAsync(http, authorization: "Token second, which is longer"));
        Assert.Equal(5, intake.Stored().Count);
        Assert.Equal(11, intake.Source("http 127.0.0.1").Refused[IntakeOutcome.Unauthorized]);
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public async Task The_socket_is_accessible_by_user_and_group_and_a_stale_one_is_replaced()
    {
        var path = Path.Combine(_directory, "intake.sock");
        using (var left = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // As after a kill: .NET deletes the file of a socket that it closes.
            left.Bind(new UnixDomainSocketEndPoint(path + ".old"));
            File.Move(path + ".old", path);
        }

        await using var intake = await IntakeFixture.OpenAsync(new() { Http = new UnixDomainSocketEndPoint(path), ReadingsPerSecond = 0 });
        using var http = await intake.ListenAsync();
        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite, File.GetUnixFileMode(path));
        Assert.Equal(204, await StatusAsync(http));
        Assert.Equal(1, intake.Source("http socket").Accepted);
    }

    [Fact]
    public async Task A_file_at_the_path_of_the_socket_is_not_changed_and_listening_is_retried()
    {
        var path = Path.Combine(_directory, "intake.sock");
        await File.WriteAllTextAsync(path, "mine", Token);
        var clock = new FakeTimeProvider();
        await using var intake = await IntakeFixture.OpenAsync(new() { Http = new UnixDomainSocketEndPoint(path), ReadingsPerSecond = 0 }, clock);
        var listening = intake.ListenAsync();
        await intake.Log.Waits("can't be used");
        Assert.Equal("mine", await File.ReadAllTextAsync(path, Token));
        File.Delete(path);
        await Until.True(() => listening.IsCompleted, clock, TimeSpan.FromSeconds(1));
        using var http = await listening;
        Assert.Equal(204, await StatusAsync(http));
    }

    [Fact]
    public async Task A_client_above_its_rate_gets_429_with_Retry_After()
    {
        await using var intake = await IntakeFixture.OpenAsync(Loopback with { ReadingsPerSecond = 1 });
        using var http = await intake.ListenAsync();
        Assert.Equal(204, await StatusAsync(http, $"[{string.Join(',', Enumerable.Repeat("1", 1_000))}]"));
        var answer = await PostAsync(http, "/readings", Json(Reading));
        Assert.Equal(429, answer.Status);
        Assert.InRange(answer.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 900, 1_000);
    }

    [Fact]
    public async Task While_the_buffer_is_full_requests_get_503_with_Retry_After()
    {
        await using var intake = await IntakeFixture.OpenAsync(
            Loopback, limits: BufferFixture.AtOnce with { MaxBytes = 1 << 20, WhenFull = WhenFull.RejectNew });
        using var http = await intake.ListenAsync();
        for (var i = 0; intake.Buffer.GetStatus().Storage == StorageState.Ok && i < 100_000; i++)
            await Record.ExceptionAsync(() => intake.Buffer.EnqueueAsync(BufferFixture.Incompressible(i), Token).AsTask());
        var answer = await PostAsync(http, "/readings", Json(Reading));
        Assert.Equal((503, TimeSpan.FromSeconds(5)), (answer.Status, answer.Headers.RetryAfter!.Delta));
        Assert.Contains("the buffer is full", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_body_that_never_ends_and_one_that_stalls_are_cut_off()
    {
        var clock = new FakeTimeProvider();
        await using var intake = await IntakeFixture.OpenAsync(Loopback, clock);
        using var http = await intake.ListenAsync();
        using (var endless = await ConnectAsync(http))
        {
            await SendAsync(endless, "POST /readings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            var sent = 0L;
            var chunk = $"10000\r\n{new string(' ', 0x10000)}\r\n";
            await Assert.ThrowsAnyAsync<IOException>(async () =>
            {
                for (; sent < 200 << 20; sent += 0x10000) await SendAsync(endless, chunk);
            });
            Assert.InRange(sent, 1, 100 << 20);
        }

        using (var halfOpen = await ConnectAsync(http))
        {
            await SendAsync(halfOpen, "POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{");
            var end = ReadToEndAsync(halfOpen);
            await Until.True(() => end.IsCompleted, clock, TimeSpan.FromSeconds(1));
            Assert.DoesNotContain("204", await end, StringComparison.Ordinal);
        }

        Assert.Equal(204, await StatusAsync(http));
        Assert.Single(intake.Stored());
    }

    [Fact]
    public async Task One_address_cannot_use_all_connections()
    {
        await using var intake = await IntakeFixture.OpenAsync(Loopback);
        using var http = await intake.ListenAsync();
        var (idle, refused) = (new List<TcpClient>(), 0);
        for (var i = 0; i < 40; i++)
        {
            try
            {
                idle.Add(await ConnectAsync(http));
            }
            catch (SocketException)
            {
                refused++;
            }
        }

        var ends = idle.ConvertAll(ReadToEndAsync);
        await Until.True(() => refused + ends.Count(end => end.IsCompleted) == 8);
        idle.ForEach(client => client.Dispose());
        await Until.True(async () =>
        {
            try
            {
                return await StatusAsync(http) == 204;
            }
            catch (HttpRequestException)
            {
                return false;
            }
        });
    }

    static async Task<TcpClient> ConnectAsync(HttpClient http)
    {
        var client = new TcpClient();
        await client.ConnectAsync(http.BaseAddress!.Host, http.BaseAddress.Port, Token);
        return client;
    }

    static Task SendAsync(TcpClient client, string text) => client.GetStream().WriteAsync(Encoding.Latin1.GetBytes(text), Token).AsTask();

    static async Task<string> ReadToEndAsync(TcpClient client)
    {
        using var text = new MemoryStream();
        try
        {
            await client.GetStream().CopyToAsync(text, Token);
        }
        catch (IOException)
        {
            // The connection was reset; the answer before it counts.
        }

        return Encoding.Latin1.GetString(text.ToArray());
    }
}
