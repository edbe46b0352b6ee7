using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The client of the workload API against literal answers on a Unix socket.</summary>
public sealed class WorkloadTests : IDisposable
{
    const string Digest = "9JGkOQzwJNbJ0JrQOTn16uXuRcs/V3lPnzVdB1863UY=";

    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("workload-");
    readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    readonly FakeTimeProvider _clock = new();
    readonly List<string> _requests = [];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string SocketPath => Path.Combine(_directory.FullName, "w.sock");

    public void Dispose()
    {
        _listener.Dispose();
        _directory.Delete(recursive: true);
    }

    static string Answer(int status, string body) => $"HTTP/1.1 {status} Reason\r\nContent-Length: {body.Length}\r\n\r\n{body}";

    static string Good => Answer(200, $$"""{"digest":"{{Digest}}"}""");

    /// <summary>Gives one answer per connection, and none after the last. Null closes the connection without an
    /// answer.</summary>
    void Serve(params string?[] answers)
    {
        _listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        _listener.Listen(16);
        _ = Task.Run(async () =>
        {
            foreach (var answer in answers)
            {
                using var socket = await _listener.AcceptAsync();
                var buffer = new byte[4096];
                var request = "";
                while (!request.Contains("\r\n\r\n", StringComparison.Ordinal) || (request.StartsWith("POST", StringComparison.Ordinal) && !request.EndsWith('}')))
                    request += Encoding.ASCII.GetString(buffer, 0, await socket.ReceiveAsync(buffer));
                lock (_requests) _requests.Add(request);
                if (answer is not null) await socket.SendAsync(Encoding.ASCII.GetBytes(answer));
            }
        });
    }

    // Small steps, so that 30 s of the fake clock take longer than the answer of a busy machine.
    async Task<byte[]> SignAsync(double stepSeconds = 0.1)
    {
        using var api = new WorkloadApi(new(SocketPath, "telemetry", "637000000000000000"), _clock, new Random(1));
        var signing = api.SignAsync("data"u8.ToArray(), Token);
        await Until.True(() => signing.IsCompleted, _clock, TimeSpan.FromSeconds(stepSeconds));
        return await signing;
    }

    async Task<string> RefusalAsync(double stepSeconds = 0.1) =>
        (await Assert.ThrowsAsync<WorkloadApiException>(() => SignAsync(stepSeconds))).Message;

    [Fact]
    public async Task The_sign_request_has_the_form_that_aziot_edged_expects()
    {
        Serve(Good);
        Assert.Equal(Convert.FromBase64String(Digest), await SignAsync());
        var request = Assert.Single(_requests);
        Assert.StartsWith("POST /modules/telemetry/genid/637000000000000000/sign?api-version=2018-06-28 HTTP/1.1\r\n", request, StringComparison.Ordinal);
        Assert.Contains("Connection: close", request, StringComparison.Ordinal);
        Assert.EndsWith("""{"keyId":"primary","algo":"HMACSHA256","data":"ZGF0YQ=="}""", request, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_chunked_answer_is_accepted()
    {
        var body = $$"""{"digest":"{{Digest}}"}""";
        Serve($"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{body[..5]}\r\n{body.Length - 5:x}\r\n{body[5..]}\r\n0\r\n\r\n");
        Assert.Equal(32, (await SignAsync()).Length);
    }

    [Fact]
    public async Task A_temporary_failure_is_retried_three_times()
    {
        Serve(Answer(500, """{"message":"busy"}"""), null, Answer(503, ""), Good);
        Assert.Equal(32, (await SignAsync()).Length);
        Assert.Equal(4, _requests.Count);
    }

    [Fact]
    public async Task The_fourth_500_answer_in_a_row_is_final()
    {
        Serve(Enumerable.Repeat<string?>(Answer(500, """{"message":"broken"}"""), 9).ToArray());
        Assert.Contains("500 {\"message\":\"broken\"}", await RefusalAsync(), StringComparison.Ordinal);
        Assert.Equal(4, _requests.Count);
    }

    [Theory]
    [InlineData(403, "serves only processes of this module's container")]
    [InlineData(404, "Restart the module")]
    public async Task A_refusal_is_final_at_once_and_the_error_says_what_to_do(int status, string remedy)
    {
        Serve(Answer(status, """{"message":"no"}"""), Good);
        Assert.Contains(remedy, await RefusalAsync(), StringComparison.Ordinal);
        Assert.Single(_requests);
    }

    [Theory]
    [InlineData("not json")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"digest\":7}")]
    [InlineData("{\"digest\":\"???\"}")]
    [InlineData("{\"digest\":\"AAAA\"}")]
    public async Task An_unexpected_answer_body_is_reported_as_an_unexpected_document(string body)
    {
        Serve(Answer(200, body));
        Assert.StartsWith("The workload API answered sign with an unexpected document", await RefusalAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_without_an_answer_times_out_after_30_seconds()
    {
        Serve();
        Assert.Contains("did not answer sign in 30 s", await RefusalAsync(stepSeconds: 1), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missing_socket_is_reported_with_its_path()
    {
        var message = await RefusalAsync();
        Assert.Contains(SocketPath, message, StringComparison.Ordinal);
        Assert.Contains("no such socket", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_trust_bundle_without_a_certificate_is_an_error()
    {
        Serve(Answer(200, """{"certificate":"nothing"}"""));
        using var api = new WorkloadApi(new(SocketPath, "m", "1"), _clock, new Random(1));
        await Assert.ThrowsAsync<WorkloadApiException>(() => api.GetTrustBundleAsync(Token));
    }
}
