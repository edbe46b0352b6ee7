using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations.Methods;

/// <summary>Serves direct methods to the command line, over a Unix socket in the buffer's directory. The request is a
/// line of JSON, <c>{"method":..,"payload":{..}}</c>; the answer is <c>{"status":..,"payload":{..}}</c>.</summary>
internal sealed class MethodSocket(
    BootOptions boot, DirectMethods methods, TimeProvider timeProvider, ILogger<MethodSocket> logger)
    : BackgroundService
{
    const int MaxRequestBytes = 65_536;
    static readonly TimeSpan AskTimeout = TimeSpan.FromMinutes(1);
    static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(5);

    /// <summary>Calls a method of the module that runs on this buffer.</summary>
    /// <returns>The answer; null: no module answers.</returns>
    public static async Task<JsonObject?> AskAsync(
        BootOptions boot, string method, JsonObject payload, TimeProvider timeProvider,
        CancellationToken cancellationToken)
    {
        var request = new JsonObject { ["method"] = method, ["payload"] = payload }.ToJsonString() + "\n";
        var answer = await LocalSocket.AskAsync(
            PathOf(boot), Encoding.UTF8.GetBytes(request), AskTimeout, timeProvider, cancellationToken);
        return answer is null ? null : DocumentReader.Read(answer, out _);
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        new LocalSocket(PathOf(boot), timeProvider, logger).ServeAsync(AnswerAsync, clientsAtOnce: 1, stoppingToken);

    async Task AnswerAsync(Socket client, CancellationToken stoppingToken)
    {
        using var timeout = new CancellationTokenSource(RequestTimeout, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, stoppingToken);
        var (buffer, length) = (new byte[MaxRequestBytes], 0);
        try
        {
            while (length == 0 || buffer[length - 1] != '\n')
            {
                var read = await client.ReceiveAsync(buffer.AsMemory(length), SocketFlags.None, deadline.Token);
                if (read == 0) return;
                length += read;
            }
        }
        catch (OperationCanceledException) when (!stoppingToken.IsCancellationRequested)
        {
            return; // the client sends nothing
        }

        if (DocumentReader.Read(buffer.AsSpan(0, length), out _) is not { } request
            || request["method"] is not JsonValue name || !name.TryGetValue<string>(out var method))
            return;
        var payload = Encoding.UTF8.GetBytes(request["payload"]?.ToJsonString() ?? "");
        var answer = await methods.InvokeAsync(method, payload, stoppingToken);
        var body = $"{{\"status\":{answer.Status},\"payload\":{Encoding.UTF8.GetString(answer.Body.Span)}}}";
        await client.SendAsync(Encoding.UTF8.GetBytes(body), SocketFlags.None, stoppingToken);
    }

    static string PathOf(BootOptions boot) => Path.Combine(boot.BufferDirectory, "methods.sock");
}
