using System.Globalization;
using Microsoft.Extensions.Configuration;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Configuration;

/// <summary>
/// Reads the <c>OTEL_*</c> variables of the OpenTelemetry specification, with the defaults of its .NET SDK. What the
/// SDK would pass over in silence, or fail at later, is an error of the boot here. None of them is looked at before
/// there is an endpoint.
/// </summary>
internal static class OtlpBootReader
{
    // A push costs some milliseconds of CPU.
    const int MinIntervalMilliseconds = 100;

    /// <summary>Where metrics are pushed; null: nowhere.</summary>
    /// <exception cref="BootValueException">A value is malformed; the message names the variable.</exception>
    public static OtlpOptions? Read(IConfiguration configuration)
    {
        var endpoint = Exporter(configuration, "ENDPOINT");
        if (endpoint.Text is null || IsDisabled(configuration) || !IsChosen(configuration)) return null;
        var protocol = Choose(Exporter(configuration, "PROTOCOL"), "grpc", (
            "grpc", OtlpExportProtocol.Grpc), ("http/protobuf", OtlpExportProtocol.HttpProtobuf));
        return new(ReadEndpoint(endpoint, protocol), protocol)
        {
            Headers = ReadHeaders(Exporter(configuration, "HEADERS")),
            Compression = Choose(Exporter(configuration, "COMPRESSION"), "none", (
                "none", OtlpExportCompression.None), ("gzip", OtlpExportCompression.GZip)),
            Timeout = ReadMilliseconds(Exporter(configuration, "TIMEOUT"), 10_000, 1),
            Interval = ReadMilliseconds(
                Find(configuration, "OTEL_METRIC_EXPORT_INTERVAL"), 60_000, MinIntervalMilliseconds),
            Temporality = Choose(
                Find(configuration, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"),
                "cumulative",
                ("cumulative", MetricReaderTemporalityPreference.Cumulative),
                ("delta", MetricReaderTemporalityPreference.Delta),
                ("lowmemory", MetricReaderTemporalityPreference.LowMemory)),
            Tls = ClientTlsReader.Read(
                Exporter(configuration, "CERTIFICATE"), Exporter(
                    configuration, "CLIENT_CERTIFICATE"), Exporter(configuration, "CLIENT_KEY")),
            ResourceAttributes = ReadResource(configuration),
        };
    }

    static bool IsDisabled(IConfiguration configuration) =>
        Choose(Find(configuration, "OTEL_SDK_DISABLED"), "false", ("false", false), ("true", true));

    static bool IsChosen(IConfiguration configuration) =>
        Choose(Find(configuration, "OTEL_METRICS_EXPORTER"), "otlp", ("otlp", true), ("none", false));

    static Uri ReadEndpoint((string Variable, string? Text) value, OtlpExportProtocol protocol)
    {
        if (!SettingDefinition.TryReadEndpoint(value.Text!, out var endpoint))
        {
            throw new BootValueException(
                $"{value.Variable}: {UrlText.Rejected(value.Text!)} is not an absolute http or https URL "
                + "without user and password (OTEL_EXPORTER_OTLP_HEADERS is for those).");
        }

        // One for all signals is a base URL, one for metrics is meant as it stands; gRPC has paths of its own.
        const string SignalPath = "/v1/metrics";
        return protocol == OtlpExportProtocol.Grpc || value.Variable.Contains("METRICS", StringComparison.Ordinal)
            || endpoint.AbsolutePath.EndsWith(SignalPath, StringComparison.Ordinal)
            ? endpoint
            : new UriBuilder(endpoint) { Path = endpoint.AbsolutePath.TrimEnd('/') + SignalPath }.Uri;
    }

    static Dictionary<string, string> ReadHeaders((string Variable, string? Text) value)
    {
        using var probe = new HttpRequestMessage();
        var headers = ReadPairs(value, StringComparer.OrdinalIgnoreCase);
        foreach (var (index, (name, text)) in headers.Index())
        {
            if (!probe.Headers.TryAddWithoutValidation(name, "") || text.Any(c => c is not '\t' and (< ' ' or > '~')))
            {
                throw new BootValueException(
                    $"{value.Variable}: entry {index + 1} is no header that can be set, or its value "
                    + "has a character that a header can't have.");
            }
        }

        return headers;
    }

    static Dictionary<string, string> ReadResource(IConfiguration configuration)
    {
        var attributes = ReadPairs(Find(configuration, "OTEL_RESOURCE_ATTRIBUTES"), StringComparer.Ordinal);
        if (Find(configuration, "OTEL_SERVICE_NAME").Text is { } name) attributes["service.name"] = name;
        return attributes;
    }

    /// <summary><c>key=value,key=value</c>, values percent-encoded. Only keys are shown in errors: a value
    /// may be a secret.</summary>
    static Dictionary<string, string> ReadPairs((string Variable, string? Text) value, StringComparer comparer)
    {
        var pairs = new Dictionary<string, string>(comparer);
        foreach (var pair in (value.Text ?? "")
            .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = pair.IndexOf('=', StringComparison.Ordinal);
            if (equals < 1) throw new BootValueException(
                $"{value.Variable}: entry {pairs.Count + 1} is not key=value; entries are separated by commas, and a "
                + "comma in a value is %2C.");
            pairs[pair[..equals].Trim()] = Uri.UnescapeDataString(pair[(equals + 1)..].Trim());
        }

        return pairs;
    }

    static TimeSpan ReadMilliseconds((string Variable, string? Text) value, int standard, int min)
    {
        if (value.Text is not { } text) return TimeSpan.FromMilliseconds(standard);
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var milliseconds)
            && milliseconds >= min
            ? TimeSpan.FromMilliseconds(milliseconds)
            : throw new BootValueException(
                $"{value.Variable}: {LogText.Quote(text)} is not a number of milliseconds from {min} to "
                + $"{int.MaxValue}.");
    }

    static T Choose<T>((string Variable, string? Text) value, string standard,
        params ReadOnlySpan<(string Name, T Value)> choices)
    {
        foreach (var (name, choice) in choices)
        {
            if (name.Equals(value.Text ?? standard, StringComparison.OrdinalIgnoreCase)) return choice;
        }

        var names = new List<string>();
        foreach (var (name, _) in choices) names.Add(name);
        throw new BootValueException(
            $"{value.Variable}: {LogText.Quote(value.Text!)} is not one of {string.Join(", ", names)}.");
    }

    /// <summary>A variable of the exporter: that for metrics, else that for all signals.</summary>
    static (string Variable, string? Text) Exporter(IConfiguration configuration, string name) =>
        Find(configuration, $"OTEL_EXPORTER_OTLP_METRICS_{name}") is { Text: not null } own
            ? own
            : Find(configuration, $"OTEL_EXPORTER_OTLP_{name}");

    static (string Variable, string? Text) Find(IConfiguration configuration, string variable) =>
        (variable, configuration[variable] is { } value && !string.IsNullOrWhiteSpace(value) ? value.Trim() : null);
}
