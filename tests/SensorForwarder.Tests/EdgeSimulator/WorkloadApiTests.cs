using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json.Nodes;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using EdgeSimulator.Workload;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Simulator;

public sealed class WorkloadApiTests : IAsyncLifetime
{
    const string SignPath = "/modules/telemetry/genid/637000000000000000/sign?api-version=2018-06-28";

    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("edge-sim-");
    readonly FaultSwitches _faults = new();
    readonly ServerCertificates _certificates = new(IPAddress.Loopback, TimeProvider.System);
    readonly WorkloadApi _workload;
    readonly HttpClient _client;

    public WorkloadApiTests()
    {
        var identity = new ModuleIdentity
        {
            HubHost = "stubhub.azure-devices.net",
            GatewayHost = "localhost",
            DeviceId = "pi1",
            ModuleId = "telemetry",
            GenerationId = "637000000000000000",
            Key = Convert.FromBase64String(SimulatedHub.Key),
        };
        var socket = Path.Combine(_directory.FullName, "workload.sock");
        _workload = new WorkloadApi(socket, identity, _certificates.TrustBundle, _faults);
        _client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, token) =>
            {
                var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), token);
                return new NetworkStream(connection, ownsSocket: true);
            },
        })
        {
            BaseAddress = new Uri("http://workload.sock:80"),
        };
    }

    public async ValueTask InitializeAsync() => await _workload.StartAsync(TestContext.Current.CancellationToken);

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _workload.DisposeAsync();
        _certificates.Dispose();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public async Task Digest_equals_that_of_the_reference()
    {
        // The exact request of Microsoft's SDK.
        var answer = await PostAsync(SignPath, """
            {"keyId":"primary","algo":"HMACSHA256","data":"c3R1Ymh1Yi5henVyZS1kZXZpY2VzLm5ldCUyRmRldmljZXMlMkZwaTElMkZtb2R1bGVzJTJGdGVsZW1ldHJ5CjE3OTU1MzI4MjI="}
            """);

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("OK", answer.ReasonPhrase);
        Assert.NotNull(answer.Content.Headers.ContentLength);
        Assert.Equal("""{"digest":"IrqyfqL\u002BrJnh1Yap713fkO03HeA3Cc8NNvus1gkjbsY="}""", await BodyAsync(answer));
    }

    [Fact]
    public async Task Server_certificate_is_trusted_with_the_trust_bundle_as_the_only_root()
    {
        var answer = await _client.GetAsync(new Uri("/trust-bundle?api-version=2018-06-28", UriKind.Relative), TestContext.Current.CancellationToken);
        var roots = new X509Certificate2Collection();
        roots.ImportFromPem(JsonNode.Parse(await BodyAsync(answer))!["certificate"]!.GetValue<string>());
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(roots);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;

        Assert.NotNull(answer.Content.Headers.ContentLength);
        Assert.True(chain.Build(_certificates.Valid));
        Assert.True(_certificates.Valid.MatchesHostname("localhost"));
        Assert.True(_certificates.Valid.MatchesHostname("127.0.0.1"));
        Assert.False(chain.Build(_certificates.Untrusted));
    }

    [Theory]
    [InlineData("/modules/other/genid/637000000000000000/sign?api-version=2018-06-28", 403)]
    [InlineData("/modules/telemetry/genid/1/sign?api-version=2018-06-28", 404)]
    [InlineData("/modules/telemetry/genid/637000000000000000/sign", 400)]
    [InlineData("/modules/telemetry/genid/637000000000000000/sign?api-version=1999-01-01", 400)]
    [InlineData("/elsewhere?api-version=2018-06-28", 404)]
    public async Task Wrong_module_generation_version_or_path_is_answered_with_an_error_message(string path, int status)
    {
        var answer = await PostAsync(path, """{"data":"AAAA"}""");

        Assert.Equal(status, (int)answer.StatusCode);
        Assert.NotNull(JsonNode.Parse(await BodyAsync(answer))!["message"]);
    }

    [Theory]
    [InlineData("")]
    [InlineData("nonsense")]
    [InlineData("{}")]
    [InlineData("""{"data":"%%%"}""")]
    [InlineData("""{"data":5}""")]
    public async Task Malformed_body_is_a_bad_request(string body) =>
        Assert.Equal(HttpStatusCode.BadRequest, (await PostAsync(SignPath, body)).StatusCode);

    [Fact]
    public async Task Commanded_fault_returns_its_status_or_closes_the_connection()
    {
        _faults.Update(f => f with { WorkloadStatus = 500 });
        Assert.Equal(HttpStatusCode.InternalServerError, (await PostAsync(SignPath, """{"data":"AAAA"}""")).StatusCode);

        _faults.Update(f => f with { WorkloadCloses = true });
        await Assert.ThrowsAsync<HttpRequestException>(() => PostAsync(SignPath, """{"data":"AAAA"}"""));

        _faults.Update(_ => new FaultSettings());
        Assert.Equal(HttpStatusCode.OK, (await PostAsync(SignPath, """{"data":"AAAA"}""")).StatusCode);
    }

    [Fact]
    public async Task The_11th_concurrent_connection_is_closed_and_later_requests_are_answered()
    {
        var token = TestContext.Current.CancellationToken;
        var sockets = new List<Socket>();
        for (var i = 0; i < 11; i++) sockets.Add(await ConnectAsync());

        // The server closes the connection that it accepts last, which may be any of them.
        await Until.True(() => sockets.Exists(IsAtItsEnd));
        Assert.Equal(0, await ReceiveAsync(Assert.Single(sockets, IsAtItsEnd)));

        sockets.ForEach(socket => socket.Dispose());

        // The module's client sends one request at a time, so any number of callers is served once the server has
        // noticed that the other connections have ended.
        using var api = new SensorForwarder.EdgeHub.WorkloadApi(
            new(_workload.SocketPath, "telemetry", "637000000000000000"), TimeProvider.System, new Random(1), retriesMax: 0);
        byte[][] digests = [];
        await Until.True(async () =>
        {
            try
            {
                digests = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => api.SignAsync("data"u8.ToArray(), token)));
                return true;
            }
            catch (SensorForwarder.EdgeHub.WorkloadApiException)
            {
                return false;
            }
        });
        Assert.All(digests, digest => Assert.Equal(digests[0], digest));

        async Task<Socket> ConnectAsync()
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(_workload.SocketPath), token);
            return socket;
        }

        static bool IsAtItsEnd(Socket socket) => socket.Poll(0, SelectMode.SelectRead);

        async Task<int> ReceiveAsync(Socket socket)
        {
            try
            {
                return await socket.ReceiveAsync(new byte[1], token);
            }
            catch (SocketException)
            {
                return 0;
            }
        }
    }

    async Task<HttpResponseMessage> PostAsync(string path, string body)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        return await _client.PostAsync(new Uri(path, UriKind.Relative), content, TestContext.Current.CancellationToken);
    }

    static Task<string> BodyAsync(HttpResponseMessage answer) => answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
}
