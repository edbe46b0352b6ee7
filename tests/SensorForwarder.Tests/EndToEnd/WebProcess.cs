using System.Net;
using System.Net.Sockets;
using System.Text;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module as a process, and a client of its web port.</summary>
internal sealed class WebProcess : IAsyncDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("web-").FullName;

    public string DataDirectory => Path.Combine(_directory, "data");

    public string SettingsPath => Path.Combine(_directory, "settings.json");

    public int Port { get; } = FreePort.Find();

    public ChildProcess Module { get; private set; } = null!;

    public HttpClient Http { get; }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    WebProcess() => Http = new() { BaseAddress = new($"http://127.0.0.1:{Port}") };

    public static async Task<WebProcess> StartAsync(string settings, params (string Name, string Value)[] environment)
    {
        var web = new WebProcess();
        await File.WriteAllTextAsync(web.SettingsPath, settings, Token);
        web.Module = ChildProcess.StartModule(
            [("Buffer__Directory", web.DataDirectory), ("Web__Port", $"{web.Port}"), ("Settings__File", web.SettingsPath), .. environment]);
        await web.Module.LineAsync("on port");
        return web;
    }

    /// <summary>The module's binary with an option, in the same environment.</summary>
    public ChildProcess Ask(string option) => ChildProcess.StartModule(
        [option], ("Buffer__Directory", DataDirectory), ("Web__Port", $"{Port}"));

    public async Task<TcpClient> ConnectAsync()
    {
        var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, Port, Token);
        return client;
    }

    /// <summary>Sends bytes unchanged, and returns everything that is received until the module closes the connection, or
    /// sends nothing more for half a second.</summary>
    public async Task<string> SendRawAsync(string request)
    {
        using var answer = new MemoryStream();
        try
        {
            using var client = await ConnectAsync();
            var stream = client.GetStream();
            try
            {
                await stream.WriteAsync(Encoding.Latin1.GetBytes(request), Token);
            }
            catch (IOException)
            {
                // The module closed the connection before everything was sent; there may still be an answer.
            }

            var bytes = new byte[4096];
            using var quiet = CancellationTokenSource.CreateLinkedTokenSource(Token);
            while (await stream.ReadAsync(bytes, quiet.Token) is > 0 and var count)
            {
                answer.Write(bytes, 0, count);
                quiet.CancelAfter(TimeSpan.FromMilliseconds(500));
            }
        }
        catch (Exception exception) when (exception is IOException or SocketException or OperationCanceledException)
        {
            // The connection has ended; everything received before is returned.
        }

        return Encoding.UTF8.GetString(answer.ToArray());
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await Module.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }
}
