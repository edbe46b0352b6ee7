using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using SensorForwarder.Net;

namespace SensorForwarder.Forwarding;

/// <summary>What an HTTP answer means for the batch. Thread-safe.</summary>
/// <param name="secrets">What we send and a receiver may show: not even that is logged. The longest first.</param>
/// <param name="acceptHtml">Whether the receiver is known to answer with web pages.</param>
/// <param name="timeProvider">For a Retry-After that names a moment, and to limit how long a body is read.</param>
internal sealed class HttpAnswer(IReadOnlyList<string> secrets, bool acceptHtml, TimeProvider timeProvider)
{
    // Ten thousand ids with a reason each have room; what is longer is not about our readings.
    const int MaxJsonBytes = 4 << 20;
    const int FirstBytes = 4_096;

    // White space and comments can stand before a web page.
    const int MaxBeginningBytes = 65_536;

    // What the receiver says is shown to whoever may write the twin: enough for an error, too little to read pages by.
    const int ShownBytes = 80;

    // For the beginning of a body that need not be JSON, and all that is read of an error page.
    static readonly TimeSpan BeginningTimeout = TimeSpan.FromSeconds(5);

    // A body that still flows then, and has no word about readings so far, has none.
    static readonly TimeSpan EndlessAfter = TimeSpan.FromSeconds(10);

    // A secret that begins in what is shown is read to its end, so that it is known for one.
    readonly int _readForShow = ShownBytes + (secrets.Count == 0 ? 0 : secrets[0].Length);

    /// <summary>What a body is by its beginning.</summary>
    enum BodyKind
    {
        /// <summary>More of it is needed to know.</summary>
        Open,

        /// <summary>An object in JSON: it may speak of single readings.</summary>
        Object,
        Page,
        Other,
    }

    static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Reads of the answer what is of use, and no more. Throws what reading it throws.</summary>
    public async Task<SendResult> JudgeAsync(
        HttpResponseMessage response, Batch batch, CancellationToken cancellationToken)
    {
        if (response.IsSuccessStatusCode) return await JudgeSuccessAsync(response, batch, cancellationToken);
        var status = (int)response.StatusCode;
        var maySpeakOfReadings = status is 400 or 422 && IsJson(MediaType(response));
        var body = maySpeakOfReadings
            ? (await ReadAsync(response, isJson: true, cancellationToken)).Body
            : await ReadShownAsync(response, cancellationToken);
        var said = Show(Encoding.UTF8.GetString(body.Span[..Math.Min(body.Length, _readForShow)])).Trim();
        var reason = said.Length == 0 ? $"answered {status}" : $"answered {status}: {said}";
        return status switch
        {
            407 => new SendResult(SendOutcome.Denied, ProxyText.PasswordWanted) with { IsReached = false },
            409 => JudgeConflict(response, batch, reason),
            511 => new(SendOutcome.Retry, $"{WebPage.Reason} (511: somebody has to sign in to the network)")
            {
                IsFromElsewhere = true,
            },
            408 or 429 or >= 500 =>
                new SendResult(SendOutcome.Retry, reason, RetryAfter(response.Headers)) with { IsReached = true },
            413 => new(SendOutcome.TooLarge, reason),
            400 or 422 when maySpeakOfReadings => new(SendOutcome.Rejected, reason)
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
                SendOutcome.Denied, $"{reason} (redirects are followed only with 307 or 308 on the same host: give the "
                    + "final URL as httpEndpoint)"),
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
            + $"but what it says of accepted or rejected readings can't be understood: {Show(odd)}";
        return new(SendOutcome.Retry, reason) { IsReached = true };
    }

    static SendResult Page(HttpResponseMessage response)
    {
        var hint = "if the receiver itself answers so, set acceptHtml";
        return new(SendOutcome.Retry, $"{WebPage.Reason} ({(int)response.StatusCode}; {hint})")
        {
            IsFromElsewhere = true,
        };
    }

