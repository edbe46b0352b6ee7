using System.Text.Json.Serialization;

namespace SensorForwarder.Operations.Status;

/// <summary>Serializes the documents derived from a <see cref="ModuleStatus"/>; nulls are omitted.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Serialization,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(StatusDocument))]
[JsonSerializable(typeof(PageDocument))]
[JsonSerializable(typeof(HealthDocument))]
internal sealed partial class StatusJson : JsonSerializerContext;
