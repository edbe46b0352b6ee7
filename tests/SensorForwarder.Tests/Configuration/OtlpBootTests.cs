using Microsoft.Extensions.Configuration;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Options;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The <c>OTEL_*</c> variables, as https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
/// .../protocol/exporter/ define them.</summary>
public sealed class OtlpBootTests
{
    const string Endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";

    static OtlpOptions? Read(params (string Name, string Value)[] environment) => BootOptions.Read(
        new ConfigurationBuilder().AddInMemoryCollection(environment.Select(pair => KeyValuePair.Create(pair.Name, (string?)pair.Value))).Build()).Otlp;

    [Fact]
    public void With_only_an_endpoint_the_other_values_are_the_defaults_of_the_SDK()
    {
        var options = Read((Endpoint, "http://collector:4317"))!;
        Assert.Equal(new OtlpExporterOptions().Protocol, options.Protocol);
        Assert.Equal(new("http://collector:4317"), options.Endpoint);
        Assert.Equal(TimeSpan.FromMilliseconds(new OtlpExporterOptions().TimeoutMilliseconds), options.Timeout);
        Assert.Equal(TimeSpan.FromSeconds(60), options.Interval);
        Assert.Equal(MetricReaderTemporalityPreference.Cumulative, options.Temporality);
        Assert.Empty(options.Headers);
        Assert.Empty(options.ResourceAttributes);
    }

