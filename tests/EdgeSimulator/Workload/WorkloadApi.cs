using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace EdgeSimulator.Workload;

/// <summary>The workload API of the IoT Edge security daemon on a Unix socket: sign, encrypt, decrypt, trust-bundle.
/// Not affected by blackouts.</summary>
/// <remarks>Every response has a Content-Length, since Microsoft's client cannot read chunked responses.</remarks>
internal sealed class WorkloadApi : IAsyncDisposable
{
    // The versions that iotedge 1.5 accepts (edgelet-http/src/version.rs).
    static readonly string[] ApiVersions =
    [
        "2018-06-28", "2019-01-30", "2019-10-22", "2019-11-05", "2020-07-07", "2021-12-07", "2022-08-03",
    ];

    // The daemon closes further connections without a response (edgelet-http/src/concurrency.rs).
    const int ConnectionsMax = 10;

    readonly ModuleIdentity _identity;
    readonly string _trustBundle;
    readonly FaultSwitches _faults;
    readonly WebApplication _app;

    public WorkloadApi(string socketPath, ModuleIdentity identity, string trustBundle, FaultSwitches faults)
    {
        _identity = identity;
        _trustBundle = trustBundle;
        _faults = faults;
        SocketPath = socketPath;
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.ListenUnixSocket(socketPath);
            options.Limits.MaxConcurrentConnections = ConnectionsMax;
        });
        _app = builder.Build();
        _app.Run(AnswerAsync);
    }

    public string SocketPath { get; }

    public Task StartAsync(CancellationToken cancellationToken) => _app.StartAsync(cancellationToken);

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    async Task AnswerAsync(HttpContext context)
    {
        var fault = _faults.Current;
        if (fault.WorkloadCloses)
        {
            context.Abort();
            return;
        }

        if (fault.WorkloadStatus != 0)
        {
            await WriteAsync(context, fault.WorkloadStatus, Message("fault workloadStatus")).ConfigureAwait(false);
            return;
        }

        var version = context.Request.Query["api-version"].ToString();
        if (!ApiVersions.Contains(version))
        {
            await WriteAsync(context, 400, Message($"api-version '{version}' is not one of {string.Join(", ", ApiVersions)}"))
                .ConfigureAwait(false);
            return;
        }

        var (status, body) = context.Request.Path.Value?.Split('/') switch
        {
            [_, "trust-bundle"] when context.Request.Method == "GET" => (200, new JsonObject { ["certificate"] = _trustBundle }),
            [_, "modules", var module, "genid", var generation, "sign"] when context.Request.Method == "POST" =>
                await SignAsync(context.Request, module, generation).ConfigureAwait(false),
            [_, "modules", var module, "genid", var generation, "encrypt" or "decrypt"] when context.Request.Method == "POST" =>
                await CryptAsync(context.Request, module, generation).ConfigureAwait(false),
            _ => (404, Message($"unknown endpoint: {context.Request.Method} {context.Request.Path}")),
        };
        await WriteAsync(context, status, body).ConfigureAwait(false);
    }

    async Task<(int Status, JsonObject Body)> SignAsync(HttpRequest request, string module, string generation)
    {
        // iotedge identifies the calling module by its pid; here the name suffices.
        if (module != _identity.ModuleId)
        {
            return (403, Message("forbidden"));
        }

        if (generation != _identity.GenerationId)
        {
            return (404, Message($"no module '{module}' with generation id '{generation}'"));
        }

        try
        {
            var body = await JsonNode.ParseAsync(request.Body, cancellationToken: request.HttpContext.RequestAborted).ConfigureAwait(false);
            var data = Convert.FromBase64String(body?["data"]?.GetValue<string>() ?? "");
            return data.Length == 0
                ? (400, Message("'data' is missing"))
                : (200, new JsonObject { ["digest"] = SasToken.Sign(_identity.Key, data) });
        }
        catch (Exception exception) when (exception is JsonException or FormatException or InvalidOperationException)
        {
            return (400, Message($"expected {{\"keyId\",\"algo\",\"data\":\"<Base64>\"}}: {exception.Message}"));
        }
    }

    // As in edgelet-http-workload/src/module/data: any generation is accepted, but the ciphertext is bound to it, and
    // every decryption failure is a 500. Unlike the daemon, which uses a persistent key of the device, the key is
    // derived from the module's key, so that a simulator with the same module key acts as the same device.
    async Task<(int Status, JsonObject Body)> CryptAsync(HttpRequest request, string module, string generation)
    {
        if (module != _identity.ModuleId)
        {
            return (403, Message("forbidden"));
        }

        try
        {
            var body = await JsonNode.ParseAsync(request.Body, cancellationToken: request.HttpContext.RequestAborted).ConfigureAwait(false);
            byte[] Field(string name) => Convert.FromBase64String(
                body?[name]?.GetValue<string>() ?? throw new FormatException($"'{name}' is missing"));
            var nonce = Field("initializationVector");
            var bound = Encoding.UTF8.GetBytes(module + generation);
            const int TagBytes = 16;
            using var cipher = new AesGcm(SHA256.HashData(_identity.Key), TagBytes);
            if (request.Path.Value!.EndsWith("/encrypt", StringComparison.Ordinal))
            {
                var plain = Field("plaintext");
                var sealedBytes = new byte[plain.Length + TagBytes];
                cipher.Encrypt(nonce, plain, sealedBytes.AsSpan(TagBytes), sealedBytes.AsSpan(0, TagBytes), bound);
                return (200, new JsonObject { ["ciphertext"] = Convert.ToBase64String(sealedBytes) });
            }

            var stored = Field("ciphertext");
            var opened = new byte[Math.Max(0, stored.Length - TagBytes)];
            cipher.Decrypt(nonce, stored.AsSpan(TagBytes), stored.AsSpan(0, TagBytes), opened, bound);
            return (200, new JsonObject { ["plaintext"] = Convert.ToBase64String(opened) });
        }
        catch (Exception exception) when (exception is JsonException or FormatException or InvalidOperationException)
        {
            return (400, Message($"invalid body: {exception.Message}"));
        }
        catch (Exception exception) when (exception is CryptographicException or ArgumentException)
        {
            return (500, Message($"decryption failed: {exception.Message}"));
        }
    }

    static JsonObject Message(string text) => new() { ["message"] = text };

    static async Task WriteAsync(HttpContext context, int status, JsonObject body)
    {
        var bytes = Encoding.UTF8.GetBytes(body.ToJsonString());
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        context.Response.ContentLength = bytes.Length;
        await context.Response.Body.WriteAsync(bytes, context.RequestAborted).ConfigureAwait(false);
    }
}