    /// <summary>The receiver knows the <c>Idempotency-Key</c>, if it may have had the batch before. One that asks to
    /// wait is still at work on it.</summary>
    SendResult JudgeConflict(HttpResponseMessage response, Batch batch, string reason)
    {
        if (!batch.MayHaveArrived || batch.Conflict != ConflictMeaning.Stored)
            return new(SendOutcome.Denied, reason) { IsConflict = true };
        return RetryAfter(response.Headers) is { } wait
            ? new SendResult(SendOutcome.Retry, reason, wait) with { IsReached = true }
            : SendResult.Accepted;
    }

    /// <summary>The host of a redirect that leads away from the one that was asked.</summary>
    static string? OtherHost(HttpResponseMessage response)
    {
        if (response.Headers.Location is not { } location) return null;
        var asked = response.RequestMessage!.RequestUri!;
        var to = location.IsAbsoluteUri ? location : new Uri(asked, location);
        return to.IdnHost == asked.IdnHost ? null : to.IdnHost;
    }

    static HashSet<long> Ids(Batch batch) => [.. batch.Readings.Select(reading => reading.Id)];

    /// <summary>In lower case and without parameters, even malformed ones; empty when there is none.</summary>
    static string MediaType(HttpResponseMessage response) =>
        response.Content.Headers.NonValidated.TryGetValues("Content-Type", out var values)
            ? values.ToString().Split(';', ',')[0].Trim().ToLowerInvariant()
            : "";

    static bool IsJson(string mediaType) =>
        mediaType == "application/json" || mediaType.EndsWith("+json", StringComparison.Ordinal);

    string Show(string text)
    {
        foreach (var secret in secrets) text = text.Replace(secret, "..", StringComparison.Ordinal);
        return LogText.Clean(text.Length <= ShownBytes ? text : text[..ShownBytes]);
    }

    PartialAnswer? Show(PartialAnswer? partial) => partial is null
        ? null
        : partial with { Rejected = partial.Rejected.ToDictionary(pair => pair.Key, pair => Show(pair.Value)) };

    // A moment is one of the receiver's clock; ours may be anywhere.
    TimeSpan? RetryAfter(HttpResponseHeaders headers)
    {
        var header = headers.RetryAfter;
        var wait = header?.Delta ?? (header?.Date - (headers.Date ?? timeProvider.GetUtcNow()));
        return wait > TimeSpan.Zero ? wait : null;
    }

    /// <summary>The beginning of an answer, for the log: an error page can be long, slow, or cut off.</summary>
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

    /// <summary>Reads until it is known what the body is; an object to its end, unless that does not come.</summary>
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
                if (kind == BodyKind.Open) kind = Look(bytes.AsSpan(0, length));
                if (kind is BodyKind.Page or BodyKind.Other) break;
                if (kind == BodyKind.Object)
                {
                    timeout.CancelAfter(Timeout.InfiniteTimeSpan);
                    if (end.IsReached(WithoutMark(bytes.AsSpan(0, length)))) break;
                    if (read == 0 && !end.IsBroken && EndsWithConnection(response))
                        throw new IOException("half an answer came");
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
            // A status without an answer: no object and no page began.
        }
        catch (InvalidDataException exception)
        {
            throw new IOException(exception.Message, exception);
        }

        return (kind, bytes.AsMemory(0, length));
    }

    static BodyKind Look(ReadOnlySpan<byte> body)
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

    /// <summary>Whether the body ends where the connection does: a whole one can't be told from one that was cut off.
    /// </summary>
    static bool EndsWithConnection(HttpResponseMessage response) => response.Version.Major < 2
        && response.Content.Headers.ContentLength is null && response.Headers.TransferEncodingChunked != true;

    /// <summary>Follows an object to its end, however long it takes to come.</summary>
    sealed class ObjectEnd
    {
        JsonReaderState _state;
        int _consumed;

        /// <summary>It is no JSON, so it has no end.</summary>
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
