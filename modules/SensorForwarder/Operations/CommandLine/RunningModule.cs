using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Operations.Status;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Asks the module that runs on this machine, or in this container, over loopback or its sockets.</summary>
internal static class RunningModule
{
    const string NotServed = "Web__Port is 0: the module's web server is off";

    static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    // A module with too many clients refuses connections for a moment.
    static readonly TimeSpan BetweenAttempts = TimeSpan.FromSeconds(1);

    public static async Task<int> ShowHealthAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        if (await HealthSocket.AskAsync(boot, timeProvider, cancellationToken) is { } answer)
        {
            if (DocumentReader.Read(answer, out _) is not { } health)
                return Commands.Failed("the module runs, but does not answer on its health socket within 5 s");
            Console.WriteLine(health.ToJsonString());
            return (string?)health["status"] == Health.LiveStatus ? ExitCode.Ok : ExitCode.Failed;
        }

        // Turning the port off must not make the image's HEALTHCHECK fail.
        if (boot.WebPort == 0)
        {
            Console.WriteLine($"{NotServed}, and its health is not known");
            return ExitCode.Ok;
        }

        var began = timeProvider.GetTimestamp();
        while (true)
        {
            var (isOk, json, problem) = await AskAsync(boot, "/healthz", cancellationToken);
            if (json is not null)
            {
                Console.WriteLine(json.ToJsonString());
                return isOk ? ExitCode.Ok : ExitCode.Failed;
            }

            if (timeProvider.GetElapsedTime(began) > Patience / 3) return Commands.Failed(problem!);
            await Task.Delay(BetweenAttempts, timeProvider, cancellationToken);
        }
    }

    public static async Task<int> ShowStatusAsync(BootOptions boot, CancellationToken cancellationToken)
    {
        var (isOk, status, problem) = await AskAsync(boot, "/status", cancellationToken);
        if (status is null) return Commands.Failed(problem!);
        if (!isOk) return Commands.Failed(
            $"SensorForwarder waits for its volume: {LogText.Clean($"{status["checks"]?["storage"]?["reason"]}")}");
        Console.Write(StatusPage.Write(status));
        return ExitCode.Ok;
    }

    public static async Task<int> ReplayAsync(
        BootOptions boot, string from, string to, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        var payload = new JsonObject { ["from"] = from, ["to"] = to };
        if (await MethodSocket.AskAsync(boot, "replay", payload, timeProvider, cancellationToken) is not { } answer)
            return Commands.Failed($"no module that runs on {boot.BufferDirectory} answers");
        if ((int)answer["status"]! != 200)
            return Commands.Failed(LogText.Clean((string?)answer["payload"]?["error"] ?? "the module refuses"));
        var hint = (string?)answer["payload"]!["hint"] is { } text ? $": {text}" : "";
        Console.WriteLine($"{answer["payload"]!["replayed"]} readings are sent again{hint}");
        return ExitCode.Ok;
    }

    static async Task<(bool IsOk, JsonObject? Json, string? Problem)> AskAsync(
        BootOptions boot, string path, CancellationToken cancellationToken)
    {
        if (boot.WebPort == 0) return (false, null, NotServed);
        var url = $"http://127.0.0.1:{boot.WebPort}{path}";
        using var http = new HttpClient(new SocketsHttpHandler { UseProxy = false }) { Timeout = Patience };
        try
        {
            using var answer = await http.GetAsync(url, cancellationToken);
            var body = await answer.Content.ReadAsByteArrayAsync(cancellationToken);
            return DocumentReader.Read(body, out var fault) is { } json
                ? (answer.IsSuccessStatusCode, json, null)
                : (false, null, $"{url}: {(int)answer.StatusCode}, but {fault}: another program may use the port");
        }
        catch (Exception exception) when (
            exception is HttpRequestException or TaskCanceledException && !cancellationToken.IsCancellationRequested)
        {
            return (false, null, $"{url}: no answer ({LogText.Clean(exception.Message)}); the module does not run, or "
                + "has another Web__Port");
        }
    }
}
