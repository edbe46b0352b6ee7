using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Forwarding.Http;

/// <summary>Decides what an HTTP answer means for the batch. Thread-safe.</summary>
/// <param name="secrets">Redacted from all texts of the answer, because a receiver may echo the request.</param>
/// <param name="acceptHtml">Whether a web page with a 2xx status means accepted.</param>
/// <param name="timeProvider">For a Retry-After with a date, and for the timeouts of reading a body.</param>
internal sealed class HttpAnswer(Secrets secrets, bool acceptHtml, TimeProvider timeProvider)
{
    // Enough for 10,000 ids with a reason each.
    const int MaxJsonBytes = 4 << 20;
    const int FirstBytes = 4_096;

    // White space and comments may precede the first tag of a web page.
    const int MaxBeginningBytes = 65_536;

    // The shown part of an answer is visible to everyone who can change the twin. It is long enough for an error, and
    // too short to read pages of the host's network.
    const int ShownBytes = 80;

    // For the beginning of a body that may not be JSON, and for the shown part of an error.
    static readonly TimeSpan BeginningTimeout = TimeSpan.FromSeconds(5);

    // A body that has not ended after this time, and contains neither "accepted" nor "rejected", is not read further.
    static readonly TimeSpan EndlessAfter = TimeSpan.FromSeconds(10);

    // Long enough for a secret that begins in the shown part, so that all of it is recognised and redacted.
    readonly int _readForShow = ShownBytes + secrets.MaxLength;

    /// <summary>The kind of a body, according to its beginning.</summary>
    enum BodyKind
    {
        /// <summary>Not known yet: more bytes are needed.</summary>
        Open,

        /// <summary>A JSON object: it may contain results of single readings.</summary>
        Object,
        Page,
        Other,
    }

    static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Reads as much of the answer as is needed to judge it.</summary>
    /// <exception cref="HttpRequestException">The body could not be read; also IOException and
    /// OperationCanceledException.</exception>
    public async Task<SendResult> JudgeAsync(
        HttpResponseMessage response, Batch batch, CancellationToken cancellationToken)
    {
        if (response.IsSuccessStatusCode) return await JudgeSuccessAsync(response, batch, cancellationToken);
        var status = (int)response.StatusCode;
        var mayNameReadings = status is 400 or 422 && IsJson(MediaType(response));
        var body = mayNameReadings
            ? (await ReadAsync(response, isJson: true, cancellationToken)).Body
            : await ReadShownAsync(response, cancellationToken);
        var said = Show(Encoding.UTF8.GetString(body.Span[..Math.Min(body.Length, _readForShow)])).Trim();
        var reason = said.Length == 0 ? $"answered {status}" : $"answered {status}: {said}";
        return status switch
        {
            407 => new(SendOutcome.Denied, ProxyText.PasswordWanted) { IsReached = false },
            409 => JudgeConflict(response, batch, reason),
            511 => new(SendOutcome.Retry, $"{WebPage.Reason} (511: the network requires a login)")
            {
                IsFromElsewhere = true,
            },
            408 or 429 or >= 500 =>
                new(SendOutcome.Retry, reason, RetryAfter(response.Headers)) { IsReached = true },
            413 => new(SendOutcome.TooLarge, reason),
            400 or 422 when mayNameReadings => new(SendOutcome.Rejected, reason)
            {
                Partial = Show(PartialAnswerReader.ReadRefused(WithoutMark(body.Span), Ids(batch))),
            },
            400 or 422 => new(SendOutcome.Rejected, reason),
            >= 300 and < 400 when OtherHost(response) is { } host => new(
                SendOutcome.Denied, $"{WebPage.Reason} ({status} redirects to the host {LogText.Clean(host)})")
            {
                IsReached = false,
            },
            >= 300 and < 400 => new(
                SendOutcome.Denied, $"{reason} (only redirects with 307 or 308 to the same host are followed: set "
                    + "httpEndpoint to the final URL)"),
            _ => new(SendOutcome.Denied, reason),
        };
    }

