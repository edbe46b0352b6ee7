using System.Net;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Tests.Support;

/// <summary>A web server on a free loopback port that does with each request what the test says.</summary>
internal sealed class Receiver : IAsyncDisposable
{
    readonly WebApplication _app;
    int _requests;

    Receiver(WebApplication app) => _app = app;

    public int Requests => Volatile.Read(ref _requests);

    public Uri Url => new($"{_app.Urls.First()}/telemetry");

    /// <param name="answer">What it does.</param>
    /// <param name="certificate">Makes it https.</param>
    /// <param name="asksForClient">Asks for a certificate of the client, and takes any.</param>
    /// <param name="protocols">Without a certificate it has to be one of them.</param>
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

    /// <param name="answer">What it does.</param>
    /// <param name="prepare">What becomes of connections.</param>
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
