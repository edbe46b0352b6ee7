using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Intake;

/// <summary>
/// Answers requests of other programs: <c>POST /readings</c> takes JSON, <c>/api/v2/write</c> and <c>/write</c>
/// InfluxDB line protocol. 204 means that the whole request is on the medium. A faulty client affects only its own
/// requests. Thread-safe.
/// </summary>
internal sealed class HttpRequests(
    IntakeStore store, IntakeOptions options, TimeProvider timeProvider, ILogger<HttpRequests> logger)
    : IHttpApplication<HttpContext>
{
    const string Kind = "http";

    // The version of InfluxDB that /write is compatible with.
    const string InfluxVersion = "1.8.0";

    // Memory for all requests that are being read.
    const int MaxBodyBytes = 24 << 20;

    // A client that takes longer to send its request is refused.
    static readonly TimeSpan ReadPatience = TimeSpan.FromSeconds(30);

    readonly BodyRoom _room = new(MaxBodyBytes);
    readonly IntakeToken? _token = options.TokenFile is { } path ? new(path, logger) : null;

    /// <summary>Cancels requests that wait, because the server waits for open requests when it stops.</summary>
    public CancellationToken Stopping { get; set; }

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public async Task ProcessRequestAsync(HttpContext context)
    {
        var response = context.Response;
        response.Headers.CacheControl = "no-store";
        try
        {
            await AnswerAsync(context);
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException)
        {
            // The client has disconnected, or the module is stopping: the request is not acknowledged.
            context.Abort();
        }
        catch (Exception exception)
        {
            IntakeLog.RequestFailed(logger, exception);
            if (!response.HasStarted) response.StatusCode = StatusCodes.Status500InternalServerError;
        }
    }

    public void DisposeContext(HttpContext context, Exception? exception)
    {
        // Nothing to dispose.
    }

    Task AnswerAsync(HttpContext context)
    {
        var request = context.Request;
        if (IsOfBrowser(request))
            return SayAsync(context, StatusCodes.Status403Forbidden, "forbidden", "web pages can't send readings");
        var isPost = HttpMethods.IsPost(request.Method);
        switch (request.Path.Value)
        {
            case "/readings" or "/api/v2/write" or "/write" when isPost: return TakeAsync(context);
            case "/readings" or "/api/v2/write" or "/write":
                context.Response.Headers.Allow = "POST";
                return SayAsync(
                    context, StatusCodes.Status405MethodNotAllowed, "method not allowed", "only POST is allowed");

            // Clients of InfluxDB check the server, read its version, and create their database with a POST.
            case "/ping":
                context.Response.Headers["X-Influxdb-Version"] = InfluxVersion;
                context.Response.StatusCode = StatusCodes.Status204NoContent;
                return Task.CompletedTask;
            case "/query" when isPost:
                return WriteAsync(context, StatusCodes.Status200OK, """{"results":[{"statement_id":0}]}""");
            case "/health":
                return WriteAsync(context, StatusCodes.Status200OK, """{"name":"SensorForwarder","status":"pass"}""");
            default:
                return SayAsync(
                    context, StatusCodes.Status404NotFound, "not found",
                    "the paths are /readings, /api/v2/write and /write");
        }
    }

    // A web page in a browser on this machine or network must not send readings.
    static bool IsOfBrowser(HttpRequest request) =>
        request.Headers.Origin.Count > 0 || request.Headers["Sec-Fetch-Site"].Count > 0;

    async Task TakeAsync(HttpContext context)
    {
        var request = context.Request;
        var source = store.Sources.Find($"{Kind} {AddressOf(context)}");
        if (_token?.IsIn(request.Headers.Authorization) == false)
        {
            var reason = "the token is missing or wrong";
            await AnswerAsync(context, Refuse(source, new(IntakeOutcome.Unauthorized, reason)));
            return;
        }

        using var body = new RequestBody(_room);
        if (await ReadAsync(context, body) is { } problem)
        {
            await AnswerAsync(context, Refuse(source, problem));
            return;
        }

        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, Stopping);
        await AnswerAsync(context, await StoreAsync(request, source, body, ending.Token));
    }

    async Task<IntakeAnswer> StoreAsync(
        HttpRequest request, IntakeSource source, RequestBody body, CancellationToken cancellationToken)
    {
        if (request.Path != "/readings")
        {
            var precision = request.Query["precision"].ToString();
            return LineProtocol.TicksPerUnit(precision) is { } ticks
                ? await store.StoreLinesAsync(source, body.Bytes, ticks, cancellationToken)
                : Refuse(source, IntakeAnswer.Malformed("precision is not one of ns, us, ms, s, m, h"));
        }

        var name = request.Query["sensor"].ToString() is { Length: > 0 } given ? given : source.Name;
        return IntakeLimits.IsName(name)
            ? await store.StoreAsync(source, body.Bytes, request.ContentType, Kind, name, cancellationToken)
            : Refuse(source, IntakeAnswer.Malformed(
                $"sensor is not a name of 1 to {IntakeLimits.MaxNameLength} characters"));
    }

    async Task<IntakeAnswer?> ReadAsync(HttpContext context, RequestBody body)
    {
        using var timeout = new CancellationTokenSource(ReadPatience, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(
            timeout.Token, context.RequestAborted, Stopping);
        try
        {
            return await body.ReadAsync(context.Request, deadline.Token);
        }
        catch (BadHttpRequestException exception)
        {
            return exception.StatusCode == StatusCodes.Status413PayloadTooLarge
                ? RequestBody.TooLarge()
                : IntakeAnswer.Malformed("the body is not valid HTTP, or arrived too slowly");
        }
    }

    static string AddressOf(HttpContext context) => context.Connection.RemoteIpAddress is not { } address ? "socket"
        : (address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address).ToString();

    static IntakeAnswer Refuse(IntakeSource source, IntakeAnswer answer)
    {
        source.Count(answer, 0);
        return answer;
    }

    static Task AnswerAsync(HttpContext context, IntakeAnswer answer)
    {
        var headers = context.Response.Headers;
        if (answer.RetryAfter is { } wait)
            headers.RetryAfter = Math.Ceiling(wait.TotalSeconds).ToString(CultureInfo.InvariantCulture);
        switch (answer.Outcome)
        {
            case IntakeOutcome.Stored:
                context.Response.StatusCode = StatusCodes.Status204NoContent;
                return Task.CompletedTask;
            case IntakeOutcome.Malformed:
                return SayAsync(context, StatusCodes.Status400BadRequest, "invalid", answer.Reason);
            case IntakeOutcome.TooLarge:
                return SayAsync(context, StatusCodes.Status413PayloadTooLarge, "request too large", answer.Reason);
            case IntakeOutcome.TooMuch:
                return SayAsync(context, StatusCodes.Status429TooManyRequests, "too many requests", answer.Reason);
            case IntakeOutcome.Wait:
                return SayAsync(context, StatusCodes.Status503ServiceUnavailable, "unavailable", answer.Reason);
            case IntakeOutcome.Unauthorized:
                headers.WWWAuthenticate = "Token";
                return SayAsync(context, StatusCodes.Status401Unauthorized, "unauthorized", answer.Reason);
            default: throw new UnreachableException();
        }
    }

    // In the format of InfluxDB's errors, which its clients show.
    static Task SayAsync(HttpContext context, int status, string code, string message) => WriteAsync(
        context, status, $$"""{"code":"{{code}}","message":"{{JsonEncodedText.Encode(
            message, JavaScriptEncoder.UnsafeRelaxedJsonEscaping)}}"}""");

    static Task WriteAsync(HttpContext context, int status, string json)
    {
        var bytes = Encoding.UTF8.GetBytes(json + "\n");
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        context.Response.ContentLength = bytes.Length;
        return HttpMethods.IsHead(context.Request.Method)
            ? Task.CompletedTask
            : context.Response.Body.WriteAsync(bytes, context.RequestAborted).AsTask();
    }
}