    async Task<SendResult> JudgeSuccessAsync(
        HttpResponseMessage response, Batch batch, CancellationToken cancellationToken)
    {
        if (response.StatusCode is HttpStatusCode.NoContent or HttpStatusCode.ResetContent) return SendResult.Accepted;
        var type = MediaType(response);
        if (!acceptHtml && WebPage.IsAnnounced(response.Headers, type)) return Page(response);
        var (kind, body) = await ReadAsync(response, IsJson(type), cancellationToken);
        if (kind == BodyKind.Page && !acceptHtml) return Page(response);
        if (kind != BodyKind.Object) return SendResult.Accepted;
        if (PartialAnswerReader.ReadAccepted(WithoutMark(body.Span), Ids(batch), out var partial) is not { } odd)
            return SendResult.Accepted with { Partial = Show(partial) };
        var reason = $"answered {(int)response.StatusCode}, "
            + $"but its list of accepted or rejected readings can't be understood: {Show(odd)}";
        return new(SendOutcome.Retry, reason) { IsReached = true };
    }

    static SendResult Page(HttpResponseMessage response)
    {
        var hint = "set acceptHtml if the page comes from the receiver";
        var reason = $"{WebPage.Reason} ({(int)response.StatusCode}; {hint})";
        return new(SendOutcome.Retry, reason) { IsFromElsewhere = true };
    }

    /// <summary>A 409 means accepted if an earlier attempt may have stored the batch, or if its readings were delivered
    /// before and are replayed: the receiver recognises its <c>Idempotency-Key</c>. With a Retry-After the receiver is
    /// still processing that attempt.</summary>
    SendResult JudgeConflict(HttpResponseMessage response, Batch batch, string reason)
    {
        if (!batch.IsReplay && (!batch.MayHaveArrived || batch.Conflict != ConflictMeaning.Stored))
            return new(SendOutcome.Denied, reason) { IsConflict = true };
        return RetryAfter(response.Headers) is { } wait
            ? new(SendOutcome.Retry, reason, wait) { IsReached = true }
            : SendResult.Accepted;
    }

    /// <summary>The host of a redirect to another host; null otherwise.</summary>
    static string? OtherHost(HttpResponseMessage response)
    {
        if (response.Headers.Location is not { } location) return null;
        var asked = response.RequestMessage!.RequestUri!;
        var to = new Uri(asked, location);
        return to.IdnHost == asked.IdnHost ? null : to.IdnHost;
    }

    static HashSet<long> Ids(Batch batch) => [.. batch.Readings.Select(reading => reading.Id)];

    /// <summary>The media type in lower case, without parameters, even malformed ones; empty: none.</summary>
    static string MediaType(HttpResponseMessage response) =>
        response.Content.Headers.NonValidated.TryGetValues("Content-Type", out var values)
            ? values.ToString().Split(';', ',')[0].Trim().ToLowerInvariant()
            : "";

    static bool IsJson(string mediaType) =>
        mediaType == "application/json" || mediaType.EndsWith("+json", StringComparison.Ordinal);

    string Show(string text)
    {
        text = secrets.Redact(text);
        return LogText.Clean(text.Length <= ShownBytes ? text : text[..ShownBytes]);
    }

    PartialAnswer? Show(PartialAnswer? partial) => partial is null
        ? null
        : partial with { Rejected = partial.Rejected.ToDictionary(pair => pair.Key, pair => Show(pair.Value)) };

    // A date is compared with the receiver's clock, because this device's clock may be wrong.
    TimeSpan? RetryAfter(HttpResponseHeaders headers)
    {
        var header = headers.RetryAfter;
        var wait = header?.Delta ?? (header?.Date - (headers.Date ?? timeProvider.GetUtcNow()));
        return wait > TimeSpan.Zero ? wait : null;
    }

