using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Accounting;
using EdgeSimulator.Hub;
using EdgeSimulator.Twins;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace EdgeSimulator.Api;

/// <summary>IoT Hub's REST API for people and scripts, on a loopback port: twin, methods, messages, faults,
/// report.</summary>
internal sealed class RestApi : IAsyncDisposable
{
    static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    const string Overview = """
        GET   /twins/{device}/modules/{module}          the module twin
        PATCH /twins/{device}/modules/{module}          {"properties":{"desired":{"batchSize":5}}}
        POST  /twins/{device}/modules/{module}/methods  {"methodName":"getStatus","payload":null,"responseTimeoutInSeconds":30}
        POST  /api/v1/messages                          {"inputName":"in","data":"text"}: sends a message to an input
        GET   /messages?after=NUMBER                    the newest messages, with properties and body
        GET   /faults                                   all faults and their current values
        POST  /faults                                   {"blackout":true} and so on; {"reset":true}, {"cut":true}, {"kill":true},
                                                        {"restartHub":true}, {"loseOne":true}
        GET   /report                                   the report so far

        """;

    readonly ModuleIdentity _identity;
    readonly ModuleTwin _twin;
    readonly MethodCalls _methods;
    readonly InputEndpoint _inputs;
    readonly RecentMessages _recent;
    readonly FaultCommands _faults;
    readonly Func<string> _report;
    readonly WebApplication _app;

    public RestApi(
        int port, ModuleIdentity identity, ModuleTwin twin, MethodCalls methods, InputEndpoint inputs, RecentMessages recent,
        FaultCommands faults, Func<string> report)
    {
        _identity = identity;
        _twin = twin;
        _methods = methods;
        _inputs = inputs;
        _recent = recent;
        _faults = faults;
        _report = report;
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options => options.Listen(IPAddress.Loopback, port));
        _app = builder.Build();
        _app.Use(WriteProblemsAsync);
        _app.UseRouting();
        _app.MapGet("/", context => WriteAsync(context, 200, "text/plain; charset=utf-8", Overview));
        _app.MapGet("/twins/{device}/modules/{module}", GetTwinAsync);
        _app.MapPatch("/twins/{device}/modules/{module}", PatchTwinAsync);
        _app.MapPost("/twins/{device}/modules/{module}/methods", InvokeMethodAsync);
        _app.MapPost("/api/v1/messages", PostInputAsync);
        _app.MapGet("/messages", GetMessagesAsync);
        _app.MapGet("/faults", context => WriteAsync(context, 200, _faults.Describe()));
        _app.MapPost("/faults", PostFaultsAsync);
        _app.MapGet("/report", context => WriteAsync(context, 200, "application/json; charset=utf-8", _report()));
        _app.MapFallback(context => throw new Problem(404, "Not Found", $"no such endpoint: {context.Request.Method} {context.Request.Path}; GET / lists them"));
    }

    public string Url => _app.Urls.First();

    public Task StartAsync(CancellationToken cancellationToken) => _app.StartAsync(cancellationToken);

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    static async Task WriteProblemsAsync(HttpContext context, RequestDelegate next)
    {
        try
        {
            await next(context).ConfigureAwait(false);
        }
        catch (Problem problem)
        {
            var document = new JsonObject
            {
                ["type"] = "about:blank",
                ["title"] = problem.Title,
                ["status"] = problem.Status,
                ["detail"] = problem.Message,
            };
            await WriteAsync(context, problem.Status, "application/problem+json; charset=utf-8", document.ToJsonString(Json) + "\n").ConfigureAwait(false);
        }
    }

    Task GetTwinAsync(HttpContext context)
    {
        RequireModule(context);
        return WriteAsync(context, 200, Twin());
    }

    async Task PatchTwinAsync(HttpContext context)
    {
        RequireModule(context);
        var body = await ReadAsync(context).ConfigureAwait(false);
        if (body["properties"] is not JsonObject properties || properties["desired"] is not JsonObject desired)
        {
            throw Problem.BadRequest("""the body must be {"properties":{"desired":{...}}}""");
        }

        _twin.PatchDesired(desired);
        await WriteAsync(context, 200, Twin()).ConfigureAwait(false);
    }

    async Task InvokeMethodAsync(HttpContext context)
    {
        RequireModule(context);
        var body = await ReadAsync(context).ConfigureAwait(false);
        await WriteAsync(context, 200, await _methods.InvokeAsync(body, context.RequestAborted).ConfigureAwait(false)).ConfigureAwait(false);
    }

    /// <summary>Works like iotedgehubdev's endpoint for input messages. The sender is a module named input.</summary>
    async Task PostInputAsync(HttpContext context)
    {
        var body = await ReadAsync(context).ConfigureAwait(false);
        if (body["inputName"] is not JsonValue name || !name.TryGetValue<string>(out var input) || input.Length == 0 ||
            input.AsSpan().IndexOfAny('/', '+', '#') >= 0)
        {
            throw Problem.BadRequest("inputName: expected a name without / + #");
        }

        var data = body["data"] is JsonValue value && value.TryGetValue<string>(out var text) ? text : body["data"]?.ToJsonString() ?? "";
        if (!_inputs.TryEnqueue(input, [], _identity.DeviceId, "input", Encoding.UTF8.GetBytes(data)))
        {
            throw new Problem(503, "Service Unavailable", $"{InputEndpoint.WaitingMax} messages are already queued");
        }

        await WriteAsync(context, 202, new JsonObject { ["inputName"] = input }).ConfigureAwait(false);
    }

    Task GetMessagesAsync(HttpContext context)
    {
        var text = context.Request.Query["after"].ToString();
        var after = 0L;
        if (text.Length > 0 && !long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out after))
        {
            throw Problem.BadRequest($"after: '{text}' is not a message number");
        }

        var messages = new JsonArray([.. _recent.After(after).Select(MessageJson.Of)]);
        return WriteAsync(context, 200, new JsonObject { ["messages"] = messages });
    }

    async Task PostFaultsAsync(HttpContext context)
    {
        _faults.Apply(await ReadAsync(context).ConfigureAwait(false));
        await WriteAsync(context, 200, _faults.Describe()).ConfigureAwait(false);
    }

    JsonObject Twin() => new()
    {
        ["deviceId"] = _identity.DeviceId,
        ["moduleId"] = _identity.ModuleId,
        ["modelId"] = _twin.ModelId,
        ["properties"] = _twin.Document(),
    };

    void RequireModule(HttpContext context)
    {
        var (device, module) = ((string?)context.Request.RouteValues["device"], (string?)context.Request.RouteValues["module"]);
        if (device != _identity.DeviceId || module != _identity.ModuleId)
        {
            throw new Problem(
                404, "Not Found",
                $"no module '{module}' of '{device}'; use /twins/{_identity.DeviceId}/modules/{_identity.ModuleId}");
        }
    }

    static async Task<JsonObject> ReadAsync(HttpContext context)
    {
        try
        {
            return await JsonNode.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted).ConfigureAwait(false)
                as JsonObject ?? throw Problem.BadRequest("the body is not a JSON object");
        }
        catch (JsonException exception)
        {
            throw Problem.BadRequest($"the body is not JSON: {exception.Message}");
        }
    }

    static Task WriteAsync(HttpContext context, int status, JsonNode body) =>
        WriteAsync(context, status, "application/json; charset=utf-8", body.ToJsonString(Json) + "\n");

    static async Task WriteAsync(HttpContext context, int status, string contentType, string body)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = contentType;
        await context.Response.WriteAsync(body, context.RequestAborted).ConfigureAwait(false);
    }
}
