using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.Intake;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Accepts readings from <c>--enqueue</c> on a Unix socket in the buffer's directory. A request is JSON, one
/// value per line. The answer has the outcome of the whole request; without an answer nothing is acknowledged.
/// </summary>
internal sealed class EnqueueSocket(
    BootOptions boot, IntakeStore store, TimeProvider timeProvider, ILogger<EnqueueSocket> logger)
    : BackgroundService
{
    const string Kind = "enqueue";

    static readonly TimeSpan AskTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Sends lines to the module that runs on this buffer.</summary>
    /// <returns>The outcome, with an empty reason if the module ended before it answered; null: no module runs.
    /// </returns>
    public static async Task<IntakeAnswer?> AskAsync(
        BootOptions boot, ReadOnlyMemory<byte> lines, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        if (await LocalSocket.AskAsync(PathOf(boot), lines, AskTimeout, timeProvider, cancellationToken)
            is not { } text) return null;
        return DocumentReader.Read(text, out _) is { } answer
            && Enum.TryParse<IntakeOutcome>((string?)answer["outcome"], out var outcome)
            ? new(outcome, (string?)answer["reason"] ?? "", (double?)answer["retryAfterSeconds"] is { } seconds
                ? TimeSpan.FromSeconds(seconds)
                : null)
            : new(IntakeOutcome.Wait, "");
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        new LocalSocket(PathOf(boot), timeProvider, logger)
        {
            MaxRequestBytes = IntakeLimits.MaxRequestBytes,
            ClientsAtOnce = 8, // each waits for the commit of its readings
        }.ServeAsync(AnswerAsync, stoppingToken);

    async Task<byte[]?> AnswerAsync(ReadOnlyMemory<byte> lines, CancellationToken stoppingToken)
    {
        var answer = await store.StoreAsync(
            store.Sources.Find(Kind), lines, "application/x-ndjson", Kind, Kind, stoppingToken);
        var body = new JsonObject
        {
            ["outcome"] = answer.Outcome.ToString(),
            ["reason"] = answer.Reason,
            ["retryAfterSeconds"] = answer.RetryAfter?.TotalSeconds,
        };
        return Encoding.UTF8.GetBytes(body.ToJsonString());
    }

    static string PathOf(BootOptions boot) => Path.Combine(boot.BufferDirectory, "enqueue.sock");
}