    [Theory]
    [InlineData(Endpoint, "http://a:4318", "http://a:4318/v1/metrics")]
    [InlineData(Endpoint, "https://a/otlp/", "https://a/otlp/v1/metrics")]
    [InlineData(Endpoint, "https://a/otlp?key=1", "https://a/otlp/v1/metrics?key=1")]
    [InlineData(Endpoint, "https://a/v1/metrics", "https://a/v1/metrics")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://a/", "https://a/")]
    public void Over_HTTP_the_metrics_path_is_appended_to_an_endpoint_for_all_signals(string variable, string text, string endpoint) =>
        Assert.Equal(new(endpoint), Read((variable, text), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"))!.Endpoint);

    [Fact]
    public void A_variable_for_metrics_takes_precedence_over_the_one_for_all_signals()
    {
        var options = Read(
            (Endpoint, "http://all"), ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"), ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"), ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "A=x%20y,b=p%3Dq=="),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"), ("OTEL_METRIC_EXPORT_INTERVAL", "15000"))!;
        Assert.Equal(new("http://metrics"), options.Endpoint);
        Assert.Equal(OtlpExportProtocol.HttpProtobuf, options.Protocol);
        Assert.Equal((TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(15)), (options.Timeout, options.Interval));
        Assert.Equal([("A", "x y"), ("b", "p=q==")], options.Headers.Select(header => (header.Key, header.Value)));
        Assert.Equal(MetricReaderTemporalityPreference.Delta, options.Temporality);
        Assert.DoesNotContain("x y", options.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void OTLP_export_is_off_by_default_and_its_variables_are_not_checked_while_it_is_off()
    {
        Assert.Null(Read());
        Assert.Null(Read(("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon"), ("OTEL_METRIC_EXPORT_INTERVAL", "soon")));
        Assert.Null(Read((Endpoint, " ")));
        Assert.Null(Read((Endpoint, "somewhere"), ("OTEL_SDK_DISABLED", "TRUE")));
        Assert.Null(Read((Endpoint, "somewhere"), ("OTEL_METRICS_EXPORTER", "none")));
        Assert.NotNull(Read((Endpoint, "http://a"), ("OTEL_SDK_DISABLED", "false"), ("OTEL_METRICS_EXPORTER", "otlp")));
    }

    static string Refusal(string name, string value) => Assert.Throws<BootValueException>(
        () => name == Endpoint ? Read((name, value)) : Read((Endpoint, "http://a"), (name, value))).Message;

    [Theory]
    [InlineData(Endpoint, "somewhere", "a text of 9 characters")]
    [InlineData(Endpoint, "grpc://collector:4317", "grpc://collector")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector:4317", "a text of 14 characters")]
    [InlineData("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "a text of 9 characters")]
    public void A_malformed_endpoint_or_protocol_is_refused_without_showing_its_full_text(string name, string value, string shown) =>
        Assert.StartsWith($"{name}: {shown} is not ", Refusal(name, value), StringComparison.Ordinal);

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "udp")]
    [InlineData("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT", "0")]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")]
    [InlineData("OTEL_METRIC_EXPORT_INTERVAL", "99")]
    [InlineData("OTEL_METRIC_EXPORT_INTERVAL", "-1")]
    [InlineData("OTEL_METRIC_EXPORT_INTERVAL", "4294967296")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes")]
    [InlineData("OTEL_METRICS_EXPORTER", "prometheus")]
    [InlineData("OTEL_SDK_DISABLED", "yes")]
    [InlineData("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/none.key")]
    public void A_malformed_OTLP_variable_is_refused_with_its_name_and_value(string name, string value)
    {
        var message = Refusal(name, value);
        Assert.StartsWith($"{name}: '{value}'", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "Timeout of a push, in milliseconds")]
    [InlineData(Endpoint, "http://u:p@a", "belong in 'OTEL_EXPORTER_OTLP_HEADERS'")]
    public void The_refusal_of_a_malformed_OTLP_variable_explains_its_purpose(string name, string value, string hint) =>
        Assert.Contains(hint, Refusal(name, value), StringComparison.Ordinal);

    [Theory]
    [InlineData("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")]
    [InlineData("OTEL_EXPORTER_OTLP_HEADERS", "a=b,=hunter2")]
    [InlineData("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2")]
    [InlineData("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0Ab")]
    [InlineData("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "content-type=hunter2")]
    [InlineData("OTEL_RESOURCE_ATTRIBUTES", "site;hunter2")]
    [InlineData(Endpoint, "http://user:hunter2@collector")]
    public void A_malformed_OTLP_variable_that_may_hold_a_secret_is_named_without_its_value(string name, string value)
    {
        var message = Refusal(name, value);
        Assert.StartsWith($"{name}: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_choice_and_the_limits_of_every_range_are_accepted()
    {
        const string Temporality = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        OtlpOptions With(string name, string value) => Read((Endpoint, "http://a"), (name, value))!;
        Assert.Equal(OtlpExportCompression.GZip, With("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip").Compression);
        Assert.Equal(OtlpExportCompression.None, With("OTEL_EXPORTER_OTLP_COMPRESSION", "none").Compression);
        Assert.Equal(MetricReaderTemporalityPreference.LowMemory, With(Temporality, "lowmemory").Temporality);
        Assert.Equal(MetricReaderTemporalityPreference.Cumulative, With(Temporality, "cumulative").Temporality);
        Assert.Equal(OtlpExportProtocol.Grpc, With("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").Protocol);
        Assert.Equal(TimeSpan.FromMilliseconds(1), With("OTEL_EXPORTER_OTLP_TIMEOUT", "1").Timeout);
        Assert.Equal(TimeSpan.FromMilliseconds(100), With("OTEL_METRIC_EXPORT_INTERVAL", "100").Interval);
        Assert.Equal("a\tb ~", With("OTEL_EXPORTER_OTLP_HEADERS", "x=a%09b%20~").Headers["x"]);
        Assert.Equal(new("http://a/x"), Read((Endpoint, "http://a/x"))!.Endpoint); // gRPC defines its own paths
    }

    [Fact]
    public void The_resource_has_the_configured_attributes_and_service_name()
    {
        var options = Read(
            (Endpoint, "http://a"), ("OTEL_RESOURCE_ATTRIBUTES", " site = north%2C2 ,service.name=x,,a=b=c"),
            ("OTEL_SERVICE_NAME", "roof"))!;
        Assert.Equal(
            ["a=b=c", "service.name=roof", "site=north,2"],
            options.ResourceAttributes.Select(pair => $"{pair.Key}={pair.Value}").Order(StringComparer.Ordinal));
    }
}
