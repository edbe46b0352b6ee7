using System.IO.Compression;
using System.Text;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using Microsoft.Net.Http.Headers;
using SensorForwarder.Operations.Status;

namespace SensorForwarder.Operations.Web;

/// <summary>Base of the HTTP applications: refuses requests by <see cref="RequestGuard"/>, and answers the others. A
/// failure ends only its own request. Called by Kestrel on any thread.</summary>
internal abstract class GuardedRequests(RequestGuard guard, ILogger logger) : IHttpApplication<HttpContext>
{
    protected const string Json = "application/json";

    // Compression gains nothing if the body fits into one packet.
    const int CompressedFromBytes = 1_400;

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public async Task ProcessRequestAsync(HttpContext context)
    {
        var response = context.Response;
        try
        {
            RequestGuard.AddHeaders(response);
            if (guard.Refuse(context.Request) is { } refusal)
            {
                if (refusal.Status == StatusCodes.Status405MethodNotAllowed) response.Headers.Allow = "GET, HEAD";
                await AnswerAsync(context, "text/plain", Encoding.UTF8.GetBytes(refusal.Text + "\n"), refusal.Status);
            }
            else
            {
                await AnswerAsync(context);
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException)
        {
            // The client disconnected.
        }
        catch (Exception exception)
        {
            OperationsLog.RequestFailed(logger, exception);
            if (!response.HasStarted) response.StatusCode = StatusCodes.Status500InternalServerError;
        }
    }

    public void DisposeContext(HttpContext context, Exception? exception)
    {
        // Nothing to release.
    }

    /// <summary>Answers a request that the guard lets through.</summary>
    protected abstract Task AnswerAsync(HttpContext context);

    /// <param name="hasPage">Whether the page is served.</param>
    protected static Task NotFoundAsync(HttpContext context, bool hasPage) => AnswerAsync(
        context, "text/plain", Encoding.UTF8.GetBytes($"Not found. The paths are {(hasPage ? "/, " : "")}/metrics, "
            + "/status, /healthz and /readyz.\n"), StatusCodes.Status404NotFound);

    protected static Task AnswerAsync(HttpContext context, HealthReport report) => AnswerAsync(
        context, Json, report.ToJson(), report.IsOk
            ? StatusCodes.Status200OK
            : StatusCodes.Status503ServiceUnavailable);

    protected static Task AnswerAsync(
        HttpContext context, string type, ReadOnlyMemory<byte> body, int code = StatusCodes.Status200OK)
    {
        var response = context.Response;
        response.StatusCode = code;
        response.ContentType = type;
        response.Headers.Vary = HeaderNames.AcceptEncoding;
        if (body.Length >= CompressedFromBytes && TakesGzip(context.Request))
        {
            response.Headers.ContentEncoding = "gzip";
            body = Compress(body.Span);
        }

        response.ContentLength = body.Length;
        return HttpMethods.IsHead(context.Request.Method)
            ? Task.CompletedTask
            : response.Body.WriteAsync(body, context.RequestAborted).AsTask();
    }

    static bool TakesGzip(HttpRequest request) =>
        StringWithQualityHeaderValue.TryParseList(request.Headers.AcceptEncoding, out var encodings)
        && encodings.Any(encoding => encoding.Value.Equals("gzip", StringComparison.OrdinalIgnoreCase)
            && encoding.Quality != 0);

    static ReadOnlyMemory<byte> Compress(ReadOnlySpan<byte> body)
    {
        using var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest)) gzip.Write(body);
        return compressed.ToArray();
    }
}
