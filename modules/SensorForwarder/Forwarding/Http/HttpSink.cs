using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Forwarding.Http;

/// <summary>Posts batches to an HTTP endpoint, one request at a time over one pooled connection (HTTP/1.1 or HTTP/2),
/// to keep their order. Uses the proxy of the environment (<c>https_proxy</c>, <c>no_proxy</c>..). Called by the
/// forwarder's loop only.</summary>
internal sealed class HttpSink(HttpSinkOptions options, TimeProvider timeProvider, Dialer? dialer = null)
    : ISink, IDisposable
{
    public const int LargestBodyBytes = 16 << 20;
    public const int MinTimeoutSeconds = 1;
    public const int MaxTimeoutSeconds = 600;

    const int MaxRedirects = 3;
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    // For the TLS handshake, including the tunnel of a proxy before it.
    static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(5);

    // For one piece of the body: 16 KiB take 4 s on a 32 kbit/s line.
    static readonly TimeSpan SendTimeout = TimeSpan.FromSeconds(15);

    // The answer timeout is longer by the time that the body takes at 32 kbit/s: it may still be in send buffers.
    const double SlowestBytesPerSecond = 4_000;

    // While certificate or key files are missing.
    static readonly TimeSpan FilesCheckInterval = TimeSpan.FromSeconds(1);

    // A connection is replaced after this time, to follow changes in DNS.
    static readonly TimeSpan ConnectionLife = TimeSpan.FromMinutes(10);

    readonly Dialer _dialer = dialer ?? new(timeProvider);
    ClientTls _tls = new(); // the files that _trusted and _others were created with

    // A connection either presents the client certificate or not. Origins in SecretsFor use _trusted.
    HttpClient? _trusted;
    HttpClient? _others;

    // Completed while TLS files are missing.
    volatile TaskCompletionSource _filesMissing = NewSignal();

    // Called when the current request has opened a TCP connection.
    Action? _connected;

    // Bodies from this size on are sent with Expect: 100-continue. Without it, a receiver that answers 413 may reset
    // the connection while the body is sent, and the answer is lost.
    int _announceFrom = int.MaxValue;

    public bool IsReady(ForwardingSettings settings) =>
        settings.HttpEndpoint is { } endpoint
        && (!_filesMissing.Task.IsCompleted || endpoint.Scheme != Uri.UriSchemeHttps);

    // New settings wake the forwarder, so a missing endpoint needs no wait here. New files do not: they are polled.
    public async Task WaitUntilReadyAsync(CancellationToken cancellationToken)
    {
        await _filesMissing.Task.WaitAsync(cancellationToken);
        while (!options.Tls.TryRead(out _, out _))
            await Task.Delay(FilesCheckInterval, timeProvider, cancellationToken);
        _filesMissing = NewSignal();
    }

    public bool IsMetered => false;

    public int MaxInFlight(ForwardingSettings settings) => 1;

    public int MaxBytes(ForwardingSettings settings) => Math.Min(settings.BatchMaxBytes, LargestBodyBytes);

    public string Describe(ForwardingSettings settings) =>
        settings.HttpEndpoint is { } endpoint
            ? UrlText.Place(endpoint) + EnvironmentProxy.Current.Through(endpoint)
            : "nowhere (set httpEndpoint)";

    public async Task<SendResult> SendAsync(
        Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        var body = batch.BodyFor(settings);
        var target = settings.HttpEndpoint!;
        for (var redirects = 0; ; redirects++)
        {
            using var patience = new CancellationTokenSource(Timeout.InfiniteTimeSpan, timeProvider);
            using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, patience.Token);
            var answerTimeout = AnswerTimeout(batch, settings)
                + TimeSpan.FromSeconds(body.Length / SlowestBytesPerSecond);
            var phase = "no connection";
            var (isBegun, isHalfSent, isSent) = (false, false, false);
            var getsSecrets = options.GetsSecrets(target);
            using var request = Request(target, getsSecrets, batch, new BatchContent(body, settings.IsGzip,
                () =>
                {
                    isBegun = isHalfSent = true;
                    Allow(SendTimeout, "the receiver read no data");
                },
                () =>
                {
                    (isHalfSent, isSent) = (false, true);
                    Allow(answerTimeout, "no answer");
                }));
            if (body.Length >= _announceFrom) request.Headers.ExpectContinue = true;
            if (!TakeTlsFiles(out var fault) && target.Scheme == Uri.UriSchemeHttps)
            {
                _filesMissing.TrySetResult();
                return new(SendOutcome.Retry, fault) { NotSent = true };
            }

            _connected = () => Allow(HandshakeTimeout, "no TLS connection");
            try
            {
                var http = getsSecrets
                    ? _trusted ??= NewClient(_tls)
                    : _others ??= NewClient(_tls.WithoutCertificate());
                using var response = await http.SendAsync(
                    request, HttpCompletionOption.ResponseHeadersRead, deadline.Token);
                if (redirects < MaxRedirects && Follow(target, response) is { } next)
                {
                    target = next;
                    continue;
                }

                if (response.StatusCode == HttpStatusCode.ExpectationFailed && request.Headers.ExpectContinue == true)
                {
                    _announceFrom = int.MaxValue;
                    continue;
                }

                var answer = new HttpAnswer(options.Secrets(target), settings.AcceptHtml, timeProvider);
                var result = await answer.JudgeAsync(response, batch, deadline.Token);
                if (result.Outcome == SendOutcome.Accepted && body.Length >= _announceFrom)
                    _announceFrom = int.MaxValue;
                return result;
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                // With HTTP/2, a timeout resets only the stream. A dead connection, for example one that a NAT router
                // has forgotten, would be reused.
                CloseConnections();
                return new(SendOutcome.Retry, phase) { NotSent = !isBegun, IsLate = isSent };
            }
            catch (HttpRequestException exception)
            {
                if (isHalfSent) _announceFrom = Math.Min(_announceFrom, body.Length);
                var reason = Explain(exception, timeProvider);
                return new(SendOutcome.Retry, reason) { NotSent = IsBeforeRequest(exception.HttpRequestError) };
            }
            catch (IOException exception)
            {
                return new(SendOutcome.Retry, Explain(exception, timeProvider));
            }

            void Allow(TimeSpan time, string what)
            {
                phase = $"{what} within {time.TotalSeconds:0} s";
                patience.CancelAfter(time);
            }
        }
    }

    public void Dispose() => CloseConnections();

    /// <summary>Reads certificates and keys from disk. If they changed, closes the connections.</summary>
    bool TakeTlsFiles([NotNullWhen(false)] out string? fault)
    {
        if (!options.Tls.TryRead(out var tls, out fault)) return false;
        if (tls == _tls) return true;
        _tls = tls;
        CloseConnections();
        return true;
    }

    /// <summary>Closes the connections: the next request opens a new one.</summary>
    void CloseConnections()
    {
        _trusted?.Dispose();
        _others?.Dispose();
        (_trusted, _others) = (null, null);
    }

    HttpClient NewClient(ClientTls tls)
    {
        var handler = _dialer.NewHandler(ConnectTimeout, () => _connected?.Invoke(), RuleFor);
        handler.MaxConnectionsPerServer = 1;
        handler.PooledConnectionLifetime = ConnectionLife;
        handler.SslOptions = tls.ToOptions();
        return new(handler) { Timeout = Timeout.InfiniteTimeSpan };
    }

    /// <summary>The timeout of the settings, doubled for each timeout of the batch.</summary>
    static TimeSpan AnswerTimeout(Batch batch, ForwardingSettings settings)
    {
        var seconds = Math.Min(MaxTimeoutSeconds, settings.HttpTimeout.TotalSeconds * Math.Pow(2, batch.Timeouts));
        return TimeSpan.FromSeconds(seconds);
    }

    /// <summary>The rule for addresses of the receiver; null: the address is that of the operator's proxy.</summary>
    Func<IPAddress, string?>? RuleFor(SocketsHttpConnectionContext context) =>
        context.InitialRequestMessage.RequestUri is { } url
        && context.DnsEndPoint.Host.Equals(url.IdnHost, StringComparison.OrdinalIgnoreCase)
            ? address => options.Addresses.Objection(AddressRule.HostOf(url), address)
            : null;

    HttpRequestMessage Request(Uri target, bool getsSecrets, Batch batch, HttpContent content)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, target)
        {
            Version = HttpVersion.Version11,
            VersionPolicy = HttpVersionPolicy.RequestVersionOrHigher,
            Content = content,
        };
        request.Headers.TryAddWithoutValidation("Idempotency-Key", batch.Id);
        request.Headers.TryAddWithoutValidation("Batch-Lane", batch.LaneName);
        if (!getsSecrets) return request;
        if (options.Authorization is { } authorization)
            request.Headers.TryAddWithoutValidation("Authorization", authorization);
        foreach (var (name, value) in options.Headers) request.Headers.TryAddWithoutValidation(name, value);
        return request;
    }

    /// <summary>The target of a redirect that may be followed; null: it may not. Allowed are 307 and 308, which keep
    /// the method, to the same host, and not from TLS to plain HTTP. An upgrade to TLS is another origin, with a
    /// separate entry in SecretsFor.</summary>
    static Uri? Follow(Uri from, HttpResponseMessage response)
    {
        if ((int)response.StatusCode is not (307 or 308) || response.Headers.Location is not { } location) return null;
        var to = new Uri(from, location);
        var isSameServer = to.Scheme == from.Scheme && to.Port == from.Port;
        var isUpgrade = to.Scheme == Uri.UriSchemeHttps && from.Scheme == Uri.UriSchemeHttp;
        return to.IdnHost == from.IdnHost && to.UserInfo.Length == 0 && (isSameServer || isUpgrade) ? to : null;
    }

    static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    static bool IsBeforeRequest(HttpRequestError error) => error
        is HttpRequestError.NameResolutionError or HttpRequestError.ConnectionError
        or HttpRequestError.SecureConnectionError or HttpRequestError.ProxyTunnelError;

    /// <summary>Why a request failed, for a log line.</summary>
    internal static string Explain(Exception exception, TimeProvider timeProvider) =>
        (exception.InnerException ?? exception) switch
        {
            HttpRequestException { HttpRequestError: HttpRequestError.ProxyTunnelError } proxy =>
                ProxyText.Describe(proxy),
            NotConnectedException dial => dial.Message,
            SocketException socket => socket.Message,
            AuthenticationException tls => $"TLS: {TlsText.Describe(tls, timeProvider)}",
            IOException eof
                when exception is HttpRequestException { HttpRequestError: HttpRequestError.SecureConnectionError } =>
                $"TLS: {TlsText.Describe(eof)}",
            var other => LogText.Clean(other.Message),
        };
}
