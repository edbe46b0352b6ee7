using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;

namespace SensorForwarder.Configuration;

/// <summary>Reads a settings document from bytes that come from outside. What it returns can be walked, copied and
/// written without an exception.</summary>
internal static class DocumentReader
{
    // Comments and trailing commas: people write the file. Two equal keys are a slip that nobody would notice.
    static readonly JsonDocumentOptions Options = new()
    {
        CommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
        AllowDuplicateProperties = false,
    };

    /// <summary>The document, or null and what is wrong with it: a clause that follows "because".</summary>
    public static JsonObject? Read(ReadOnlySpan<byte> bytes, out string? problem)
    {
        try
        {
            problem = "it has text in it that is no Unicode";
            if (!Utf8.IsValid(bytes)) return null;
            if (bytes.StartsWith("\uFEFF"u8)) bytes = bytes[3..];
            if (JsonNode.Parse(bytes, documentOptions: Options) is not JsonObject document)
            {
                problem = "it is not a JSON object";
                return null;
            }

            // Texts are decoded when they are used; an escaped half of a surrogate pair must show now.
            Decode(document);
            problem = null;
            return document;
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
            problem = "it has text in it that is no Unicode";
            return null;
        }
    }

    /// <summary>The reader's message without what it quotes of the document, but for single
    /// characters and for names.</summary>
    static string Describe(string message)
    {
        const string Duplicate = "Duplicate property '", Literal = "' is an invalid JSON literal";
        if (message.StartsWith(Duplicate, StringComparison.Ordinal))
            return $"Duplicate property {LogText.Quote(message[Duplicate.Length..message.LastIndexOf('\'')])}";
        if (message.Contains(Literal, StringComparison.Ordinal)) return "a word in it is an invalid JSON literal";
        var end = message.IndexOf(". ", StringComparison.Ordinal);
        return LogText.Clean(end < 0 ? message : message[..end]);
    }

    static void Decode(JsonNode? node)
    {
        switch (node)
        {
            case JsonObject map:
                foreach (var (_, value) in map) Decode(value);
                break;
            case JsonArray list:
                foreach (var item in list) Decode(item);
                break;
            case JsonValue value when value.GetValueKind() == JsonValueKind.String:
                _ = value.GetValue<string>();
                break;
        }
    }
}
