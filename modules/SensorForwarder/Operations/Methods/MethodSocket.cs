using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations.Methods;

/// <summary>Serves direct methods to the command line, over a Unix socket in the buffer's directory. The request is
/// <c>{"method":..,"payload":{..}}</c>, the answer <c>{"status":..,"payload":{..}}</c>.</summary>
internal sealed class MethodSocket(
    BootOptions boot, DirectMethods methods, TimeProvider timeProvider, ILogger<MethodSocket> logger)
    : BackgroundService
{
    const int MaxRequestBytes = 65_536;
    static readonly TimeSpan AskTimeout = TimeSpan.FromMinutes(1);

    /// <summary>Calls a method of the module that runs on this buffer.</summary>
    /// <returns>The answer; null: no module answers.</returns>
    public static async Task<JsonObject?> AskAsync(
        BootOptions boot, string method, JsonObject payload, TimeProvider timeProvider,
        CancellationToken cancellationToken)
    {
        var request = new JsonObject { ["method"] = method, ["payload"] = payload }.ToJsonString();
        var answer = await LocalSocket.AskAsync(
            PathOf(boot), Encoding.UTF8.GetBytes(request), AskTimeout, timeProvider, cancellationToken);
        return answer is null ? null : DocumentReader.Read(answer, out _);
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        new LocalSocket(PathOf(boot), timeProvider, logger) { MaxRequestBytes = MaxRequestBytes }
            .ServeAsync(AnswerAsync, stoppingToken);

    async Task<byte[]?> AnswerAsync(ReadOnlyMemory<byte> text, CancellationToken stoppingToken)
    {
        if (DocumentReader.Read(text.Span, out _) is not { } request
            || request["method"] is not JsonValue name || !name.TryGetValue<string>(out var method))
            return null;
        var payload = Encoding.UTF8.GetBytes(request["payload"]?.ToJsonString() ?? "");
        var answer = await methods.InvokeAsync(method, payload, stoppingToken);
        return Encoding.UTF8.GetBytes(
            $"{{\"status\":{answer.Status},\"payload\":{Encoding.UTF8.GetString(answer.Body.Span)}}}");
    }

    static string PathOf(BootOptions boot) => Path.Combine(boot.BufferDirectory, "methods.sock");
}
