using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Metrics;

/// <summary>
/// The SDK's exporter, which does not report failures, with logging: once when pushes begin to fail, and once when they
/// succeed again. Used only by the thread of the SDK's reader.
/// </summary>
internal sealed class WatchedOtlpExporter : OtlpMetricExporter
{
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    // Bounded, so that a changed DNS entry is noticed.
    static readonly TimeSpan ConnectionLife = TimeSpan.FromMinutes(10);

    readonly OtlpOptions _options;
    readonly ObservedHandler _handler;
    readonly ILogger _logger;
    bool _isFailing;

    public WatchedOtlpExporter(OtlpOptions options, Dialer dialer, TimeProvider timeProvider, ILogger logger)
        : this(options, new ObservedHandler(options, dialer, timeProvider), logger)
    {
    }

    WatchedOtlpExporter(OtlpOptions options, ObservedHandler handler, ILogger logger)
        : base(new OtlpExporterOptions
        {
            Endpoint = options.Endpoint,
            Protocol = options.Protocol,
            Compression = options.Compression,
            TimeoutMilliseconds = (int)options.Timeout.TotalMilliseconds,
            Headers = "", // the client sets them, since the SDK fails at a comma in a value
            HttpClientFactory = () => handler.CreateClient(),
        }) => (_options, _handler, _logger) = (options, handler, logger);

    /// <summary>The endpoint without parts that may be secret, and the proxy in front of it.</summary>
    public static string Show(Uri endpoint) =>
        LogText.Clean(UrlText.Show(endpoint)) + EnvironmentProxy.Current.Through(endpoint);

    public override ExportResult Export(in Batch<Metric> batch)
    {
        _handler.Failure = null;
        var result = base.Export(batch);
        var fails = result != ExportResult.Success;
        if (fails && !_isFailing)
            OperationsLog.OtlpFails(_logger, Show(_options.Endpoint), _handler.Failure
                ?? "the collector did not accept them", _options.Interval.TotalSeconds);
        else if (!fails && _isFailing)
            OperationsLog.OtlpWorksAgain(_logger, Show(_options.Endpoint));
        _isFailing = fails;
        return result;
    }

    /// <summary>Sends the exporter's requests, and records why the last one failed.</summary>
    sealed class ObservedHandler(OtlpOptions options, Dialer dialer, TimeProvider timeProvider) : HttpMessageHandler
    {
        HttpMessageInvoker? _connections;
        ClientTls? _tls; // of _connections
        volatile bool _isConnected;

        /// <summary>Why the last request failed; null: it succeeded, or the reason is not known.</summary>
        public string? Failure { get; set; }

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
                Failure = Explain(exception);
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
                Failure = Explain(exception);
                throw;
            }
        }

        protected override void Dispose(bool disposing)
        {
            _connections?.Dispose();
            base.Dispose(disposing);
        }

        /// <summary>Connections with the certificates and keys as they are on disk. Those with older ones are closed.
        /// </summary>
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
            if (!response.IsSuccessStatusCode) Failure = $"answered {(int)response.StatusCode}";
            else if (response.Headers.TryGetValues("grpc-message", out var texts)) Failure =
                $"answered '{LogText.Clean(options.Secrets.Redact(string.Join(' ', texts)))}'";
            return response;
        }

        // After a failure the next request makes a new connection.
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
