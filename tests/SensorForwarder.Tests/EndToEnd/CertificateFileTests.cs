using System.Collections.Concurrent;
using Microsoft.AspNetCore.Http;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module as a process whose certificate and key files are created after its start and renewed while it runs.</summary>
public sealed class CertificateFileTests : IDisposable
{
    const string Settings =
        """{"batchSize":1,"commitIntervalMs":0,"sensors":{"attic":{"kind":"simulated","intervalSeconds":0.1}}}""";

    readonly RenewedCertificates _tls = new();
    readonly ConcurrentQueue<string> _clients = [];

    public void Dispose() => _tls.Dispose();

    Task<Receiver> ListenAsync() => _tls.ListenAsync(async context =>
    {
        var certificate = context.Connection.ClientCertificate!;
        _clients.Enqueue($"{certificate.Subject} of {certificate.Issuer}");
        if (context.Request.ContentType != "application/grpc") return;
        context.Response.ContentType = "application/grpc";
        context.Response.AppendTrailer("grpc-status", "0");
        await context.Response.Body.WriteAsync(new byte[5]);
    });

    (string, string)[] OtlpVariables(Receiver collector) =>
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", $"https://{collector.Url.Authority}"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", _tls.CaFile),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", _tls.CertificateFile),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", _tls.KeyFile),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
    ];

    [Theory]
    [InlineData("http", Explicit = true)]
    [InlineData("OTLP", Explicit = true)]
    public async Task Missing_certificate_files_are_logged_once_and_used_once_they_exist_and_again_after_a_renewal(string sink)
    {
        await using var receiver = await ListenAsync();
        await using var web = await WebProcess.StartAsync(
            Settings,
            sink == "http" ? [("Http__Endpoint", receiver.Url.ToString()), .. _tls.HttpVariables] : OtlpVariables(receiver));
        await web.Module.LineAsync($"'{_tls.CaFile}' does not exist");
        await web.Module.LineAsync(sink == "http" ? "did not accept batch" : "by OTLP: ");

        _tls.Write("pi-7");
        await Until.True(() => _clients.Contains("CN=pi-7 of CN=root 1"));
        _tls.ReplaceAuthority();
        _tls.Write("pi-7 renewed", Replacement.Rename);
        await Until.True(() => _clients.Contains("CN=pi-7 renewed of CN=root 2"));
        Assert.Equal(0, await web.Module.StopAsync());
        Assert.Single(web.Module.Lines, line => line.Contains("does not exist. No connection is made without it", StringComparison.Ordinal));
    }
}
