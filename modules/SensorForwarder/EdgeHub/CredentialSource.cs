using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.EdgeHub;

/// <summary>The credentials of one connection. Immutable.</summary>
/// <param name="Token">The password; null: <paramref name="ClientCertificate"/> proves the identity.</param>
/// <param name="Roots">The only roots to trust; null: the system's.</param>
/// <param name="ClientCertificate">Presented in the TLS handshake.</param>
/// <param name="Chain">The certificates between the client certificate and its root.</param>
/// <param name="MadeAt">Monotonic time at which the credentials were made.</param>
internal sealed record HubCredentials(
    SasToken? Token,
    X509Certificate2Collection? Roots,
    X509Certificate2? ClientCertificate,
    X509Certificate2Collection Chain,
    long MadeAt);

/// <summary>
/// Makes tokens and fetches roots. Valid credentials are reused for the next connection: an unstable line must not
/// cause a call of the workload API each time. Not thread-safe: used by the connection's loop only.
/// </summary>
internal sealed class CredentialSource(
    EdgeIdentity identity, TimeSpan tokenLife, TimeProvider timeProvider, Random random)
    : IDisposable
{
    readonly WorkloadApi? _workload =
        identity.Workload is { } endpoint ? new(endpoint, timeProvider, random) : null;

    HubCredentials? _held;

    /// <summary>Credentials that are valid for at least a fifth of a token's life.</summary>
    /// <exception cref="DialException">A file or the workload API failed; the message says why.</exception>
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

    /// <summary>Time until a connection with these credentials must be renewed.</summary>
    public TimeSpan RenewIn(HubCredentials credentials) => credentials.Token is null
        ? Timeout.InfiniteTimeSpan
        : (tokenLife * HubOptions.RenewAt) - timeProvider.GetElapsedTime(credentials.MadeAt);

    /// <summary>Discards the credentials, after they were refused or the clock stepped.</summary>
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
