using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations.Status;

/// <summary>Serves the JSON of <c>/healthz</c> on a Unix socket in the buffer's directory, for the container's health
/// check: each client is sent the JSON and disconnected. Clients of the web port can't block it. Without the socket,
/// the health check asks the port.</summary>
internal sealed class HealthSocket(
    BootOptions boot, Health health, TimeProvider timeProvider, ILogger<HealthSocket> logger)
    : BackgroundService
{
    static readonly TimeSpan AskTimeout = TimeSpan.FromSeconds(5);

    /// <summary>The answer of the running module; empty: none within 5 s; null: no module listens on the socket.
    /// </summary>
    public static Task<byte[]?> AskAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken) =>
        LocalSocket.AskAsync(PathOf(boot), default, AskTimeout, timeProvider, cancellationToken);

    // The report fits into the socket's buffer, so a client that does not read delays no other.
    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        new LocalSocket(PathOf(boot), timeProvider, logger) { MaxRequestBytes = 0 }
            .ServeAsync((_, _) => Task.FromResult<byte[]?>(health.Live().ToJson()), stoppingToken);

    static string PathOf(BootOptions boot) => Path.Combine(boot.BufferDirectory, "health.sock");
}
