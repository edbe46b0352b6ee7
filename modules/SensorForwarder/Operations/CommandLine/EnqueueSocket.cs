using System.Buffers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.Intake;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Accepts readings from <c>--enqueue</c> on a Unix socket in the buffer's directory. A request is JSON, one
/// value per line, until the client shuts down its side of the connection. The answer has the outcome of the whole
/// request; without an answer nothing is acknowledged.</summary>
internal sealed class EnqueueSocket(
    BootOptions boot, IntakeStore store, TimeProvider timeProvider, ILogger<EnqueueSocket> logger)
    : BackgroundService
{
    const string Kind = "enqueue";

    // Each client waits for the commit of its readings.
    const int ClientsAtOnce = 8;

    static readonly TimeSpan AskTimeout = TimeSpan.FromSeconds(30);
    static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(10);

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
        new LocalSocket(PathOf(boot), timeProvider, logger).ServeAsync(AnswerAsync, ClientsAtOnce, stoppingToken);

    async Task AnswerAsync(Socket client, CancellationToken stoppingToken)
    {
        using var timeout = new CancellationTokenSource(RequestTimeout, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, stoppingToken);
        var lines = new ArrayBufferWriter<byte>(4_096);
        try
        {
            while (true)
            {
                var read = await client.ReceiveAsync(lines.GetMemory(4_096), SocketFlags.None, deadline.Token);
                if (read == 0) break;
                lines.Advance(read);
                if (lines.WrittenCount > IntakeLimits.MaxRequestBytes) return;
            }
        }
        catch (OperationCanceledException) when (!stoppingToken.IsCancellationRequested)
        {
            return; // the client did not end its request in time
        }

        var answer = await store.StoreAsync(
            store.Sources.Find(Kind), lines.WrittenMemory, "application/x-ndjson", Kind, Kind, stoppingToken);
        var body = new JsonObject
        {
            ["outcome"] = answer.Outcome.ToString(),
            ["reason"] = answer.Reason,
            ["retryAfterSeconds"] = answer.RetryAfter?.TotalSeconds,
        };
        await client.SendAsync(Encoding.UTF8.GetBytes(body.ToJsonString()), SocketFlags.None, stoppingToken);
    }

    static string PathOf(BootOptions boot) => Path.Combine(boot.BufferDirectory, "enqueue.sock");
}
