using System.IO.Compression;
using System.Net;
using System.Text;
using EdgeSimulator.Accounting;
using EdgeSimulator.Faults;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace EdgeSimulator.Http;

/// <summary>The HTTP receiver: accepts batches by POST and responds with 200 once they are counted. Affected by
/// blackouts like edgeHub.</summary>
internal sealed class TelemetryEndpoint : IAsyncDisposable
{
    public const string Path = "/telemetry";

    const int BodyMaxBytes = 32 * 1024 * 1024;

    readonly Ledger _ledger;
    readonly RecentMessages _recent;
    readonly FaultSwitches _faults;
    readonly TimeProvider _time;
    readonly MessageCheck? _check;
    readonly CuttableTransport _transport = new();
    readonly WebApplication _app;
    volatile string _lastCause = Causes.ConnectionLost;

    public TelemetryEndpoint(Ledger ledger, RecentMessages recent, FaultSwitches faults, TimeProvider time, MessageCheck? check = null)
    {
        _ledger = ledger;
        _recent = recent;
        _faults = faults;
        _time = time;
        _check = check;
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.Limits.MaxRequestBodySize = BodyMaxBytes;
            options.Listen(IPAddress.Loopback, 0);
        });
        builder.Services.AddSingleton<IConnectionListenerFactory>(_transport);
        _app = builder.Build();
        _app.Run(AnswerAsync);
        faults.Changed += OnFaultsChanged;
    }

    public string Url => $"http://{_transport.EndPoint}{Path}";

    public Task StartAsync(CancellationToken cancellationToken) => _app.StartAsync(cancellationToken);

    /// <summary>Resets all connections. The cause explains duplicates of requests in flight.</summary>
    public void Cut(string cause)
    {
        _lastCause = cause;
        _transport.Listener.CutAll();
        _ledger.Interrupted(cause);
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    void OnFaultsChanged(FaultSettings before, FaultSettings after)
    {
        if (after.Blackout && !before.Blackout)
        {
            _lastCause = Causes.Blackout;
            _transport.Listener.Close();
            _ledger.Interrupted(Causes.Blackout);
        }
        else if (before.Blackout && !after.Blackout)
        {
            _transport.Listener.Open();
        }
    }

    async Task AnswerAsync(HttpContext context)
    {
        var request = context.Request;
        if (request.Path != Path)
        {
            await RefuseAsync(context, 404, $"unknown path {request.Path}; use {Path}").ConfigureAwait(false);
            return;
        }

        if (request.Method != HttpMethods.Post)
        {
            await RefuseAsync(context, 405, $"{request.Method} is not allowed; use POST").ConfigureAwait(false);
            return;
        }

        if (_faults.Current is { HttpStatus: not 0 } fault)
        {
            if (fault.HttpRetryAfterSeconds > 0)
            {
                context.Response.Headers.RetryAfter = fault.HttpRetryAfterSeconds.ToString(System.Globalization.CultureInfo.InvariantCulture);
            }

            await RefuseAsync(context, fault.HttpStatus, "refused by the fault httpStatus").ConfigureAwait(false);
            return;
        }

        if (await ReadAsync(context).ConfigureAwait(false) is { } body)
        {
            await TakeAsync(context, body).ConfigureAwait(false);
        }
    }

    async Task TakeAsync(HttpContext context, byte[] body)
    {
        _check?.Check(body, "HTTP request");
        var receipt = _ledger.Record(body, out var problem);
        _recent.Add("http", "", "", Headers(context.Request), body);
        if (receipt is null)
        {
            await RefuseAsync(context, 400, problem!).ConfigureAwait(false);
            return;
        }

        var connection = context.Connection;
        var remote = new IPEndPoint(connection.RemoteIpAddress!, connection.RemotePort);
        if (_faults.Current is { LatencyMilliseconds: > 0 and var latency })
        {
            await Task.Delay(TimeSpan.FromMilliseconds(latency), _time, context.RequestAborted)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        // The response to a request read just before a reset does not arrive.
        if (!_transport.Listener.IsOpen(remote))
        {
            _ledger.Explain(_lastCause, receipt);
        }

        receipt.Acknowledge();
        context.Response.ContentLength = 0;
        await context.Response.StartAsync(CancellationToken.None).ConfigureAwait(false);
        if (context.RequestAborted.IsCancellationRequested)
        {
            _ledger.Explain(_transport.Listener.IsOpen(remote) ? Causes.HttpAborted : _lastCause, receipt);
        }
    }

    /// <summary>The decompressed body. Null if the request was refused or ended early.</summary>
    static async Task<byte[]?> ReadAsync(HttpContext context)
    {
        var encoding = context.Request.Headers.ContentEncoding.ToString();
        if (encoding is not ("" or "identity" or "gzip"))
        {
            await RefuseAsync(context, 415, $"Content-Encoding '{encoding}': expected gzip").ConfigureAwait(false);
            return null;
        }

        try
        {
            using var body = new MemoryStream();
            if (encoding == "gzip")
            {
                await using var unpacked = new GZipStream(context.Request.Body, CompressionMode.Decompress);
                await unpacked.CopyToAsync(body, context.RequestAborted).ConfigureAwait(false);
            }
            else
            {
                await context.Request.Body.CopyToAsync(body, context.RequestAborted).ConfigureAwait(false);
            }

            return body.ToArray();
        }
        catch (InvalidDataException exception)
        {
            await RefuseAsync(context, 400, $"the body is not gzip: {exception.Message}").ConfigureAwait(false);
            return null;
        }
        catch (BadHttpRequestException exception)
        {
            await RefuseAsync(context, exception.StatusCode, exception.Message).ConfigureAwait(false);
            return null;
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException)
        {
            return null;
        }
    }

    static Dictionary<string, string?> Headers(HttpRequest request) =>
        request.Headers.ToDictionary(header => header.Key, header => (string?)header.Value.ToString());

    static async Task RefuseAsync(HttpContext context, int status, string detail)
    {
        var bytes = Encoding.UTF8.GetBytes(detail + "\n");
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain; charset=utf-8";
        context.Response.ContentLength = bytes.Length;
        await context.Response.Body.WriteAsync(bytes, CancellationToken.None).ConfigureAwait(false);
    }
}
