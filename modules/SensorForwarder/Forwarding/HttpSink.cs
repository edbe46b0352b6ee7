using System.Diagnostics.CodeAnalysis;
using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using SensorForwarder.Net;

namespace SensorForwarder.Forwarding;

/// <summary>Posts a batch to an HTTP endpoint. One request at a time over one pooled connection, HTTP/1.1 or HTTP/2,
/// which keeps the order. A proxy is taken from the environment (<c>https_proxy</c>, <c>no_proxy</c>..).</summary>
internal sealed class HttpSink : ISink, IDisposable
{
    public const int LargestBodyBytes = 16 << 20;
    public const int MinTimeoutSeconds = 1;
    public const int MaxTimeoutSeconds = 600;

    const int MaxRedirects = 3;
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    // From the TCP connection on: TLS, and before it a proxy's tunnel.
    static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(5);

    // For one piece of the body: 16 KiB take 4 s on a 32 kbit/s line.
    static readonly TimeSpan SendTimeout = TimeSpan.FromSeconds(15);

    // What the system has taken can still be on its way: on that line it needs so long.
    const double SlowestBytesPerSecond = 4_000;

    // For files of certificates and keys that are not there yet.
    static readonly TimeSpan LookForFilesEvery = TimeSpan.FromSeconds(1);

    // So that a changed DNS entry is noticed.
    static readonly TimeSpan ConnectionLife = TimeSpan.FromMinutes(10);

    readonly HttpSinkOptions _options;
    readonly TimeProvider _timeProvider;
    readonly Dialer _dialer;
    ClientTls _tls = new(); // what the clients were made with

    // A connection shows the client certificate or does not, so receivers that may not get the secrets have their own.
    HttpClient? _trusted;
    HttpClient? _others;

    // Completed while files of TLS are missing.
    volatile TaskCompletionSource _filesMissing = NewSignal();

    // Of the request under way: it has a new TCP connection.
    Action? _connected;

    // Bodies from this size on are announced first (Expect: 100-continue). A receiver that finds one too large may
    // answer 413 and reset the connection under the rest of it, and then nobody reads the answer.
    int _announceFrom = int.MaxValue;

    public HttpSink(HttpSinkOptions options, TimeProvider timeProvider, Dialer? dialer = null)
    {
        _dialer = dialer ?? new(timeProvider);
        _options = options;
        _timeProvider = timeProvider;
    }

    public bool IsReady(ForwardingSettings settings) =>
        settings.HttpEndpoint is { } endpoint
        && (!_filesMissing.Task.IsCompleted || endpoint.Scheme != Uri.UriSchemeHttps);

    // Only new settings bring an endpoint, and those wake the forwarder. Files appear without a word.
    public async Task WaitUntilReadyAsync(CancellationToken cancellationToken)
    {
        await _filesMissing.Task.WaitAsync(cancellationToken);
        while (!_options.Tls.TryRead(out _, out _))
            await Task.Delay(LookForFilesEvery, _timeProvider, cancellationToken);
        _filesMissing = NewSignal();
    }

    public bool IsMetered => false;

    public bool IsHeld => false;

    public int MaxInFlight(ForwardingSettings settings) => 1;

    public int MaxBytes(ForwardingSettings settings) => Math.Min(settings.BatchMaxBytes, LargestBodyBytes);

    public string Describe(ForwardingSettings settings) =>
        settings.HttpEndpoint is { } endpoint
            ? UrlText.Place(endpoint) + EnvironmentProxy.Current.Through(endpoint)
            : "nowhere (set httpEndpoint)";