    /// <summary>Reads the part of an answer that is shown; empty: the answer can't be read, or is too slow.</summary>
    async Task<ReadOnlyMemory<byte>> ReadShownAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(BeginningTimeout, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        var bytes = new byte[_readForShow];
        try
        {
            await using var stream = await response.Content.ReadAsStreamAsync(deadline.Token);
            var read = await stream.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, deadline.Token);
            return bytes.AsMemory(0, read);
        }
        catch (Exception exception) when (
            exception is HttpRequestException or IOException or OperationCanceledException)
        {
            return default;
        }
    }

    /// <summary>Reads a body until its kind is known, and a JSON object up to its end or a limit.</summary>
    async Task<(BodyKind Kind, ReadOnlyMemory<byte> Body)> ReadAsync(
        HttpResponseMessage response, bool isJson, CancellationToken cancellationToken)
    {
        var limit = isJson ? Timeout.InfiniteTimeSpan : BeginningTimeout;
        using var timeout = new CancellationTokenSource(limit, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        var began = timeProvider.GetTimestamp();
        var (bytes, length, kind) = (new byte[FirstBytes], 0, BodyKind.Open);
        var end = new ObjectEnd();
        try
        {
            await using var stream = Unpack(await response.Content.ReadAsStreamAsync(deadline.Token), response);
            while (true)
            {
                var read = await stream.ReadAsync(bytes.AsMemory(length), deadline.Token);
                length += read;
                if (kind == BodyKind.Open) kind = KindOf(bytes.AsSpan(0, length));
                if (kind is BodyKind.Page or BodyKind.Other) break;
                if (kind == BodyKind.Object)
                {
                    timeout.CancelAfter(Timeout.InfiniteTimeSpan);
                    if (end.IsReached(WithoutMark(bytes.AsSpan(0, length)))) break;
                    if (read == 0 && !end.IsBroken && EndsWithConnection(response))
                        throw new IOException("the connection was closed before the end of the answer");
                }

                var max = kind == BodyKind.Open ? MaxBeginningBytes : MaxJsonBytes;
                var isEndless = timeProvider.GetElapsedTime(began) > EndlessAfter
                    && !PartialAnswerReader.HasWords(bytes.AsSpan(0, length));
                if (read == 0 || length >= max || isEndless) break;
                if (length == bytes.Length) Array.Resize(ref bytes, Math.Min(MaxJsonBytes, 2 * length));
            }
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException
            && !isJson && kind == BodyKind.Open && IsBlank(bytes.AsSpan(0, length)))
        {
            // Neither an object nor a web page has begun: only the status counts.
        }
        catch (InvalidDataException exception)
        {
            throw new IOException(exception.Message, exception);
        }

        return (kind, bytes.AsMemory(0, length));
    }

    static BodyKind KindOf(ReadOnlySpan<byte> body)
    {
        if (ByteOrderMark.StartsWith(body)) return BodyKind.Open;
        var text = WithoutMark(body).TrimStart(" \t\r\n"u8);
        if (text.IsEmpty) return BodyKind.Open;
        if (text[0] == '{') return BodyKind.Object;
        return text[0] != '<' ? BodyKind.Other : WebPage.Is(text) switch
        {
            true => BodyKind.Page,
            false => BodyKind.Other,
            null => BodyKind.Open,
        };
    }

    static bool IsBlank(ReadOnlySpan<byte> body) => WithoutMark(body).TrimStart(" \t\r\n"u8).IsEmpty;

    static ReadOnlySpan<byte> WithoutMark(ReadOnlySpan<byte> body) =>
        body.StartsWith(ByteOrderMark) ? body[ByteOrderMark.Length..] : body;

    static Stream Unpack(Stream stream, HttpResponseMessage response) =>
        response.Content.Headers.ContentEncoding.Contains("gzip", StringComparer.OrdinalIgnoreCase)
            ? new GZipStream(stream, CompressionMode.Decompress)
            : stream;

    /// <summary>Whether the body has no length: it ends with the connection, complete or not.</summary>
    static bool EndsWithConnection(HttpResponseMessage response) => response.Version.Major < 2
        && response.Content.Headers.ContentLength is null && response.Headers.TransferEncodingChunked != true;

    /// <summary>Finds the end of a JSON object that arrives in pieces.</summary>
    sealed class ObjectEnd
    {
        JsonReaderState _state;
        int _consumed;

        /// <summary>Whether the body is not JSON, so that its end can't be found.</summary>
        public bool IsBroken { get; private set; }

        public bool IsReached(ReadOnlySpan<byte> body)
        {
            if (IsBroken) return false;
            try
            {
                var reader = new Utf8JsonReader(body[_consumed..], isFinalBlock: false, _state);
                while (reader.Read())
                {
                    if (reader.CurrentDepth == 0 && reader.TokenType == JsonTokenType.EndObject) return true;
                }

                _consumed += (int)reader.BytesConsumed;
                _state = reader.CurrentState;
            }
            catch (JsonException)
            {
                IsBroken = true;
            }

            return false;
        }
    }
}
