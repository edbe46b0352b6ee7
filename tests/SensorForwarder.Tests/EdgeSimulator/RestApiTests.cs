using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using EdgeSimulator.Api;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using MQTTnet;

namespace SensorForwarder.Tests.Simulator;

public sealed class RestApiTests : IAsyncLifetime
{
    const string TwinPath = "/twins/pi1/modules/telemetry";

    readonly HttpClient _client = new();
    SimulatedHub _hub = null!;
    RestApi _api = null!;
    int _cuts;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _hub = await SimulatedHub.StartAsync();
        var actions = new Dictionary<string, Action> { ["cut"] = () => _cuts++ };
        _api = new RestApi(
            0, _hub.Identity, _hub.Twin, new MethodCalls(_hub.Hub, TimeProvider.System), _hub.Hub.Inputs, _hub.Recent,
            new FaultCommands(_hub.Faults, actions, _hub.Log), () => """{"received":0}""");
        await _api.StartAsync(Token);
        _client.BaseAddress = new Uri(_api.Url);
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _api.DisposeAsync();
        await _hub.DisposeAsync();
    }

    [Fact]
    public async Task Twin_is_patched_and_read_in_the_format_of_IoT_Hub()
    {
        var (status, patched) = await SendAsync(HttpMethod.Patch, TwinPath, """{"properties":{"desired":{"batchSize":5}}}""");
        var (_, got) = await SendAsync(HttpMethod.Get, TwinPath);

        Assert.Equal(200, status);
        Assert.Equal(
            """{"deviceId":"pi1","moduleId":"telemetry","modelId":"","properties":{"desired":{"batchSize":5,"$version":2},"reported":{"$version":1}}}""",
            patched.ToJsonString());
        Assert.Equal(patched.ToJsonString(), got.ToJsonString());
    }

    [Fact]
    public async Task Method_call_returns_the_answer_of_the_module()
    {
        var client = await _hub.ConnectAsync();
        client.ApplicationMessageReceivedAsync += e => client.PublishAsync(new MqttApplicationMessageBuilder()
            .WithTopic($"$iothub/methods/res/200/?$rid={e.ApplicationMessage.Topic.Split("?$rid=")[1]}")
            .WithPayload(Encoding.UTF8.GetString(e.ApplicationMessage.Payload)).Build(), Token);
        await client.SubscribeAsync(MethodEndpoint.Filter, cancellationToken: Token);

        var (status, answer) = await SendAsync(HttpMethod.Post, TwinPath + "/methods", """{"methodName":"echo","payload":{"a":[1]}}""");

        Assert.Equal(200, status);
        Assert.Equal("""{"status":200,"payload":{"a":[1]}}""", answer.ToJsonString());
    }

    [Fact]
    public async Task Method_call_is_404_when_the_module_is_not_connected_and_504_when_it_does_not_answer()
    {
        var (away, _) = await SendAsync(HttpMethod.Post, TwinPath + "/methods", """{"methodName":"echo"}""");
        var client = await _hub.ConnectAsync();
        await client.SubscribeAsync(MethodEndpoint.Filter, cancellationToken: Token);
        var (silent, problem) = await SendAsync(
            HttpMethod.Post, TwinPath + "/methods", """{"methodName":"echo","responseTimeoutInSeconds":0}""");

        Assert.Equal((404, 504), (away, silent));
        Assert.Equal(504, (int)problem["status"]!);
    }

    [Fact]
    public async Task Messages_are_shown_with_properties_and_body()
    {
        var client = await _hub.ConnectAsync();
        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 2), "%24.mid=m0/"), Token);
        await client.PublishAsync(SimulatedHub.Telemetry("text", "%24.mid=m1/"), Token);

        var (_, all) = await SendAsync(HttpMethod.Get, "/messages");
        var (_, last) = await SendAsync(HttpMethod.Get, "/messages?after=1");

        Assert.Equal(2, all["messages"]!.AsArray().Count);
        Assert.Equal(2, (int)all["messages"]![0]!["body"]!["batch"]![1]!["id"]!);
        Assert.Equal("m1", (string)Assert.Single(last["messages"]!.AsArray())!["properties"]!["$.mid"]!);
        Assert.Equal("text", (string)last["messages"]![0]!["body"]!);
    }

    [Fact]
    public async Task Faults_are_set_and_reset_and_actions_are_run()
    {
        var (status, described) = await SendAsync(
            HttpMethod.Post, "/faults", """{"latencyMilliseconds":200,"losePubacks":3,"certificate":"otherHost","halfOpen":true,"cut":true}""");

        Assert.Equal(200, status);
        Assert.Equal(
            new FaultSettings { LatencyMilliseconds = 200, LosePubacks = 3, Certificate = CertificateFault.OtherHost, HalfOpen = true },
            _hub.Faults.Current);
        Assert.Equal(1, _cuts);
        Assert.Equal("otherHost", (string)described["certificate"]!["value"]!);

        await SendAsync(HttpMethod.Post, "/faults", """{"reset":true}""");
        Assert.Equal(new FaultSettings(), _hub.Faults.Current);
    }

    [Fact]
    public async Task Every_fault_is_described_and_can_be_set()
    {
        var (_, described) = await SendAsync(HttpMethod.Get, "/faults");

        foreach (var property in typeof(FaultSettings).GetProperties().Where(property => property.CanWrite))
        {
            var name = string.Concat(char.ToLower(property.Name[0], CultureInfo.InvariantCulture), property.Name[1..]);
            Assert.NotNull(described[name]!["text"]);
            var value = property.PropertyType == typeof(bool) ? "true"
                : property.PropertyType == typeof(string) ? "\"live\""
                : property.PropertyType == typeof(CertificateFault) ? "\"expired\""
                : property.PropertyType == typeof(Cloud) ? "\"stalled\""
                : "1";
            var (status, after) = await SendAsync(HttpMethod.Post, "/faults", $"{{\"{name}\":{value}}}");
            Assert.Equal((200, value), (status, after[name]!["value"]!.ToJsonString()));
        }
    }

    [Theory]
    [InlineData("true", nameof(Cloud.Unreachable))]
    [InlineData("false", nameof(Cloud.Reachable))]
    public async Task UpstreamOffline_switches_the_cloud_to_unreachable_or_reachable(string value, string cloud)
    {
        await SendAsync(HttpMethod.Post, "/faults", $"{{\"cloud\":\"refusing\",\"upstreamOffline\":{value}}}");

        Assert.Equal(Enum.Parse<Cloud>(cloud), _hub.Faults.Current.Cloud);
    }

    [Theory]
    [InlineData("PATCH", TwinPath, "nonsense", 400, "not JSON")]
    [InlineData("PATCH", TwinPath, "[]", 400, "not a JSON object")]
    [InlineData("PATCH", TwinPath, """{"batchSize":5}""", 400, "properties")]
    [InlineData("GET", "/twins/pi1/modules/other", null, 404, "'other'")]
    [InlineData("POST", TwinPath + "/methods", "{}", 400, "methodName")]
    [InlineData("POST", TwinPath + "/methods", """{"methodName":"a/b"}""", 400, "methodName")]
    [InlineData("POST", TwinPath + "/methods", """{"methodName":"a","responseTimeoutInSeconds":301}""", 400, "301")]
    [InlineData("GET", "/messages?after=x", null, 400, "'x'")]
    [InlineData("POST", "/faults", """{"earthquake":true}""", 400, "'earthquake'")]
    [InlineData("POST", "/faults", """{"connack":6}""", 400, "0..5")]
    [InlineData("POST", "/faults", """{"blackout":1}""", 400, "true, false")]
    [InlineData("POST", "/faults", """{"cut":false}""", 400, "the only allowed value is true")]
    [InlineData("GET", "/nowhere", null, 404, "/nowhere")]
    public async Task Invalid_request_is_answered_with_a_problem_that_names_the_fault(string method, string path, string? body, int status, string words)
    {
        var (actual, problem) = await SendAsync(new HttpMethod(method), path, body);

        Assert.Equal(status, actual);
        Assert.Contains(words, (string)problem["detail"]!, StringComparison.Ordinal);
        Assert.Equal(new FaultSettings(), _hub.Faults.Current);
    }

    async Task<(int Status, JsonNode Body)> SendAsync(HttpMethod method, string path, string? body = null)
    {
        using var request = new HttpRequestMessage(method, path);
        request.Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json");
        using var answer = await _client.SendAsync(request, Token);
        return ((int)answer.StatusCode, JsonNode.Parse(await answer.Content.ReadAsStringAsync(Token))!);
    }
}
