using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace SensorForwarder.Forwarding;

/// <summary>What an HTTP answer means for the batch. Thread-safe.</summary>
/// <param name="secrets">What we send and a receiver may show: not even that is logged. The longest first.</param>
/// <param name="timeProvider">For a Retry-After that names a moment.</param>
internal sealed class HttpAnswer(IReadOnlyList<string> secrets, TimeProvider timeProvider)
{
    // Ten thousand ids with a reason each have room; what is longer is not about our readings.
    const int MaxJsonBytes = 4 << 20;
    const int ShownBytes = 200;

    // A secret that begins in what is shown is read to its end, so that it is known for one.
    readonly int _readForShow = ShownBytes + (secrets.Count == 0 ? 0 : secrets[0].Length);

    /// <summary>Reads of the answer what is of use. Throws what reading it throws.</summary>
    public async Task<SendResult> JudgeAsync(HttpResponseMessage response, Batch batch, CancellationToken cancellationToken)
    {
        var status = (int)response.StatusCode;
        var isJson = response.Content.Headers.ContentType?.MediaType is { } type
            && (type.Equals("application/json", StringComparison.OrdinalIgnoreCase) || type.EndsWith("+json", StringComparison.OrdinalIgnoreCase));
        var maySpeakOfReadings = isJson && (response.IsSuccessStatusCode || status is 400 or 422);

        // Most receivers say nothing of use with a 2xx; then nothing of it is read.
        if (response.IsSuccessStatusCode && !maySpeakOfReadings) return SendResult.Accepted;
        var body = maySpeakOfReadings
            ? await ReadAsync(response, MaxJsonBytes, cancellationToken)
            : await ReadShownAsync(response, cancellationToken);
        var partial = maySpeakOfReadings ? ReadPartial(body.Span, batch, response.IsSuccessStatusCode) : null;
        if (response.IsSuccessStatusCode) return SendResult.Accepted with { Partial = partial };

        var said = Show(Encoding.UTF8.GetString(body.Span[..Math.Min(body.Length, _readForShow)])).Trim();
        var reason = said.Length == 0 ? $"answered {status}" : $"answered {status}: {said}";
        return status switch
        {
            407 => new SendResult(SendOutcome.Denied, ProxyText.PasswordWanted) with { IsReached = false },
            408 or 429 or >= 500 => new SendResult(SendOutcome.Retry, reason, RetryAfter(response.Headers)) with { IsReached = true },
            413 => new(SendOutcome.TooLarge, reason),
            400 or 422 => new SendResult(SendOutcome.Rejected, reason) with { Partial = partial },
            >= 300 and < 400 => new(
                SendOutcome.Denied, $"{reason} (redirects are followed only with 307 or 308 on the same host: give the final URL as httpEndpoint)"),
            _ => new(SendOutcome.Denied, reason),
        };
    }

    string Show(string text)
    {
        foreach (var secret in secrets) text = text.Replace(secret, "..", StringComparison.Ordinal);
        return LogText.Clean(text.Length <= ShownBytes ? text : text[..ShownBytes]);
    }

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
        try
        {
            return await ReadAsync(response, _readForShow, cancellationToken);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException)
        {
            return default;
        }
    }

    static async Task<ReadOnlyMemory<byte>> ReadAsync(HttpResponseMessage response, int maxBytes, CancellationToken cancellationToken)
    {
        const int FirstBytes = 4_096;
        var bytes = new byte[Math.Min(maxBytes, FirstBytes)];
        var length = 0;
        await using var stream = await response.Content.ReadAsStreamAsync(cancellationToken);
        while (length < maxBytes)
        {
            if (length == bytes.Length) Array.Resize(ref bytes, Math.Min(maxBytes, 2 * length));
            var read = await stream.ReadAsync(bytes.AsMemory(length), cancellationToken);
            if (read == 0) break;
            length += read;
        }

        return bytes.AsMemory(0, length);
    }

    /// <summary><c>{"accepted":[ids]}</c> or <c>{"rejected":[{"id","reason"}]}</c>; null when the answer is neither. Many
    /// receivers have such words in an answer that means something else: only ids of this batch count.</summary>
    PartialAnswer? ReadPartial(ReadOnlySpan<byte> body, Batch batch, bool isSuccess)
    {
        try
        {
            var reader = new Utf8JsonReader(body);
            if (!JsonDocument.TryParseValue(ref reader, out var document)) return null;
            using (document)
            {
                if (document.RootElement.ValueKind != JsonValueKind.Object) return null;
                var ids = batch.Readings.Select(reading => reading.Id).ToHashSet();
                var accepted = isSuccess ? Accepted(document.RootElement, ids) : null;
                var rejected = Rejected(document.RootElement, ids);
                return accepted is null && rejected.Count == 0 ? null : new(accepted, rejected);
            }
        }
        catch (JsonException)
        {
            return null;
        }
    }

    static HashSet<long>? Accepted(JsonElement answer, HashSet<long> ours)
    {
        if (Find(answer, "accepted") is not { ValueKind: JsonValueKind.Array } list) return null;
        var ids = new HashSet<long>();
        foreach (var item in list.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt64(out var id)) return null;
            ids.Add(id);
        }

        return ids.Count == 0 || ids.Overlaps(ours) ? ids : null;
    }

    Dictionary<long, string> Rejected(JsonElement answer, HashSet<long> ids)
    {
        var reasons = new Dictionary<long, string>();
        if (Find(answer, "rejected") is not { ValueKind: JsonValueKind.Array } list) return reasons;
        foreach (var item in list.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.Object || Find(item, "id") is not { ValueKind: JsonValueKind.Number } number
                || !number.TryGetInt64(out var id) || !ids.Contains(id))
            {
                continue;
            }

            reasons[id] = Find(item, "reason") is { ValueKind: JsonValueKind.String } text ? Show(Read(text)) : "no reason given";
        }

        return reasons;
    }

    /// <summary>The property of that name; a name that is no text is another.</summary>
    static JsonElement? Find(JsonElement item, string name)
    {
        JsonElement? found = null;
        foreach (var property in item.EnumerateObject())
        {
            try
            {
                if (property.NameEquals(name)) found = property.Value;
            }
            catch (InvalidOperationException)
            {
                // Half a character.
            }
        }

        return found;
    }

    // It parses also with bytes that are no UTF-8, and with half a character.
    static string Read(JsonElement text)
    {
        try
        {
            return text.GetString()!;
        }
        catch (InvalidOperationException)
        {
            return "reason is not readable";
        }
    }
}
