using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Intake;

/// <summary>A message to an input of the module, with what the intake needs of its properties. Immutable.</summary>
internal sealed class IntakeMessage
{
    const string Kind = "input";
    const string SenderDevice = "$.cdid";
    const string SenderModule = "$.cmid";
    const string MessageId = "$.mid";
    const string UnknownType = "application/octet-stream";

    // The JSON is never embedded in HTML.
    static readonly JsonWriterOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly string _name;

    public IntakeMessage(InputMessage message)
    {
        (Input, Body) = (message.Input, message.Body);
        (Device, Module) = (message[SenderDevice], message[SenderModule]);
        Id = message[MessageId] is { Length: > 0 } id ? id : null;
        ContentType = message["$.ct"] is { Length: > 0 } type ? type : UnknownType;
        _name = IntakeLimits.IsName(message.Input) ? message.Input : Kind;
        Origin = WriteOrigin(message.Properties);
    }

    public string Input { get; }

    /// <summary>The device of the sender; null: unknown.</summary>
    public string? Device { get; }

    /// <summary>The module of the sender; null: the sender is a device, or unknown.</summary>
    public string? Module { get; }

    /// <summary>The message id from the sender; null: none.</summary>
    public string? Id { get; }

    public ReadOnlyMemory<byte> Body { get; }

    public string ContentType { get; }

    /// <summary>A JSON object with the sender, the input and the properties of the message.</summary>
    public ReadOnlyMemory<byte> Origin { get; }

    /// <summary>Whether the body begins like a JSON object or list.</summary>
    public bool LooksLikeJson
    {
        get
        {
            var start = Body.Span.IndexOfAnyExcept(" \t\r\n"u8);
            return start >= 0 && Body.Span[start] is (byte)'{' or (byte)'[';
        }
    }

    /// <summary>Whether the body is one JSON value.</summary>
    public bool IsJson
    {
        get
        {
            if (!System.Text.Unicode.Utf8.IsValid(Body.Span)) return false;
            try
            {
                var reader = new Utf8JsonReader(Body.Span);
                while (reader.Read())
                {
                }

                return true;
            }
            catch (JsonException)
            {
                return false;
            }
        }
    }

    public PayloadList NewPayloads() => new(Origin.Length + (Body.Length * 5 / 4));

    public JsonPayloads Into(PayloadList payloads, DateTimeOffset arrivedAt) =>
        new(payloads, Kind, _name, arrivedAt, Origin);

    ReadOnlyMemory<byte> WriteOrigin(IReadOnlyList<KeyValuePair<string, string?>> properties)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using var json = new Utf8JsonWriter(bytes, Relaxed);
        json.WriteStartObject();
        json.WriteString("input", Input);
        if (Device is not null) json.WriteString("device", Device);
        if (Module is not null) json.WriteString("module", Module);
        if (Id is not null) json.WriteString("messageId", Id);

        // If two properties have the same name, the last one is used.
        var others = new OrderedDictionary<string, string?>();
        foreach (var (name, value) in properties)
        {
            if (name is not (SenderDevice or SenderModule or MessageId)) others[name] = value;
        }

        if (others.Count > 0)
        {
            json.WriteStartObject("properties");
            foreach (var (name, value) in others) json.WriteString(name, value);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.Flush();
        return bytes.WrittenMemory;
    }
}
