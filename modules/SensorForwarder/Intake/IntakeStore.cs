using System.Text;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Intake;

/// <summary>
/// Stores the readings of other programs. All entries call it: it parses a request, commits it, and only then answers.
/// While the buffer or the volume refuses readings, the answer asks the sender to retry later. Thread-safe.
/// </summary>
internal sealed class IntakeStore(
    TelemetryBuffer buffer, IntakeOptions options, TimeProvider timeProvider)
{
    /// <summary>The timeout of a commit. After it the client repeats the request: readings that are committed late are
    /// stored twice.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    // A request of at least this many readings is committed at once: sharing a commit would save hardly any bytes.
    const int ReadingsForOwnCommit = 100;

    // A client waits at most this long for the start of a commit, even if commitIntervalMs is longer.
    static readonly TimeSpan CommitWithin = TimeSpan.FromSeconds(1);

    // Including form data, the content type that curl sends by default.
    static readonly string[] JsonTypes =
    [
        "application/x-www-form-urlencoded", "application/json", "text/json", "application/x-ndjson",
        "application/jsonl",
    ];

    public IntakeSources Sources { get; } = new(options, timeProvider);

    /// <summary>Stores JSON: a value, an array, or one value per line. Any other body is stored whole as base64, unless
    /// its content type is JSON.</summary>
    /// <param name="source">The sender.</param>
    /// <param name="body">The body; used until the task completes.</param>
    /// <param name="contentType">The content type of the body; null: JSON. Form data counts as JSON, too.</param>
    /// <param name="kind">The kind of readings without a kind.</param>
    /// <param name="name">The sensor of values that are not readings.</param>
    public async Task<IntakeAnswer> StoreAsync(
        IntakeSource source, ReadOnlyMemory<byte> body, string? contentType, string kind, string name,
        CancellationToken cancellationToken)
    {
        var arrivedAt = timeProvider.GetUtcNow();
        using var payloads = new PayloadList(body.Length + (body.Length / 4));
        var type = contentType?.Split(';')[0].Trim().ToLowerInvariant();
        var json = new JsonPayloads(payloads, kind, name, arrivedAt);
        var problem = json.Read(body.Span, isLines: type?.EndsWith("ndjson", StringComparison.Ordinal) == true);
        if (problem?.Outcome == IntakeOutcome.Malformed && type is not null && !JsonTypes.Contains(type)
            && !type.EndsWith("+json", StringComparison.Ordinal))
        {
            payloads.Clear();
            problem = IntakeLimits.Check(1, body.Length, "it");
            if (problem is null) json.WriteData(Wrap(body.Span, contentType!));
        }

        return await CommitAsync(source, payloads, problem, arrivedAt, CommitWithin, cancellationToken);
    }

    /// <summary>Stores a message of edgeHub. Its sender gets no answer, so a body that is not JSON is stored whole as
    /// base64, whatever its content type. The message is committed at once.</summary>
    /// <param name="message">Used until the task completes.</param>
    public async Task<IntakeAnswer> StoreMessageAsync(
        IntakeSource source, IntakeMessage message, CancellationToken cancellationToken)
    {
        var arrivedAt = timeProvider.GetUtcNow();
        using var payloads = message.NewPayloads();
        var json = message.Into(payloads, arrivedAt);
        var problem = json.Read(message.Body.Span, isLines: false);
        if (problem?.Outcome == IntakeOutcome.Malformed && !message.LooksLikeJson)
        {
            payloads.Clear();
            problem = null;
            json.WriteData(Wrap(message.Body.Span, message.ContentType));
        }

        return await CommitAsync(source, payloads, problem, arrivedAt, TimeSpan.Zero, cancellationToken);
    }

    /// <summary>Adds an invalid message to the dead letters.</summary>
    /// <param name="problem">Why the message is invalid.</param>
    public async Task<IntakeAnswer> DeadLetterAsync(
        IntakeSource source, IntakeMessage message, IntakeAnswer problem, CancellationToken cancellationToken)
    {
        var arrivedAt = timeProvider.GetUtcNow();
        using var payloads = message.NewPayloads();
        message.Into(payloads, arrivedAt).WriteData(
            message.IsJson ? message.Body.Span : Wrap(message.Body.Span, message.ContentType));

        // A copy, because the writer may still use the payload after a timeout.
        var payload = payloads[0].ToArray();
        var answer = await TryAsync(
            token => buffer.AddDeadLetterAsync(
                payload, arrivedAt, problem.Outcome.ToString(), problem.Reason, token), Patience, cancellationToken);
        if (answer.Outcome != IntakeOutcome.Stored) source.Count(answer, 0);
        return answer;
    }

    /// <summary>Stores InfluxDB line protocol.</summary>
    /// <param name="ticksPerUnit">See <see cref="LineProtocol.TicksPerUnit"/>.</param>
    public async Task<IntakeAnswer> StoreLinesAsync(
        IntakeSource source, ReadOnlyMemory<byte> body, decimal ticksPerUnit, CancellationToken cancellationToken)
    {
        var arrivedAt = timeProvider.GetUtcNow();
        using var payloads = new PayloadList(body.Length * 2);
        var problem = new LineProtocol(payloads, ticksPerUnit, arrivedAt).Read(body.Span);
        return await CommitAsync(source, payloads, problem, arrivedAt, CommitWithin, cancellationToken);
    }

    /// <summary>Stores a message of a broker, which waits for the acknowledgement without a timeout.</summary>
    /// <param name="source">The sender.</param>
    /// <param name="payloads">The content; used until the task completes.</param>
    /// <param name="arrivedAt">When the message arrived.</param>
    /// <param name="atOnce">Whether to commit at once instead of sharing a commit with later messages.</param>
    public Task<IntakeAnswer> StorePayloadsAsync(
        IntakeSource source, PayloadList payloads, DateTimeOffset arrivedAt, bool atOnce,
        CancellationToken cancellationToken) => CommitAsync(
        source, payloads, null, arrivedAt, atOnce ? TimeSpan.Zero : CommitWithin, cancellationToken,
        Timeout.InfiniteTimeSpan);

    /// <summary>Commits everything that was passed to the buffer so far.</summary>
    public async Task CommitAsync(CancellationToken cancellationToken)
    {
        try
        {
            await buffer.CommitAsync(cancellationToken);
        }
        catch (Exception exception) when (exception is BufferUnavailableException or OperationCanceledException)
        {
            // Each caller that stores a reading gets the failure as the answer to that call.
        }
    }

    async Task<IntakeAnswer> CommitAsync(
        IntakeSource source, PayloadList payloads, IntakeAnswer? problem, DateTimeOffset arrivedAt, TimeSpan within,
        CancellationToken cancellationToken, TimeSpan? patience = null)
    {
        var answer = problem ?? (payloads.Count == 0
            ? IntakeAnswer.Stored
            : source.Take(payloads.Count, payloads.Bytes)
                ?? await EnqueueAsync(payloads, arrivedAt, within, patience ?? Patience, cancellationToken));
        source.Count(answer, payloads.Count);
        if (answer.Outcome == IntakeOutcome.Stored) Sources.NoteSensors(payloads);
        return answer;
    }

    Task<IntakeAnswer> EnqueueAsync(
        PayloadList payloads, DateTimeOffset arrivedAt, TimeSpan within, TimeSpan patience,
        CancellationToken cancellationToken)
    {
        if (payloads.Count >= ReadingsForOwnCommit) within = TimeSpan.Zero;
        return TryAsync(
            token => buffer.EnqueueRequestAsync(payloads, arrivedAt, within, token), patience, cancellationToken);
    }

    async Task<IntakeAnswer> TryAsync(
        Func<CancellationToken, Task> store, TimeSpan patience, CancellationToken cancellationToken)
    {
        try
        {
            await store(cancellationToken).WaitAsync(patience, timeProvider, cancellationToken);
            return IntakeAnswer.Stored;
        }
        catch (Exception exception) when (exception is BufferRejectedException or BufferUnavailableException)
        {
            return IntakeAnswer.Wait(exception.Message);
        }
        catch (TimeoutException)
        {
            return IntakeAnswer.Wait($"it could not be written to the volume within {patience.TotalSeconds} s");
        }
    }

    /// <summary>The JSON in which a body that is not JSON is stored.</summary>
    public static byte[] Wrap(ReadOnlySpan<byte> body, string contentType) => Encoding.UTF8.GetBytes(
        $$"""{"base64":"{{Convert.ToBase64String(body)}}","contentType":"{{JsonEncodedText.Encode(contentType)}}"}""");
}
