using System.Text;
using Microsoft.AspNetCore.Http;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>A proxy that environment variables configure, which needs a separate process. The host names of the receivers do not exist.</summary>
public sealed class ProxyTests : IDisposable
{
    const string Password = "geheim-9f3";
    const string Hub = "HostName=hub.invalid;DeviceId=d;ModuleId=m;SharedAccessKey=c2VjcmV0LWtleS1vZi1hLXRlc3Q=";

    readonly string _directory = Directory.CreateTempSubdirectory("proxy-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string SettingsPath => Path.Combine(_directory, "settings.json");

    public ProxyTests() => File.WriteAllText(
        SettingsPath, """{"sink":"http","uploadIntervalSeconds":0,"commitIntervalMs":0,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.05}}}""");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>Starts the module behind a proxy.</summary>
    /// <param name="proxy">The proxy.</param>
    /// <param name="user">User and password in the variable, followed by an @; or empty.</param>
    /// <param name="environment">More variables, for example the receiver.</param>
    ChildProcess Start(Receiver proxy, string user, params (string, string)[] environment) => ChildProcess.StartModule(
    [
        ("Buffer__Directory", _directory), ("Settings__File", SettingsPath), ("Web__Port", "0"), ("no_proxy", ""),
        ("http_proxy", $"http://{user}{proxy.Url.Authority}"), ("https_proxy", $"http://{user}{proxy.Url.Authority}"), .. environment,
    ]);

    [Fact]
    public async Task Proxy_of_the_environment_is_used_with_the_user_and_password_in_its_variable()
    {
        var taken = new TaskCompletionSource<string?>();
        await using var proxy = await Receiver.StartAsync(context =>
        {
            if (context.Request.Headers.ProxyAuthorization == $"Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes($"pi:{Password}"))}") taken.TrySetResult(context.Request.Host.Value);
            else Refuse(context, StatusCodes.Status407ProxyAuthenticationRequired);
            return Task.CompletedTask;
        });
        await using var module = Start(proxy, $"pi:{Password}@", ("Http__Endpoint", "http://receiver.invalid/"));
        Assert.Equal("receiver.invalid", await taken.Task.WaitAsync(Until.Limit, TimeProvider.System, Token));
        Assert.Equal(0, await module.StopAsync());
    }

    [Theory]
    [InlineData("", "http", 407, Explicit = true)]
    [InlineData($"pi:{Password}@", "https", 403)]
    [InlineData("", "https", 407, Explicit = true)]
    [InlineData($"pi:{Password}@", "http", 407, Explicit = true)]
    [InlineData($"pi:{Password}@", "https", 407, Explicit = true)]
    [InlineData($"pi:{Password}@", "http", 403, Explicit = true)]
    public async Task Proxy_that_refuses_a_connection_is_reported_without_its_password(string user, string scheme, int status)
    {
        await using var proxy = await Receiver.StartAsync(context =>
        {
            Refuse(context, status);
            return Task.CompletedTask;
        });
        await using var module = Start(
            proxy, user, ("Http__Endpoint", $"{scheme}://receiver.invalid/"), ("EdgeHubConnectionString", Hub),
            ("EdgeHub__Transport", "mqttws"));
        var through = $"through the proxy {proxy.Url.Authority}";
        const string Remedy = "https_proxy=http://USER:PASSWORD@HOST:PORT";
        await LineAsync(
            $"receiver.invalid/ {through} d", // "denied" or "did not accept"
            status == 407 ? Remedy : scheme == "http" ? "answered 403" : "status code '403'");
        await LineAsync($"hub.invalid:443 {through}: ", status == 407 ? Remedy : "status code '403'");
        await module.StopAsync();
        Assert.DoesNotContain(module.Lines, line => line.Contains(Password, StringComparison.Ordinal));

        Task LineAsync(string what, string why) => Until.True(() => module.Lines.Any(line =>
            line.Contains(what, StringComparison.Ordinal) && line.Contains(why, StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("0.0.0.0/8", Explicit = true)]
    [InlineData("a.test, 0.*", Explicit = true)]
    [InlineData("*", Explicit = true)]
    public async Task Proxy_is_bypassed_for_addresses_in_no_proxy(string noProxy)
    {
        // 0.0.0.0 is this machine, but is not recognised as local.
        await using var proxy = await Receiver.StartAsync(_ => Task.CompletedTask);
        await using var receiver = await Receiver.StartAsync(_ => Task.CompletedTask);
        await using var module = Start(
            proxy, "", ("Http__Endpoint", $"http://0.0.0.0:{receiver.Url.Port}/"), ("no_proxy", noProxy));
        var line = await module.LineAsync("Forwarding to ");
        Assert.EndsWith($"Forwarding to http://0.0.0.0:{receiver.Url.Port}/.", line, StringComparison.Ordinal);
        await Until.True(() => receiver.Requests > 0);
        Assert.Equal(0, proxy.Requests);
    }

    [Fact]
    public async Task Proxy_is_named_in_the_log_when_forwarding_begins_and_when_it_fails()
    {
        await using var proxy = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = 503;
            return Task.CompletedTask;
        });
        await using var module = Start(
            proxy,
            $"pi:{Password}@",
            ("Http__Endpoint", "http://receiver.invalid/"),
            ("no_proxy", "a.test,10.0.0.0/99"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.invalid"), ("OTEL_METRIC_EXPORT_INTERVAL", "200"));
        var through = $"through the proxy {proxy.Url.Authority}";
        await module.LineAsync($"Forwarding to http://receiver.invalid/ {through}.");
        await module.LineAsync($"http://receiver.invalid/ {through} did not accept batch");
        await module.LineAsync($"http://collector.invalid/ {through} by OTLP every");
        await module.LineAsync($"Metrics could not be pushed to http://collector.invalid/ {through} by OTLP: ");
        await module.StopAsync();
        const string Problem = "no_proxy: '10.0.0.0/99' is invalid and ignored";
        Assert.Single(module.Lines, line => line.Contains(Problem, StringComparison.Ordinal));
    }

    static void Refuse(HttpContext context, int status)
    {
        context.Response.StatusCode = status;
        context.Response.Headers.ProxyAuthenticate = "Basic realm=\"proxy\"";
    }
}
