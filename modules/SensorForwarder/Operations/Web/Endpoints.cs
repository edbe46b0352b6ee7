using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Intake;
using SensorForwarder.Operations.Status;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Web;

/// <summary>Answers the HTTP requests of the running module. Thread-safe.</summary>
internal sealed class Endpoints(
    RequestGuard guard,
    MetricsText metrics,
    StatusSource source,
    Health health,
    Dashboard dashboard,
    ReadingHistory history,
    TimeProvider timeProvider,
    ILogger<Endpoints> logger) : GuardedRequests(guard, logger)
{
    readonly StatusStream _stream = new(dashboard, timeProvider);

    /// <summary>Cancelled when the module stops. Ends the streams: the server would wait for these open requests.
    /// </summary>
    public CancellationToken Stopping { get; set; }

    protected override Task AnswerAsync(HttpContext context) => context.Request.Path.Value switch
    {
        "/metrics" => AnswerAsync(context, MetricsText.ContentType, metrics.Write()),
        "/status" => AnswerAsync(context, Json, StatusDocument.Write(source.Capture())),
        "/healthz" => AnswerAsync(context, health.Live()),
        "/readyz" => AnswerAsync(context, health.Ready()),
        { } path when dashboard.IsOn => AnswerPageAsync(context, path),
        _ => NotFoundAsync(context, dashboard.IsOn),
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
        _ => NotFoundAsync(context, dashboard.IsOn),
    };

    async Task StreamAsync(HttpContext context)
    {
        if (HttpMethods.IsHead(context.Request.Method) || await _stream.TryServeAsync(context, Stopping)) return;
        context.Response.Headers.RetryAfter = "10";
        await AnswerAsync(context, "text/plain", "too many pages are open\n"u8.ToArray(),
            StatusCodes.Status503ServiceUnavailable);
    }

    async Task ReadingsAsync(HttpContext context)
    {
        var query = context.Request.Query;
        var now = timeProvider.GetUtcNow();
        var sensor = query["sensor"].ToString();
        if (sensor.Length is 0 or > IntakeLimits.MaxNameLength
            || !TryTime(query["to"], now, out var to) || !TryFrom(query["from"], to, out var from) || from >= to
            || !TryPoints(query["points"], out var points))
        {
            const string Usage =
                "/api/readings?sensor=NAME&value=NAME&from=2026-11-24T14:00:00Z&to=2026-11-24T15:00:00Z&points=200: "
                + "from and to are times (default: the last hour), from may be 'oldest', points is 1..1000; "
                + "without value, all values are returned\n";
            await AnswerAsync(context, "text/plain", Encoding.UTF8.GetBytes(Usage), StatusCodes.Status400BadRequest);
            return;
        }

        var value = query["value"].ToString() is { Length: > 0 } name ? name : null;
        var isAll = from is null && string.IsNullOrEmpty(query["to"]);

        try
        {
            await AnswerAsync(context, Json, await history.WriteAsync(
                new(sensor, from, to, points, value) { WithLater = isAll }, context.RequestAborted));
        }
        catch (BufferUnavailableException exception)
        {
            var reason = JsonEncodedText.Encode(LogText.Clean(exception.Message));
            await AnswerAsync(context, Json, Encoding.UTF8.GetBytes(
                $$"""{"error":"{{reason}}"}"""), StatusCodes.Status503ServiceUnavailable);
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

        // Leaves room at the ends of the calendar for adding and subtracting an hour.
        return DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out time)
            && time.Year is >= 1970 and < 9999;
    }

    static bool TryPoints(string? text, out int points)
    {
        points = 200;
        return string.IsNullOrEmpty(text) || (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture,
            out points) && points is >= 1 and <= ReadingHistory.MaxPoints);
    }
}
