using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.Options;

namespace SensorForwarder.Configuration;

/// <summary>
/// Reads the <c>OTEL_*</c> variables of the OpenTelemetry specification, with the defaults of its .NET SDK. A value
/// that the SDK would silently ignore, or fail at later, is refused here. Without an endpoint the others are not read.
/// </summary>
internal static class OtlpBootReader
{
    // Prefixes of the exporter's variables: for all signals, and for metrics only.
    const string AllSignals = "OTEL_EXPORTER_OTLP_", Metrics = "OTEL_EXPORTER_OTLP_METRICS_";

    // A push costs some milliseconds of CPU.
    const int MinIntervalMilliseconds = 100;

    const string PairsForm = "name=value,name=value with percent-encoded values, such as %2C for a comma";

    static readonly TimeSpan Millisecond = TimeSpan.FromMilliseconds(1);

    static readonly Option<Uri?> Endpoint = Option.Url(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "The collector, such as `http://collector:4317`; user, password and keys belong "
            + "in `OTEL_EXPORTER_OTLP_HEADERS`.");
    static readonly Option<OtlpExportProtocol> Protocol = Option.Choice(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        [("grpc", OtlpExportProtocol.Grpc), ("http/protobuf", OtlpExportProtocol.HttpProtobuf)],
        OtlpExportProtocol.Grpc,
        "`grpc`, or `http/protobuf` (usually on port 4318; `/v1/metrics` is appended to the endpoint).");
    static readonly Option<IReadOnlyList<Pair>> Headers = Option.List(
        "OTEL_EXPORTER_OTLP_HEADERS", $"headers, {PairsForm}", ",", ReadHeader,
        "`name=value,name=value`, values percent-encoded; for API keys and the like.");
    static readonly Option<OtlpExportCompression> Compression = Option.Choice(
        "OTEL_EXPORTER_OTLP_COMPRESSION", [("none", OtlpExportCompression.None), ("gzip", OtlpExportCompression.GZip)],
        OtlpExportCompression.None, "`none`, `gzip`.");
    static readonly Option<TimeSpan> Timeout = Option.Time(
        "OTEL_EXPORTER_OTLP_TIMEOUT", 1, int.MaxValue, Millisecond, TimeSpan.FromSeconds(10),
        "Timeout of a push, in milliseconds.");
    static readonly Option<string?> CaFile = Option.Path(
        "OTEL_EXPORTER_OTLP_CERTIFICATE", "The only root certificates (PEM) that are trusted for the collector.")
        .From("the system's roots");
    static readonly Option<string?> ClientCertificate = Option.Path(
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "Client certificate (PEM), presented to the collector.");
    static readonly Option<string?> ClientKey = Option.Path(
        "OTEL_EXPORTER_OTLP_CLIENT_KEY", "Key (PEM) of the client certificate, if it is in another file.");
    static readonly Option<MetricReaderTemporalityPreference> Temporality = Option.Choice(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        [
            ("cumulative", MetricReaderTemporalityPreference.Cumulative),
            ("delta", MetricReaderTemporalityPreference.Delta),
            ("lowmemory", MetricReaderTemporalityPreference.LowMemory),
        ],
        MetricReaderTemporalityPreference.Cumulative, "`cumulative`, `delta`, `lowmemory`.");
    static readonly Option<TimeSpan> Interval = Option.Time(
        "OTEL_METRIC_EXPORT_INTERVAL", MinIntervalMilliseconds, int.MaxValue, Millisecond, TimeSpan.FromSeconds(60),
        "Milliseconds between pushes, at least 100.");
    static readonly Option<string> ServiceName = BootTable.AnyText(
        "OTEL_SERVICE_NAME", "", "`service.name` of the resource.").From("`SensorForwarder`");
    static readonly Option<IReadOnlyList<Pair>> Attributes = Option.List(
        "OTEL_RESOURCE_ATTRIBUTES", $"attributes, {PairsForm}", ",", ReadPair,
        "`name=value,name=value`, values percent-encoded: further resource attributes; they override the module's.");
    static readonly Option<string> Exporter = Option.Choice(
        "OTEL_METRICS_EXPORTER", ["otlp", "none"], "otlp", "`none` turns the push off.");
    static readonly Option<bool> IsDisabled = Option.Flag("OTEL_SDK_DISABLED", false, "`true` turns the push off.");

    /// <summary>All of them, in the order of the documentation.</summary>
    public static IReadOnlyList<Option> All { get; } =
    [
        Endpoint, Protocol, Headers, Compression, Timeout, CaFile, ClientCertificate, ClientKey, Temporality, Interval,
        ServiceName, Attributes, Exporter, IsDisabled,
    ];

    /// <summary>The options of the push; null: metrics are not pushed.</summary>
    /// <exception cref="BootValueException">A value is malformed; the message names the variable.</exception>
    public static OtlpOptions? Read(BootValues values)
    {
        var endpoint = Own(Endpoint);
        if (values.Find(endpoint.Name) is null || values.Get(IsDisabled) || values.Get(Exporter) == "none") return null;
        var protocol = values.Get(Own(Protocol));
        var attributes = new Dictionary<string, string>();
        foreach (var (name, value) in values.Get(Attributes)) attributes[name] = value;
        if (values.Get(ServiceName) is { Length: > 0 } service) attributes["service.name"] = service;
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var (name, value) in values.Get(Own(Headers))) headers[name] = value;
        return new(WithPath(values.Get(endpoint)!, protocol, endpoint == Endpoint), protocol)
        {
            Headers = headers,
            Compression = values.Get(Own(Compression)),
            Timeout = values.Get(Own(Timeout)),
            Interval = values.Get(Interval),
            Temporality = values.Get(Temporality),
            Tls = HttpBootReader.ReadTls(values, Own(CaFile), Own(ClientCertificate), Own(ClientKey)),
            ResourceAttributes = attributes,
        };

        // A variable for metrics overrides the one for all signals.
        Option<T> Own<T>(Option<T> option)
        {
            var own = option.Name.Replace(AllSignals, Metrics, StringComparison.Ordinal);
            return values.Find(own) is null ? option : option with { Name = own };
        }
    }

    /// <summary>An endpoint for all signals is a base URL; one for metrics is used as it is. gRPC has its own paths.
    /// </summary>
    static Uri WithPath(Uri endpoint, OtlpExportProtocol protocol, bool isBase)
    {
        const string SignalPath = "/v1/metrics";
        return protocol == OtlpExportProtocol.Grpc || !isBase
            || endpoint.AbsolutePath.EndsWith(SignalPath, StringComparison.Ordinal)
            ? endpoint
            : new UriBuilder(endpoint) { Path = endpoint.AbsolutePath.TrimEnd('/') + SignalPath }.Uri;
    }

    static Pair? ReadHeader(string text)
    {
        using var probe = new HttpRequestMessage();
        return ReadPair(text) is { } header && probe.Headers.TryAddWithoutValidation(header.Name, "")
            && BootTable.IsHeaderValue(header.Value) ? header : null;
    }

    static Pair? ReadPair(string text)
    {
        var equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals < 1 ? null : new(text[..equals].Trim(), Uri.UnescapeDataString(text[(equals + 1)..].Trim()));
    }

    sealed record Pair(string Name, string Value);
}
