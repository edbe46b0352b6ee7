using System.Globalization;
using System.IO.Compression;
using System.Text;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using Microsoft.Net.Http.Headers;
using SensorForwarder.Buffer;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations.Web;

/// <summary>Answers one request after the other: a path, a GET, an answer. Nothing that a client does ends more than its
/// own request.</summary>
internal sealed class Endpoints(
    RequestGuard guard,
    MetricsText metrics,
    StatusWriter status,
    Health health,
    Dashboard dashboard,
    ReadingHistory history,
    TimeProvider timeProvider,
    ILogger<Endpoints> logger) : IHttpApplication<HttpContext>
{
    const string NothingThere = "There is /, /metrics, /status, /healthz and /readyz.\n";
    const string Json = "application/json";

    // Less than a packet gains nothing.
    const int CompressedFromBytes = 1_400;

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
        "/api/readings" => ReadingsAsync(context),
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

    async Task ReadingsAsync(HttpContext context)
    {
        var query = context.Request.Query;
        var now = timeProvider.GetUtcNow();
        var sensor = query["sensor"].ToString();
        if (sensor.Length is 0 or > SensorSettings.MaxNameLength
            || !TryTime(query["to"], now, out var to) || !TryFrom(query["from"], to, out var from) || from >= to
            || !TryPoints(query["points"], out var points))
        {
            await AnswerAsync(context, "text/plain", "/api/readings?sensor=NAME&value=NAME&from=2026-11-24T14:00:00Z&to=2026-11-24T15:00:00Z&points=200: from and to are times (the last hour), from may be 'oldest', points is 1..1000, without value all values\n"u8.ToArray(), StatusCodes.Status400BadRequest);
            return;
        }

        var value = query["value"].ToString() is { Length: > 0 } name ? name : null;
        var isAll = from is null && string.IsNullOrEmpty(query["to"]);

        try
        {
            await AnswerAsync(context, Json, await history.WriteAsync(new(sensor, from, to, points, value) { WithLater = isAll }, context.RequestAborted));
        }
        catch (BufferUnavailableException exception)
        {
            await AnswerAsync(context, "text/plain", Encoding.UTF8.GetBytes(LogText.Clean(exception.Message)), StatusCodes.Status503ServiceUnavailable);
        }
    }

    /// <summary>Null means the oldest reading.</summary>
    static bool TryFrom(string? text, DateTimeOffset to, out DateTimeOffset? from)
    {
        from = null;
        if (text == "oldest") return true;
        if (!TryTime(text, to - TimeSpan.FromHours(1), out var time)) return false;
        from = time;
        return true;
    }

    static bool TryTime(string? text, DateTimeOffset standard, out DateTimeOffset time)
    {
        time = standard;
        if (string.IsNullOrEmpty(text)) return true;

        // Near the ends of the calendar there is no hour before, and no minute after.
        return DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out time)
            && time.Year is >= 1970 and < 9999;
    }

    static bool TryPoints(string? text, out int points)
    {
        points = 200;
        return string.IsNullOrEmpty(text) || (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out points) && points is >= 1 and <= ReadingHistory.MaxPoints);
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
        response.Headers.Vary = HeaderNames.AcceptEncoding;
        if (body.Length >= CompressedFromBytes && TakesGzip(context.Request))
        {
            response.Headers.ContentEncoding = "gzip";
            body = Compress(body.Span);
        }

        response.ContentLength = body.Length;
        return HttpMethods.IsHead(context.Request.Method) ? Task.CompletedTask : response.Body.WriteAsync(body, context.RequestAborted).AsTask();
    }

    static bool TakesGzip(HttpRequest request) =>
        StringWithQualityHeaderValue.TryParseList(request.Headers.AcceptEncoding, out var encodings)
        && encodings.Any(encoding => encoding.Value.Equals("gzip", StringComparison.OrdinalIgnoreCase) && encoding.Quality != 0);

    static ReadOnlyMemory<byte> Compress(ReadOnlySpan<byte> body)
    {
        using var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest)) gzip.Write(body);
        return compressed.ToArray();
    }
}
