using System.Text.Json.Serialization;

namespace SensorForwarder.Operations.Web;

internal sealed record EventsDocument(IEnumerable<EventDocument> Events);

internal sealed record EventDocument(DateTime Time, string Level, string Text);

internal sealed record HourDocument(IEnumerable<SeriesDocument> Series);

/// <summary>A value of a sensor; null where nothing was read.</summary>
internal sealed record SeriesDocument(string Sensor, string Value, IEnumerable<float?> Points);

internal sealed record SettingsDocument(
    long Version, IEnumerable<SettingDocument> Settings, IEnumerable<string> Unknown);

internal sealed record SettingDocument(string Key, string Value, bool IsDefault, string? Error);

/// <summary>Serializes the documents that the page requests occasionally; nulls are omitted.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Serialization,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(EventsDocument))]
[JsonSerializable(typeof(HistoryDocument))]
[JsonSerializable(typeof(HourDocument))]
[JsonSerializable(typeof(SettingsDocument))]
internal sealed partial class PageJson : JsonSerializerContext;