    public async Task<SendResult> SendAsync(
        Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        var isGzip = settings.Compression == BatchCompression.Gzip;
        var body = isGzip ? Pack(batch.Body) : batch.Body;
        var target = settings.HttpEndpoint!;
        for (var redirects = 0; ; redirects++)
        {
            using var patience = new CancellationTokenSource(Timeout.InfiniteTimeSpan, _timeProvider);
            using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, patience.Token);
            var answerTimeout = AnswerTimeout(batch, settings)
                + TimeSpan.FromSeconds(body.Length / SlowestBytesPerSecond);
            var phase = "no connection was made";
            var (isBegun, isHalfSent, isSent) = (false, false, false);
            var getsSecrets = _options.GetsSecrets(target);
            using var request = Request(target, getsSecrets, batch, new BatchContent(body, isGzip,
                () =>
                {
                    isBegun = isHalfSent = true;
                    Allow(SendTimeout, "nothing was taken");
                },
                () =>
                {
                    (isHalfSent, isSent) = (false, true);
                    Allow(answerTimeout, "no answer came");
                }));
            if (body.Length >= _announceFrom) request.Headers.ExpectContinue = true;
            if (!TakeTlsFiles(out var fault) && target.Scheme == Uri.UriSchemeHttps)
            {
                _filesMissing.TrySetResult();
                return new SendResult(SendOutcome.Retry, fault) { NotSent = true };
            }

            _connected = () => Allow(HandshakeTimeout, "no TLS connection was made");
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

                var answer = new HttpAnswer(_options.Secrets(target), settings.AcceptHtml, _timeProvider);
                var result = await answer.JudgeAsync(response, batch, deadline.Token);
                if (result.Outcome == SendOutcome.Accepted && body.Length >= _announceFrom) _announceFrom =
                    int.MaxValue;
                return result;
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                // Of HTTP/2 that ended the stream only: a connection that is dead, behind a NAT that
                // forgot it say, would be used on.
                CloseConnections();
                return new SendResult(SendOutcome.Retry, phase) { NotSent = !isBegun, IsLate = isSent };
            }
            catch (HttpRequestException exception)
            {
                if (isHalfSent) _announceFrom = Math.Min(_announceFrom, body.Length);
                var reason = Explain(exception, _timeProvider);
                return new SendResult(
                    SendOutcome.Retry, reason)
                { NotSent = IsBeforeRequest(exception.HttpRequestError) };
            }
            catch (IOException exception)
            {
                return new(SendOutcome.Retry, Explain(exception, _timeProvider));
            }

            void Allow(TimeSpan time, string what)
            {
                phase = $"{what} within {time.TotalSeconds:0} s";
                patience.CancelAfter(time);
            }
        }
    }

    public void Dispose() => CloseConnections();

    /// <summary>Uses the certificates and keys as they are on disk. Connections with others are closed.</summary>
    bool TakeTlsFiles([NotNullWhen(false)] out string? fault)
    {
        if (!_options.Tls.TryRead(out var tls, out fault)) return false;
        if (tls == _tls) return true;
        _tls = tls;
        CloseConnections();
        return true;
    }

    /// <summary>The next request opens a new connection.</summary>
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

    /// <summary>That of the settings, and twice as much for each time that the batch had too little.</summary>
    static TimeSpan AnswerTimeout(Batch batch, ForwardingSettings settings)
    {
        var seconds = Math.Min(MaxTimeoutSeconds, settings.HttpTimeout.TotalSeconds * Math.Pow(2, batch.Timeouts));
        return TimeSpan.FromSeconds(seconds);
    }

    /// <summary>Which addresses of a receiver are allowed. A proxy is the operator's, and
    /// resolves the name itself.</summary>
    Func<IPAddress, string?>? RuleFor(SocketsHttpConnectionContext context) =>
        context.InitialRequestMessage.RequestUri is { } url
        && context.DnsEndPoint.Host.Equals(url.IdnHost, StringComparison.OrdinalIgnoreCase)
            ? address => _options.Addresses.Objection(AddressRule.HostOf(url), address)
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
        if (!getsSecrets) return request;
        if (_options.Authorization is { } authorization)
            request.Headers.TryAddWithoutValidation("Authorization", authorization);
        foreach (var (name, value) in _options.Headers) request.Headers.TryAddWithoutValidation(name, value);
        return request;
    }

    /// <summary>Where a redirect leads, if it may be followed: only those that keep the method, and never to another
    /// host or away from TLS. An upgrade to TLS is another origin, which may get the secrets or not.</summary>
    static Uri? Follow(Uri from, HttpResponseMessage response)
    {
        if ((int)response.StatusCode is not (307 or 308) || response.Headers.Location is not { } location) return null;
        var to = location.IsAbsoluteUri ? location : new Uri(from, location);
        var isSameServer = to.Scheme == from.Scheme && to.Port == from.Port;
        var isUpgrade = to.Scheme == Uri.UriSchemeHttps && from.Scheme == Uri.UriSchemeHttp;
        return to.IdnHost == from.IdnHost && to.UserInfo.Length == 0 && (isSameServer || isUpgrade) ? to : null;
    }

    static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    static ReadOnlyMemory<byte> Pack(ReadOnlyMemory<byte> body)
    {
        var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true)) gzip.Write(body.Span);
        return packed.GetBuffer().AsMemory(0, (int)packed.Length);
    }

    static bool IsBeforeRequest(HttpRequestError error) => error
        is HttpRequestError.NameResolutionError or HttpRequestError.ConnectionError
        or HttpRequestError.SecureConnectionError or HttpRequestError.ProxyTunnelError;

    /// <summary>Why nothing came of a request, for a log line.</summary>
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
