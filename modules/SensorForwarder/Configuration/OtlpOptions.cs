using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.Net;

namespace SensorForwarder.Configuration;

/// <summary>Where metrics are pushed by the OpenTelemetry protocol (OTLP), and how. Boot values; the headers are
/// secrets, and never logged.</summary>
/// <param name="Endpoint">With the path of the signal, where the protocol is HTTP.</param>
internal sealed record OtlpOptions(Uri Endpoint, OtlpExportProtocol Protocol)
{
    public required IReadOnlyDictionary<string, string> Headers { get; init; }

    public OtlpExportCompression Compression { get; init; }

    /// <summary>How long one push may take.</summary>
    public TimeSpan Timeout { get; init; }

    /// <summary>From one push to the next.</summary>
    public TimeSpan Interval { get; init; }

    public MetricReaderTemporalityPreference Temporality { get; init; }

    public TlsFiles Tls { get; init; } = new();

    /// <summary>What the receiver is told about the module beside what the module knows,
    /// and rather than that.</summary>
    public required IReadOnlyDictionary<string, string> ResourceAttributes { get; init; }

    public override string ToString() => $"{Endpoint} {Protocol}";
}
