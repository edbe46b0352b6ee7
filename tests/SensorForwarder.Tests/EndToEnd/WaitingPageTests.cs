using System.Net;
using System.Text.Json.Nodes;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>What a module that waits for its volume shows to a person on site.</summary>
public sealed class WaitingPageTests : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("waiting-").FullName;
    readonly int _port = FreePort.Find();
    readonly HttpClient _http;

    public WaitingPageTests()
    {
        _http = new() { BaseAddress = new($"http://127.0.0.1:{_port}") };
        File.WriteAllText(Data, "a file in the way");
    }

    // The name needs escaping in HTML.
    string Data => Path.Combine(_directory, "data<i>");

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _http.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    (string, string)[] Environment => [("Buffer__Directory", Data), ("Web__Port", $"{_port}")];

    async Task<ChildProcess> StartAsync(params (string, string)[] environment)
    {
        var module = ChildProcess.StartModule([.. Environment, .. environment]);
        await module.LineAsync("Waiting for the volume");
        return module;
    }

    async Task<(int Code, string Text)> AskAsync(string option)
    {
        await using var process = ChildProcess.StartModule([option], Environment);
        return (await process.ExitCodeAsync(), string.Join('\n', process.Lines));
    }

    [Fact(Explicit = true)]
    public async Task The_port_reports_the_missing_volume_until_it_is_available_and_then_serves_the_module()
    {
        await using var module = await StartAsync();
        foreach (var path in (string[])["/healthz", "/readyz", "/status"])
        {
            using var answer = await _http.GetAsync(path, Token);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
            var storage = JsonNode.Parse(await answer.Content.ReadAsStringAsync(Token))!["checks"]!["storage"]!;
            Assert.False((bool)storage["ok"]!);
            Assert.Contains(Data, (string)storage["reason"]!, StringComparison.Ordinal);
        }

        using (var answer = await _http.GetAsync("/", Token))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
            Assert.Equal("text/html", answer.Content.Headers.ContentType!.MediaType);
            Assert.Contains(Data.Replace("<i>", "&lt;i&gt;", StringComparison.Ordinal), await answer.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);
            Assert.StartsWith("default-src 'none'", Assert.Single(answer.Headers.GetValues("Content-Security-Policy")), StringComparison.Ordinal);
        }

        foreach (var option in (string[])["--health", "--status"])
        {
            var (code, text) = await AskAsync(option);
            Assert.Equal(1, code);
            Assert.Contains(Path.GetFileName(_directory), Assert.Single(text.Split('\n')), StringComparison.Ordinal);
        }

        // The client's open connection does not block the port.
        File.Delete(Data);
        await module.LineAsync("on port");
        Assert.DoesNotContain(module.Lines, line => line.Contains("can't be used", StringComparison.Ordinal));
        Assert.Contains("live", await _http.GetStringAsync("/healthz", Token), StringComparison.Ordinal);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task The_port_is_guarded_while_the_module_waits_for_its_volume_and_does_not_delay_a_stop()
    {
        await using var module = await StartAsync(("Web__Dashboard", "false"));
        foreach (var (path, host, status) in ((string, string, HttpStatusCode)[])[
            ("/", "localhost", HttpStatusCode.NotFound),
            ("/healthz", "evil.example.com", HttpStatusCode.MisdirectedRequest)])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            request.Headers.Host = host;
            using var answer = await _http.SendAsync(request, Token);
            Assert.Equal(status, answer.StatusCode);
            Assert.DoesNotContain("The paths are /,", await answer.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);
        }

        using (var answer = await _http.PostAsync("/healthz", null, Token)) Assert.Equal(HttpStatusCode.MethodNotAllowed, answer.StatusCode);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task A_port_in_use_is_named_in_the_log_and_the_module_still_waits_for_its_volume()
    {
        using var taken = new System.Net.Sockets.TcpListener(IPAddress.Loopback, _port);
        taken.Start();
        await using var module = await StartAsync();
        await module.LineAsync("can't be used");
        File.Delete(Data);
        await module.LineAsync("is read every");
        Assert.Equal(0, await module.StopAsync());
        var line = Assert.Single(
            module.Lines, line => line.Contains("Waiting for the volume", StringComparison.Ordinal));
        Assert.Contains(Data, line, StringComparison.Ordinal);
    }
}
