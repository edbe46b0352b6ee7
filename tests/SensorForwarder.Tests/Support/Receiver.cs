using System.Net;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Tests.Support;

/// <summary>A web server on a free loopback port whose request handler is given by the test.</summary>
internal sealed class Receiver : IAsyncDisposable
{
    readonly WebApplication _app;
    int _requests;

    Receiver(WebApplication app) => _app = app;

    public int Requests => Volatile.Read(ref _requests);

    public Uri Url => new($"{_app.Urls.First()}/telemetry");

    /// <param name="answer">Handles requests.</param>
    /// <param name="certificate">The server certificate. Null: HTTP without TLS.</param>
    /// <param name="asksForClient">Requires a client certificate and accepts any.</param>
    /// <param name="protocols">Allowed protocols; exactly one without TLS.</param>
    public static Task<Receiver> StartAsync(
        RequestDelegate answer, X509Certificate2? certificate = null, bool asksForClient = false, HttpProtocols protocols = HttpProtocols.Http1AndHttp2) =>
        StartAsync(answer, listen =>
        {
            listen.Protocols = protocols;
            if (certificate is null) return;
            listen.UseHttps(certificate, https =>
            {
                https.ClientCertificateMode = asksForClient ? ClientCertificateMode.RequireCertificate : ClientCertificateMode.NoCertificate;
                https.AllowAnyClientCertificate();
            });
        });

    /// <param name="answer">Handles requests.</param>
    /// <param name="prepare">Configures the listener.</param>
    public static async Task<Receiver> StartAsync(RequestDelegate answer, Action<ListenOptions> prepare)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, prepare));
        var app = builder.Build();
        var receiver = new Receiver(app);
        app.Run(context =>
        {
            Interlocked.Increment(ref receiver._requests);
            return answer(context);
        });
        await app.StartAsync(TestContext.Current.CancellationToken);
        return receiver;
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
