using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Configuration;

/// <summary>The boot values of the metrics push by the OpenTelemetry protocol (OTLP). The headers are secrets and never
/// logged.</summary>
/// <param name="Endpoint">The collector; with the path of the signal if the protocol is HTTP.</param>
internal sealed record OtlpOptions(Uri Endpoint, OtlpExportProtocol Protocol)
{
    public required IReadOnlyDictionary<string, string> Headers { get; init; }

    /// <summary>Values that must not be logged.</summary>
    public Secrets Secrets => new(Headers.Values);

    public OtlpExportCompression Compression { get; init; }

    /// <summary>Timeout of one push.</summary>
    public TimeSpan Timeout { get; init; }

    /// <summary>Time between pushes.</summary>
    public TimeSpan Interval { get; init; }

    public MetricReaderTemporalityPreference Temporality { get; init; }

    public TlsFiles Tls { get; init; } = new();

    /// <summary>Resource attributes from the environment; they override the module's.</summary>
    public required IReadOnlyDictionary<string, string> ResourceAttributes { get; init; }

    public override string ToString() => $"{Endpoint} {Protocol}";
}
