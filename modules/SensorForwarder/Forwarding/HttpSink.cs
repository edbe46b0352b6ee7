using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;

namespace SensorForwarder.Forwarding;

/// <summary>What the HTTP sink sends besides the batch. Boot values, since they are secrets; never logged.</summary>
/// <param name="Authorization">The whole header value, such as <c>Bearer ...</c>.</param>
/// <param name="Headers">More headers by name.</param>
internal sealed record HttpSinkOptions(string? Authorization, IReadOnlyDictionary<string, string> Headers)
{
    public override string ToString() => $"{Headers.Count} headers";
}

/// <summary>Posts a batch to an HTTP endpoint. One request at a time over one pooled connection, which keeps the order.
/// </summary>
internal sealed class HttpSink : ISink, IDisposable
{
    public const int LargestBodyBytes = 16 << 20;

    const int ShownAnswerBytes = 200;
    static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(5);
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    // So that a changed DNS entry is noticed.
    static readonly TimeSpan ConnectionLife = TimeSpan.FromMinutes(10);

    readonly HttpClient _http;
    readonly HttpSinkOptions _options;
    readonly TimeProvider _timeProvider;

    public HttpSink(HttpSinkOptions options, TimeProvider timeProvider)
    {
        _options = options;
        _timeProvider = timeProvider;
        _http = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            ConnectTimeout = ConnectTimeout,
            MaxConnectionsPerServer = 1,
            PooledConnectionLifetime = ConnectionLife,
            UseCookies = false,
        })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
    }

    public bool IsReady(ForwardingSettings settings) => settings.HttpEndpoint is not null;

    // Only new settings bring an endpoint, and those wake the forwarder by themselves.
    public Task WaitUntilReadyAsync(CancellationToken cancellationToken) =>
        Task.Delay(Timeout.InfiniteTimeSpan, _timeProvider, cancellationToken);

    public int MaxInFlight(ForwardingSettings settings) => 1;

    public int MaxBytes(ForwardingSettings settings) => Math.Min(settings.BatchMaxBytes, LargestBodyBytes);

    // Without user and query: keys stand there.
    public string Describe(ForwardingSettings settings) =>
        settings.HttpEndpoint?.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped) ?? "nowhere (set httpEndpoint)";

    public async Task<SendResult> SendAsync(Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, settings.HttpEndpoint)
        {
            Version = HttpVersion.Version11,
            VersionPolicy = HttpVersionPolicy.RequestVersionOrHigher,
            Content = Content(batch.Body, settings.Compression),
        };
        request.Headers.TryAddWithoutValidation("Idempotency-Key", batch.Id);
        if (_options.Authorization is { } authorization)
            request.Headers.TryAddWithoutValidation("Authorization", authorization);
        foreach (var (name, value) in _options.Headers) request.Headers.TryAddWithoutValidation(name, value);

        using var timeout = new CancellationTokenSource(AnswerTimeout, _timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        try
        {
            using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, deadline.Token);
            return response.IsSuccessStatusCode
                ? SendResult.Accepted
                : await JudgeAsync(response, deadline.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new(SendOutcome.Retry, $"no answer within {AnswerTimeout.TotalSeconds:0} s");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            return new(SendOutcome.Retry, Describe(exception));
        }
    }

    public void Dispose() => _http.Dispose();

    static HttpContent Content(ReadOnlyMemory<byte> body, BatchCompression compression)
    {
        HttpContent content;
        if (compression == BatchCompression.Gzip)
        {
            var packed = new MemoryStream();
            using (var gzip = new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true)) gzip.Write(body.Span);
            content = new ByteArrayContent(packed.GetBuffer(), 0, (int)packed.Length);
            content.Headers.ContentEncoding.Add("gzip");
        }
        else
        {
            content = new ReadOnlyMemoryContent(body);
        }

        content.Headers.ContentType = new MediaTypeHeaderValue("application/json", "utf-8");
        return content;
    }

    async Task<SendResult> JudgeAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        var status = (int)response.StatusCode;
        var said = await ReadShortAsync(response, cancellationToken);
        var reason = said.Length == 0 ? $"answered {status}" : $"answered {status}: {said}";
        return status switch
        {
            408 or 429 or >= 500 => new(SendOutcome.Retry, reason, RetryAfter(response.Headers.RetryAfter)),
            413 => new(SendOutcome.TooLarge, reason),
            400 or 422 => new(SendOutcome.Rejected, reason),
            >= 300 and < 400 => new(
                SendOutcome.Denied, $"{reason} (redirects are not followed: give the final URL as httpEndpoint)"),
            _ => new(SendOutcome.Denied, reason),
        };
    }

    TimeSpan? RetryAfter(RetryConditionHeaderValue? header)
    {
        var wait = header?.Delta ?? (header?.Date - _timeProvider.GetUtcNow());
        return wait > TimeSpan.Zero ? wait : null;
    }

    /// <summary>The beginning of an answer, for the log: an error page can be long, and slow.</summary>
    static async Task<string> ReadShortAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        try
        {
            var start = new byte[ShownAnswerBytes];
            await using var stream = await response.Content.ReadAsStreamAsync(cancellationToken);
            var length = await stream.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, cancellationToken);
            return LogText.Clean(Encoding.UTF8.GetString(start, 0, length)).Trim();
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException)
        {
            return "";
        }
    }

    static string Describe(Exception exception) => (exception.InnerException ?? exception) switch
    {
        SocketException socket => socket.Message,
        AuthenticationException tls => $"TLS: {(tls.InnerException ?? tls).Message}",
        var other => LogText.Clean(other.Message),
    };
}
