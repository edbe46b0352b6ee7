using System.Text.Json.Nodes;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Asks the module that runs on this machine, or in this container, over loopback.</summary>
internal static class RunningModule
{
    const string NotServed = "Web__Port is 0: the module answers nobody";

    static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    // A module that many ask at once turns connections away; a moment later there is room.
    static readonly TimeSpan BetweenAttempts = TimeSpan.FromSeconds(1);

    public static async Task<int> ShowHealthAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        if (await HealthSocket.AskAsync(boot, timeProvider, cancellationToken) is { } answer)
        {
            if (DocumentReader.Read(answer, out _) is not { } health)
                return Commands.Failed("the module runs, but does not answer its health socket within 5 s");
            Console.WriteLine(health.ToJsonString());
            return (string?)health["status"] == Health.LiveStatus ? ExitCode.Ok : ExitCode.Failed;
        }

        // Whoever turned the port off has not asked for an alarm of every image's HEALTHCHECK.
        if (boot.WebPort == 0)
        {
            Console.WriteLine($"{NotServed}: its health is not known");
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
                : (false, null, $"{url}: {(int)answer.StatusCode}, and {fault}: another program may have the port");
        }
        catch (Exception exception) when (
            exception is HttpRequestException or TaskCanceledException && !cancellationToken.IsCancellationRequested)
        {
            return (false, null, $"{url}: no answer ({LogText.Clean(exception.Message)}); it does not run, or "
                + "Web__Port is another");
        }
    }
}
