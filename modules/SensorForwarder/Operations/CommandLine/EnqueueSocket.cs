using System.Buffers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.Intake;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Takes readings from <c>--enqueue</c> over a Unix socket in the buffer's directory: JSON, a value a line,
/// until the client shuts down its side; the answer says what became of all of it. Without an answer nothing is
/// acknowledged.</summary>
internal sealed class EnqueueSocket(
    BootOptions boot, IntakeStore store, TimeProvider timeProvider, ILogger<EnqueueSocket> logger)
    : BackgroundService
{
    const string Kind = "enqueue";

    // Each waits for its commit.
    const int ClientsAtOnce = 8;

    static readonly TimeSpan AskTimeout = TimeSpan.FromSeconds(30);
    static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(10);

    /// <summary>Gives lines to the module that runs on this buffer.</summary>
    /// <returns>What became of them, with an empty reason where the module ended before it said so; null: no module
    /// runs.</returns>
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
            return; // it does not come to an end
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
