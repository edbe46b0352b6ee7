using System.Text;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Operations.Web;

/// <summary>Answers one request after the other: a path, a GET, an answer. Nothing that a client does ends more than its
/// own request.</summary>
internal sealed class Endpoints(
    RequestGuard guard,
    MetricsText metrics,
    StatusWriter status,
    Health health,
    Dashboard dashboard,
    TimeProvider timeProvider,
    ILogger<Endpoints> logger) : IHttpApplication<HttpContext>
{
    const string NothingThere = "There is /, /metrics, /status, /healthz and /readyz.\n";
    const string Json = "application/json";

    readonly StatusStream _stream = new(dashboard, timeProvider);

    /// <summary>Ends the streams: a server that stops waits for its requests.</summary>
    public CancellationToken Stopping { get; set; }

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
            // The client went away.
        }
        catch (Exception exception)
        {
            Log.RequestFailed(logger, exception);
            if (!response.HasStarted) response.StatusCode = StatusCodes.Status500InternalServerError;
        }
    }

    public void DisposeContext(HttpContext context, Exception? exception)
    {
        // It holds nothing of its own.
    }

    Task AnswerAsync(HttpContext context) => context.Request.Path.Value switch
    {
        "/metrics" => AnswerAsync(context, MetricsText.ContentType, metrics.Write()),
        "/status" => AnswerAsync(context, Json, status.Write()),
        "/healthz" => AnswerAsync(context, health.Live()),
        "/readyz" => AnswerAsync(context, health.Ready()),
        { } path when dashboard.IsOn => AnswerPageAsync(context, path),
        _ => NotFoundAsync(context),
    };

    Task AnswerPageAsync(HttpContext context, string path) => path switch
    {
        "/api/now" => AnswerAsync(context, Json, dashboard.WriteNow()),
        "/api/stream" => StreamAsync(context),
        "/api/events" => AnswerAsync(context, Json, dashboard.WriteEvents()),
        "/api/hour" => AnswerAsync(context, Json, dashboard.WriteLastHour()),
        "/api/settings" => AnswerAsync(context, Json, dashboard.WriteSettings()),
        _ when dashboard.Files.TryGetValue(path, out var file) => AnswerAsync(context, file.Type, file.Content),
        _ => NotFoundAsync(context),
    };

    async Task StreamAsync(HttpContext context)
    {
        if (HttpMethods.IsHead(context.Request.Method) || await _stream.TryServeAsync(context, Stopping)) return;
        context.Response.Headers.RetryAfter = "10";
        await AnswerAsync(context, "text/plain", "too many pages are open\n"u8.ToArray(), StatusCodes.Status503ServiceUnavailable);
    }

    static Task NotFoundAsync(HttpContext context) =>
        AnswerAsync(context, "text/plain", Encoding.UTF8.GetBytes(NothingThere), StatusCodes.Status404NotFound);

    static Task AnswerAsync(HttpContext context, HealthReport report) => AnswerAsync(
        context, Json, report.ToJson(), report.IsOk ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);

    static Task AnswerAsync(HttpContext context, string type, ReadOnlyMemory<byte> body, int code = StatusCodes.Status200OK)
    {
        var response = context.Response;
        response.StatusCode = code;
        response.ContentType = type;
        response.ContentLength = body.Length;
        return HttpMethods.IsHead(context.Request.Method) ? Task.CompletedTask : response.Body.WriteAsync(body, context.RequestAborted).AsTask();
    }
}
