using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub;

/// <summary>A call of the workload API failed. The message says which call, what happened, and what to do.</summary>
internal sealed class WorkloadApiException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Whether the failure may be temporary, so that a retry makes sense.</summary>
    public bool MayPass { get; init; }
}

/// <summary>Data encrypted by the workload API, with what it needs to decrypt it.</summary>
/// <param name="GenerationId">The module's generation when it was encrypted.</param>
internal sealed record WrappedBytes(string GenerationId, byte[] InitializationVector, byte[] Ciphertext);

/// <summary>
/// The part of IoT Edge's workload API that a module needs: signing, wrapping a key, and the trust bundle. HTTP/1.1
/// over a Unix socket, one connection per request, one request at a time: the daemon closes the socket of the 11th
/// concurrent request. Temporary failures (a status of 500 or above, a closed socket) are retried here, unless the
/// caller retries itself. Source: edgelet-http-workload, and HttpHsmClient.cs of the device SDK.
/// </summary>
internal sealed class WorkloadApi(
    WorkloadEndpoint endpoint, TimeProvider timeProvider, Random random, int retriesMax = WorkloadApi.RetriesMax)
    : IDisposable
{
    // Accepted by every runtime since 1.0; later versions do not change these calls.
    const string ApiVersion = "2018-06-28";
    const int MaxAnswerBytes = 1 << 20;
    static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(30);

    // As in the device SDK (HttpHsmSignatureProvider.cs): three retries, 2 s to 30 s apart.
    public const int RetriesMax = 3;
    static readonly TimeSpan RetryAfterMin = TimeSpan.FromSeconds(2);
    static readonly TimeSpan RetryAfterMax = TimeSpan.FromSeconds(30);

    readonly HttpClient _http = new(new SocketsHttpHandler
    {
        UseProxy = false,
        AllowAutoRedirect = false,
        ConnectCallback = async (_, cancellationToken) =>
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(endpoint.SocketPath), cancellationToken);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        },
    })
    {
        BaseAddress = new Uri("http://workload.sock"),
        Timeout = Timeout.InfiniteTimeSpan, // AnswerTimeout replaces it, with the injected clock
        MaxResponseContentBufferSize = MaxAnswerBytes,
    };

    /// <summary>HMAC-SHA256 of <paramref name="data"/> with the module's key, which never leaves the daemon.</summary>
    /// <exception cref="WorkloadApiException">The daemon does not answer or refuses.</exception>
    public Task<byte[]> SignAsync(byte[] data, CancellationToken cancellationToken) =>
        PostAsync("sign", endpoint.GenerationId,
        $$"""{"keyId":"primary","algo":"HMACSHA256","data":"{{Convert.ToBase64String(data)}}"}""",
            "digest", ReadDigest, cancellationToken);

    /// <summary>Encrypts with the device's key, which never leaves the daemon. Module and generation are needed to
    /// decrypt.</summary>
    /// <exception cref="WorkloadApiException">The daemon does not answer or refuses.</exception>
    public async Task<WrappedBytes> EncryptAsync(byte[] plain, CancellationToken cancellationToken)
    {
        var vector = RandomNumberGenerator.GetBytes(AesGcm.NonceByteSizes.MaxSize);
        var cipher = await PostAsync("encrypt", endpoint.GenerationId,
            Document("plaintext", plain, vector), "ciphertext", Convert.FromBase64String, cancellationToken);
        return new(endpoint.GenerationId, vector, cipher);
    }

    /// <summary>Decrypts what <see cref="EncryptAsync"/> returned, even if the generation of the module has changed.
    /// </summary>
    /// <exception cref="WorkloadApiException">The daemon does not answer, or refuses because another device or module
    /// encrypted the data.</exception>
    public Task<byte[]> DecryptAsync(WrappedBytes wrapped, CancellationToken cancellationToken) =>
        PostAsync("decrypt", wrapped.GenerationId,
            Document("ciphertext", wrapped.Ciphertext, wrapped.InitializationVector), "plaintext",
            Convert.FromBase64String, cancellationToken);

    /// <summary>The root certificates to trust for edgeHub's server certificate.</summary>
    /// <exception cref="WorkloadApiException">The daemon does not answer or has no bundle.</exception>
    public Task<X509Certificate2Collection> GetTrustBundleAsync(CancellationToken cancellationToken) => AskAsync(
        () => new HttpRequestMessage(HttpMethod.Get, $"/trust-bundle?api-version={ApiVersion}"),
        "trust-bundle", "certificate", ParsePem, cancellationToken);

    public void Dispose() => _http.Dispose();

    static X509Certificate2Collection ParsePem(string pem)
    {
        var certificates = new X509Certificate2Collection();
        certificates.ImportFromPem(pem);
        return certificates.Count > 0 ? certificates : throw new FormatException("it contains no certificate");
    }

    static byte[] ReadDigest(string base64)
    {
        var digest = Convert.FromBase64String(base64);
        return digest.Length == SHA256.HashSizeInBytes
            ? digest
            : throw new FormatException($"{digest.Length} bytes are not an HMAC-SHA256");
    }

    // The bodies are written by hand: Base64 needs no escaping.
    static string Document(string name, byte[] bytes, byte[] vector)
    {
        var (content, initializationVector) = (Convert.ToBase64String(bytes), Convert.ToBase64String(vector));
        return $$"""{"{{name}}":"{{content}}","initializationVector":"{{initializationVector}}"}""";
    }

    Task<byte[]> PostAsync(
        string what, string generationId, string body, string property, Func<string, byte[]> read,
        CancellationToken cancellationToken)
    {
        var module = Uri.EscapeDataString(endpoint.ModuleId);
        var generation = Uri.EscapeDataString(generationId);
        return AskAsync(
            () => new HttpRequestMessage(
                HttpMethod.Post, $"/modules/{module}/genid/{generation}/{what}?api-version={ApiVersion}")
            {
                Content = new StringContent(body, Encoding.UTF8, MediaTypeHeaderValue.Parse("application/json")),
            },
            what, property, read, cancellationToken);
    }

    async Task<T> AskAsync<T>(
        Func<HttpRequestMessage> request, string what, string property, Func<string, T> read,
        CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await AskOnceAsync(request, what, property, read, cancellationToken);
            }
            catch (WorkloadApiException exception) when (exception.MayPass && attempt <= retriesMax)
            {
                var delay = RetryAfterMin + Backoff.Next(attempt, RetryAfterMin, RetryAfterMax, random.NextDouble());
                await Task.Delay(delay, timeProvider, cancellationToken);
            }
        }
    }

    async Task<T> AskOnceAsync<T>(
        Func<HttpRequestMessage> makeRequest, string what, string property, Func<string, T> read,
        CancellationToken cancellationToken)
    {
        using var request = makeRequest();
        request.Headers.ConnectionClose = true;
        using var timeout = new CancellationTokenSource(AnswerTimeout, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        try
        {
            using var response = await _http.SendAsync(request, deadline.Token);
            var body = await response.Content.ReadAsByteArrayAsync(deadline.Token);
            if (response.StatusCode != HttpStatusCode.OK)
            {
                throw new WorkloadApiException(
                    $"The workload API refuses {what}: {(int)response.StatusCode} {Shorten(body)}. "
                    + $"{Remedy(response.StatusCode)}")
                {
                    MayPass = response.StatusCode >= HttpStatusCode.InternalServerError,
                };
            }

            using var json = JsonDocument.Parse(body);
            return read(json.RootElement.GetProperty(property).GetString() ?? "");
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new WorkloadApiException(
                $"The workload API at {endpoint.SocketPath} did not answer {what} in "
                + $"{AnswerTimeout.TotalSeconds:0} s.");
        }
        catch (HttpRequestException exception)
        {
            var cause = (exception.InnerException as SocketException)?.SocketErrorCode switch
            {
                SocketError.AddressNotAvailable or SocketError.InvalidArgument or SocketError.HostNotFound
                    => "no such socket",
                SocketError.ConnectionRefused => "no process listens there",
                SocketError.AccessDenied => "this user has no access to it",
                _ => (exception.InnerException ?? exception).Message,
            };
            throw new WorkloadApiException(
                $"The workload API at {endpoint.SocketPath} can't be reached ({cause}). "
                + "aziot-edged provides it: run 'iotedge check'. Outside IoT Edge, unset IOTEDGE_WORKLOADURI.",
                exception)
            {
                MayPass = exception.InnerException is not SocketException,
            };
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or FormatException
            or InvalidOperationException or CryptographicException)
        {
            throw new WorkloadApiException(
                $"The workload API answered {what} with an unexpected document: {exception.Message}", exception);
        }
    }

    static string Remedy(HttpStatusCode status) => status switch
    {
        HttpStatusCode.Forbidden =>
            "It serves only processes of this module's container: was IOTEDGE_MODULEID changed by hand?",
        HttpStatusCode.NotFound => "Restart the module, so that edgeAgent gives it its current identity.",
        _ => "Run 'iotedge check' and see the log of aziot-edged.",
    };

    static string Shorten(byte[] body) =>
        LogText.Clean(Encoding.UTF8.GetString(body.AsSpan(0, Math.Min(body.Length, 200))));
}
