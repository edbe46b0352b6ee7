using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Operations;

/// <summary>
/// The SDK's exporter, which keeps to itself what does not work. This one says so, once when it begins and once when it is over. Used by one
/// thread: that of the SDK's reader.
/// </summary>
internal sealed class WatchedOtlpExporter : OtlpMetricExporter
{
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    // So that a changed DNS entry is noticed.
    static readonly TimeSpan ConnectionLife = TimeSpan.FromMinutes(10);

    readonly OtlpOptions _options;
    readonly Line _line;
    readonly ILogger _logger;
    bool _isFailing;

    public WatchedOtlpExporter(OtlpOptions options, ILogger logger)
        : this(options, new Line(options), logger)
    {
    }

    WatchedOtlpExporter(OtlpOptions options, Line line, ILogger logger)
        : base(new OtlpExporterOptions
        {
            Endpoint = options.Endpoint,
            Protocol = options.Protocol,
            Compression = options.Compression,
            TimeoutMilliseconds = (int)options.Timeout.TotalMilliseconds,
            Headers = "", // the client has them: the SDK fails at a comma in one
            HttpClientFactory = () => line.CreateClient(),
        }) => (_options, _line, _logger) = (options, line, logger);

    /// <summary>The endpoint without what may be a secret in it.</summary>
    public static string Show(Uri endpoint) => LogText.Clean(LogText.WithoutSecrets(endpoint.AbsoluteUri));

    public override ExportResult Export(in Batch<Metric> batch)
    {
        _line.Objection = null;
        var result = base.Export(batch);
        var fails = result != ExportResult.Success;
        if (fails && !_isFailing)
            Log.OtlpFails(_logger, Show(_options.Endpoint), _line.Objection ?? "they were not taken", _options.Interval.TotalSeconds);
        else if (!fails && _isFailing)
            Log.OtlpWorksAgain(_logger, Show(_options.Endpoint));
        _isFailing = fails;
        return result;
    }

    /// <summary>What requests go through, and where it is seen why one fails.</summary>
    sealed class Line(OtlpOptions options) : DelegatingHandler(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        ConnectTimeout = ConnectTimeout,
        PooledConnectionLifetime = ConnectionLife,
        SslOptions = options.Tls.ToOptions(),
        UseCookies = false,
    })
    {
        /// <summary>Why the last request failed; null: it did not, or nobody knows.</summary>
        public string? Objection { get; set; }

        public HttpClient CreateClient()
        {
            var client = new HttpClient(this) { Timeout = options.Timeout };
            foreach (var (name, value) in options.Headers) client.DefaultRequestHeaders.TryAddWithoutValidation(name, value);
            return client;
        }

        protected override HttpResponseMessage Send(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            try
            {
                return Judge(base.Send(request, cancellationToken));
            }
            catch (Exception exception)
            {
                Objection = Explain(exception);
                throw;
            }
        }

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            try
            {
                return Judge(await base.SendAsync(request, cancellationToken));
            }
            catch (Exception exception)
            {
                Objection = Explain(exception);
                throw;
            }
        }

        HttpResponseMessage Judge(HttpResponseMessage response)
        {
            if (!response.IsSuccessStatusCode) Objection = $"answered {(int)response.StatusCode}";
            else if (response.Headers.TryGetValues("grpc-message", out var texts)) Objection = $"answered '{LogText.Clean(string.Join(' ', texts))}'";
            return response;
        }

        string Explain(Exception exception) => exception is OperationCanceledException
            ? $"no answer within {options.Timeout.TotalSeconds:0.###} s"
            : HttpSink.Explain(exception);
    }
}
