using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.EdgeHub;

/// <summary>What a connection is opened with.</summary>
/// <param name="Token">The password; null when <paramref name="ClientCertificate"/> proves who this is.</param>
/// <param name="Roots">The only roots to trust; null: the system's.</param>
/// <param name="ClientCertificate">Presented in the TLS handshake.</param>
/// <param name="Chain">The certificates between that one and its root.</param>
/// <param name="MadeAt">Monotonic time at which this was made.</param>
internal sealed record HubCredentials(
    SasToken? Token,
    X509Certificate2Collection? Roots,
    X509Certificate2? ClientCertificate,
    X509Certificate2Collection Chain,
    long MadeAt);

/// <summary>
/// Makes tokens and fetches roots. What is good is used again for the next connection, so that a line that comes and
/// goes does not need the workload API each time. Not thread-safe: used by the connection's loop alone.
/// </summary>
internal sealed class CredentialSource(
    EdgeIdentity identity, TimeSpan tokenLife, TimeProvider timeProvider, Random random)
    : IDisposable
{
    readonly WorkloadApi? _workload =
        identity.Workload is { } endpoint ? new(endpoint, timeProvider, random) : null;

    HubCredentials? _held;

    /// <summary>Credentials that are good for at least a fifth of a token's life.</summary>
    /// <exception cref="DialException">There are none to be had; the message says why.</exception>
    public async Task<HubCredentials> GetAsync(CancellationToken cancellationToken)
    {
        if (!identity.Tls.TryRead(out var tls, out var fault)) throw new DialException(DialFailure.Credentials, fault);
        if (_held is { Token: not null } held && RenewIn(held) > TimeSpan.Zero)
            return held with { Roots = tls.Roots ?? held.Roots };
        Forget();
        try
        {
            var made = timeProvider.GetTimestamp();
            var token = tls.Certificate is null ? await MakeTokenAsync(cancellationToken) : null;
            var roots = tls.Roots ?? await GetBundleAsync(cancellationToken);
            return _held = new(token, roots, tls.Certificate, tls.Chain, made);
        }
        catch (WorkloadApiException exception)
        {
            throw new DialException(DialFailure.Credentials, exception.Message, exception);
        }
    }

    /// <summary>How long a connection may go on with these before it is renewed.</summary>
    public TimeSpan RenewIn(HubCredentials credentials) => credentials.Token is null
        ? Timeout.InfiniteTimeSpan
        : (tokenLife * HubOptions.RenewAt) - timeProvider.GetElapsedTime(credentials.MadeAt);

    /// <summary>They were refused, or the clock that they were made with has stepped: the next ones are new.</summary>
    public void Forget() => _held = null;

    public void Dispose() => _workload?.Dispose();

    Task<SasToken> MakeTokenAsync(CancellationToken cancellationToken)
    {
        var sign = _workload is null ? SasToken.SignWith(identity.SharedAccessKey!.Value) : _workload.SignAsync;
        return SasToken.CreateAsync(
            SasToken.Audience(identity), timeProvider.GetUtcNow() + tokenLife, sign, cancellationToken);
    }

    /// <summary>The trust bundle of IoT Edge, or null for the system's roots.</summary>
    async Task<X509Certificate2Collection?> GetBundleAsync(CancellationToken cancellationToken) =>
        _workload is not null && identity.GatewayHostName is not null
            ? await _workload.GetTrustBundleAsync(cancellationToken)
            : null;
}
