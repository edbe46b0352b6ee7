using System.Text.Json;

namespace EdgeSimulator.Accounting;

/// <summary>What the ledger needs of a reading. A gap reading reports ids that the module evicted.</summary>
internal readonly record struct BatchItem(long Id, DateTimeOffset? Sensed, (long First, long Last)? Gap);

/// <summary>The body of a message: <c>{"device","module","epoch","batch":[{"id","data"}]}</c>.</summary>
internal sealed record BatchBody(string Device, string Module, string Epoch, IReadOnlyList<BatchItem> Items)
{
    public static bool TryParse(ReadOnlyMemory<byte> utf8, out BatchBody body, out string problem)
    {
        body = new BatchBody("", "", "", []);
        try
        {
            using var document = JsonDocument.Parse(utf8);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("batch", out var batch) ||
                batch.ValueKind != JsonValueKind.Array)
            {
                problem = "no 'batch' array in the body";
                return false;
            }

            var items = new List<BatchItem>(batch.GetArrayLength());
            foreach (var element in batch.EnumerateArray())
            {
                if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty("id", out var id) ||
                    id.ValueKind != JsonValueKind.Number || !id.TryGetInt64(out var number) || number < 1)
                {
                    problem = $"element {items.Count} of 'batch' has no id of 1 or more";
                    return false;
                }

                items.Add(Item(number, element));
            }

            body = new BatchBody(Text(root, "device"), Text(root, "module"), Text(root, "epoch"), items);
            problem = "";
            return true;
        }
        catch (JsonException exception)
        {
            problem = $"not JSON: {exception.Message}";
            return false;
        }
    }

    static BatchItem Item(long id, JsonElement element)
    {
        if (!element.TryGetProperty("data", out var data) || data.ValueKind != JsonValueKind.Object)
        {
            return new BatchItem(id, null, null);
        }

        DateTimeOffset? sensed = data.TryGetProperty("time", out var time) && time.ValueKind == JsonValueKind.String &&
            time.TryGetDateTimeOffset(out var moment) ? moment : null;
        return new BatchItem(id, sensed, Text(data, "kind") == "gap" ? Gap(data) : null);
    }

    static (long First, long Last)? Gap(JsonElement data) =>
        data.TryGetProperty("gap", out var gap) && gap.ValueKind == JsonValueKind.Object &&
        Number(gap, "firstId") is { } first && Number(gap, "lastId") is { } last && first >= 1 && first <= last
            ? (first, last)
            : null;

    static long? Number(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number)
            ? (long)number
            : null;

    static string Text(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
}
