using System.Text.Json;

namespace PostgresReadings;

/// <summary>A reading of a batch; <paramref name="Data"/> is its JSON. Gap entries and alarms are also readings.</summary>
public sealed record Reading(long Id, DateTimeOffset? Time, string Data);

/// <summary>A batch of SensorForwarder, as docs/schemas/batch.schema.json describes it.</summary>
public sealed record Batch(string Device, string Module, string Epoch, IReadOnlyList<Reading> Readings)
{
    /// <exception cref="FormatException">The text is not a batch.</exception>
    public static Batch Parse(ReadOnlyMemory<byte> json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = document.RootElement;
            return new(
                Text(root, "device"), Text(root, "module"), Text(root, "epoch"),
                [.. root.GetProperty("batch").EnumerateArray().Select(item =>
                    new Reading(item.GetProperty("id").GetInt64(), TimeOf(item.GetProperty("data")), item.GetProperty("data").GetRawText()))]);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            throw new FormatException($"this is not a batch of SensorForwarder: {exception.Message}", exception);
        }
    }

    static string Text(JsonElement batch, string name) =>
        batch.GetProperty(name).GetString() ?? throw new FormatException($"'{name}' is null");

    static DateTimeOffset? TimeOf(JsonElement data) =>
        data.ValueKind == JsonValueKind.Object && data.TryGetProperty("time", out var time) && time.ValueKind == JsonValueKind.String
            && time.TryGetDateTimeOffset(out var value) ? value : null;
}
