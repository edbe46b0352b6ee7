using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Net;

namespace SensorForwarder.Operations;

/// <summary>
/// The SDK's exporter, which keeps to itself what does not work. This one says so, once when it begins and once when it
/// is over. Used by one thread: that of the SDK's reader.
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

    public WatchedOtlpExporter(OtlpOptions options, Dialer dialer, TimeProvider timeProvider, ILogger logger)
        : this(options, new Line(options, dialer, timeProvider), logger)
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

    /// <summary>The endpoint without what may be a secret in it, and the proxy on the way.</summary>
    public static string Show(Uri endpoint) =>
        LogText.Clean(UrlText.Show(endpoint)) + EnvironmentProxy.Current.Through(endpoint);

    public override ExportResult Export(in Batch<Metric> batch)
    {
        _line.Objection = null;
        var result = base.Export(batch);
        var fails = result != ExportResult.Success;
        if (fails && !_isFailing)
            Log.OtlpFails(_logger, Show(_options.Endpoint), _line.Objection
                ?? "they were not taken", _options.Interval.TotalSeconds);
        else if (!fails && _isFailing)
            Log.OtlpWorksAgain(_logger, Show(_options.Endpoint));
        _isFailing = fails;
        return result;
    }

    /// <summary>What requests go through, and where it is seen why one fails.</summary>
    sealed class Line(OtlpOptions options, Dialer dialer, TimeProvider timeProvider) : HttpMessageHandler
    {
        HttpMessageInvoker? _connections;
        ClientTls? _tls; // what they were made with
        volatile bool _isConnected;

        /// <summary>Why the last request failed; null: it did not, or nobody knows.</summary>
        public string? Objection { get; set; }

        public HttpClient CreateClient()
        {
            var client = new HttpClient(this) { Timeout = options.Timeout };
            foreach (var (name, value) in options.Headers)
                client.DefaultRequestHeaders.TryAddWithoutValidation(name, value);
            return client;
        }

        protected override HttpResponseMessage Send(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            try
            {
                return Judge(Connections().Send(request, cancellationToken));
            }
            catch (Exception exception)
            {
                Objection = Explain(exception);
                throw;
            }
        }

        protected override async Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellationToken)
        {
            try
            {
                return Judge(await Connections().SendAsync(request, cancellationToken));
            }
            catch (Exception exception)
            {
                Objection = Explain(exception);
                throw;
            }
        }

        protected override void Dispose(bool disposing)
        {
            _connections?.Dispose();
            base.Dispose(disposing);
        }

        /// <summary>With the certificates and keys as they are on disk; connections with others are closed.</summary>
        HttpMessageInvoker Connections()
        {
            if (!options.Tls.TryRead(out var tls, out var fault))
            {
                if (options.Endpoint.Scheme == Uri.UriSchemeHttps) throw new HttpRequestException(fault);
                tls = _tls ?? new();
            }

            if (_connections is not null && tls == _tls) return _connections;
            _connections?.Dispose();
            _tls = tls;
            var handler = dialer.NewHandler(ConnectTimeout, () => _isConnected = true);
            handler.PooledConnectionLifetime = ConnectionLife;
            handler.SslOptions = tls.ToOptions();
            return _connections = new(handler);
        }

        HttpResponseMessage Judge(HttpResponseMessage response)
        {
            if (!response.IsSuccessStatusCode) Objection = $"answered {(int)response.StatusCode}";
            else if (response.Headers.TryGetValues("grpc-message", out var texts)) Objection =
                $"answered '{WithoutSecrets(string.Join(' ', texts))}'";
            return response;
        }

        string WithoutSecrets(string text)
        {
            foreach (var secret in options.Headers.Values.Where(value => value.Length > 0))
                text = text.Replace(secret, "..", StringComparison.Ordinal);
            return LogText.Clean(text);
        }

        // After a failure the next connection is a new one.
        string Explain(Exception exception)
        {
            var what = _isConnected ? "answer" : "connection";
            _isConnected = false;
            return exception is OperationCanceledException
                ? $"no {what} within {options.Timeout.TotalSeconds:0.###} s"
                : HttpSink.Explain(exception, timeProvider);
        }
    }
}
