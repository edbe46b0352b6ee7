using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;
using SensorForwarder.Text;

namespace SensorForwarder.Configuration;

/// <summary>Parses untrusted JSON: settings, twin, payloads, saved documents. The result can be traversed, copied and
/// serialized without an exception. Stateless; any thread.</summary>
internal static class DocumentReader
{
    // People edit the settings file.
    static readonly JsonReaderOptions Options = new()
    {
        CommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
    };

    /// <summary>The document, or null and the problem as a clause, such as "it is not a JSON object".</summary>
    public static JsonObject? Read(ReadOnlySpan<byte> bytes, out string? problem)
    {
        const string NotUnicode = "it contains text that is not valid Unicode";
        try
        {
            problem = NotUnicode;
            if (!Utf8.IsValid(bytes)) return null;
            if (bytes.StartsWith("\uFEFF"u8)) bytes = bytes[3..];
            problem = Check(new(bytes, Options));
            if (problem is not null) return null;
            var reader = new Utf8JsonReader(bytes, Options);
            if (JsonNode.Parse(ref reader) is JsonObject document) return document;
            problem = "it is not a JSON object";
            return null;
        }
        catch (JsonException exception)
        {
            var what = Describe(exception.Message);
            problem = exception.LineNumber is { } line && exception.BytePositionInLine is { } at
                ? $"it is not JSON: line {line + 1}, byte {at + 1}: {what}"
                : $"it is not JSON: {what}";
            return null;
        }
        catch (Exception exception) when (exception is InvalidOperationException or ArgumentException)
        {
            problem = NotUnicode;
            return null;
        }
    }

    /// <summary>Reads every token. Strings are decoded, because <see cref="JsonNode"/> decodes them only when they are
    /// used and would then throw at an escaped lone surrogate. A repeated key is refused: one value would be ignored
    /// silently.</summary>
    /// <remarks><see cref="JsonDocumentOptions.AllowDuplicateProperties"/> is not used: it takes a random seed from
    /// OpenSSL, which would stay in the memory of a process that may need it for nothing else.</remarks>
    static string? Check(Utf8JsonReader reader)
    {
        var keys = new Stack<HashSet<string>>();
        while (reader.Read())
        {
            if (reader.TokenType == JsonTokenType.StartObject) keys.Push([]);
            else if (reader.TokenType == JsonTokenType.EndObject) keys.Pop();
            else if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName)
            {
                var text = reader.GetString()!;
                if (reader.TokenType == JsonTokenType.PropertyName && !keys.Peek().Add(text))
                    return $"it has the property {LogText.Quote(text)} twice";
            }
        }

        return null;
    }

    /// <summary>The reader's message. Quotations from the document longer than a character are removed: they may be
    /// secrets.</summary>
    static string Describe(string message)
    {
        if (message.Contains("' is an invalid JSON literal", StringComparison.Ordinal))
            return "a word is not a valid JSON literal";
        var end = message.IndexOf(". ", StringComparison.Ordinal);
        return LogText.Clean(end < 0 ? message : message[..end]);
    }
}
