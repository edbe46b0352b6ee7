using System.Text;
using System.Text.Json.Nodes;

namespace SensorForwarder.Configuration;

/// <summary>
/// The reported properties that acknowledge settings, by the Plug and Play convention: <c>{value, ac, av, ad}</c>, with
/// 200 for taken, 203 and version 0 for a default, 400 for refused with the reason and the value that stays in force
/// (https://learn.microsoft.com/azure/iot/concepts-convention).
/// </summary>
internal static class TwinReport
{
    public const string UnknownKey = "unknownSettings";

    // The hub takes strings of 4096 bytes and documents of 32 KB.
    const int MaxTextLength = 1000;
    const int MaxValueBytes = 8 << 10;

    /// <summary>The patch that brings the reported properties up to date.</summary>
    /// <param name="parsed">What is in force.</param>
    /// <param name="version">The version of the desired properties that it comes from.</param>
    /// <param name="reported">What is reported already; equal entries are left out.</param>
    public static JsonObject Patch(ParsedSettings parsed, long version, JsonObject reported)
    {
        var patch = new JsonObject();
        foreach (var verdict in parsed.Verdicts)
        {
            var entry = Acknowledge(verdict, version);
            if (!JsonNode.DeepEquals(entry, reported[verdict.Key])) patch[verdict.Key] = entry;
        }

        var unknown = parsed.UnknownKeys.Count == 0 ? null : Shorten(string.Join("; ", parsed.UnknownKeys));
        if (unknown != (string?)reported[UnknownKey]) patch[UnknownKey] = unknown;
        return patch;
    }

    static JsonObject Acknowledge(SettingVerdict verdict, long version)
    {
        var entry = new JsonObject();
        if (verdict.Value is { } value && Encoding.UTF8.GetByteCount(value.ToJsonString()) <= MaxValueBytes)
            entry["value"] = value.DeepClone();
        entry["ac"] = verdict.Error is not null ? 400 : verdict.IsDefault ? 203 : 200;
        entry["av"] = verdict is { Error: null, IsDefault: true } ? 0 : version;
        if (verdict.Error is { } error) entry["ad"] = Shorten(error);
        return entry;
    }

    static string Shorten(string text) => text.Length <= MaxTextLength ? text : text[..MaxTextLength] + "...";
}
