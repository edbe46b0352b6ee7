using System.Text;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Intake;

/// <summary>
/// Called by all entries for readings of other programs: parses a request, commits it, and only then answers. While the
/// buffer or the volume refuses readings, the answer asks the sender to retry later. Thread-safe.
/// </summary>
internal sealed class IntakeStore(
    TelemetryBuffer buffer, IntakeOptions options, TimeProvider timeProvider)
{
    /// <summary>Timeout for a commit. The client sends the request again after it, so readings that were committed
    /// meanwhile are stored twice.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    // From this number on, a separate commit writes hardly more bytes per reading than a shared one.
    const int ReadingsForOwnCommit = 100;

    // Upper bound of the time that a client waits for the commit, if commitIntervalMs is longer.
    static readonly TimeSpan CommitWithin = TimeSpan.FromSeconds(1);

    // The content type that curl sends by default.
    static readonly string[] JsonTypes =
    [
        "application/x-www-form-urlencoded", "application/json", "text/json", "application/x-ndjson",
        "application/jsonl",
    ];

    public IntakeSources Sources { get; } = new(options, timeProvider);

    /// <summary>Stores JSON (a value, an array, or one value per line); what is not JSON, and does not say that it is,
    /// is stored whole as base64.</summary>
    /// <param name="source">Who sends it.</param>
    /// <param name="body">What it sends; used until the task completes.</param>
    /// <param name="contentType">Its content type; null: JSON. curl sends form data by default.</param>
    /// <param name="kind">How it came.</param>
    /// <param name="name">The sensor of what is not a reading.</param>
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

    /// <summary>Stores a message of edgeHub, whose sender gets no answer: what is not JSON is stored whole as base64,
    /// whatever it says that it is. The commit waits for nothing else.</summary>
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

    /// <summary>Adds a message that can't be stored as it is to the dead letters.</summary>
    /// <param name="problem">What is wrong with it.</param>
    public async Task<IntakeAnswer> DeadLetterAsync(
        IntakeSource source, IntakeMessage message, IntakeAnswer problem, CancellationToken cancellationToken)
    {
        var arrivedAt = timeProvider.GetUtcNow();
        using var payloads = message.NewPayloads();
        message.Into(payloads, arrivedAt).WriteData(
            message.IsJson ? message.Body.Span : Wrap(message.Body.Span, message.ContentType));

        // A copy: the writer may use it after the wait for it has ended.
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

    /// <summary>Stores a message whose sender waits for as long as it takes.</summary>
    /// <param name="source">Who sends it.</param>
    /// <param name="payloads">What it holds; used until the task completes.</param>
    /// <param name="arrivedAt">When it came.</param>
    /// <param name="atOnce">Nothing follows before it is committed.</param>
    public Task<IntakeAnswer> StorePayloadsAsync(
        IntakeSource source, PayloadList payloads, DateTimeOffset arrivedAt, bool atOnce,
        CancellationToken cancellationToken) => CommitAsync(
        source, payloads, null, arrivedAt, atOnce ? TimeSpan.Zero : CommitWithin, cancellationToken,
        Timeout.InfiniteTimeSpan);

    /// <summary>Commits what was given to the buffer so far.</summary>
    public async Task CommitAsync(CancellationToken cancellationToken)
    {
        try
        {
            await buffer.CommitAsync(cancellationToken);
        }
        catch (Exception exception) when (exception is BufferUnavailableException or OperationCanceledException)
        {
            // The caller that stored a reading gets this as the answer to its own call.
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

    /// <summary>How a body that is no JSON is kept.</summary>
    public static byte[] Wrap(ReadOnlySpan<byte> body, string contentType) => Encoding.UTF8.GetBytes(
        $$"""{"base64":"{{Convert.ToBase64String(body)}}","contentType":"{{JsonEncodedText.Encode(contentType)}}"}""");
}
