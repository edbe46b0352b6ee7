using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.EdgeHub;

/// <summary>What a connection is opened with.</summary>
/// <param name="Token">The password; null when <paramref name="ClientCertificate"/> proves who this is.</param>
/// <param name="Roots">The only roots to trust; null: the system's.</param>
/// <param name="ClientCertificate">Shown in the TLS handshake.</param>
/// <param name="MadeAt">Monotonic time at which this was made.</param>
internal sealed record HubCredentials(
    SasToken? Token, X509Certificate2Collection? Roots, X509Certificate2? ClientCertificate, long MadeAt);

/// <summary>
/// Makes tokens and fetches roots. What is good is used again for the next connection, so that a line that comes and
/// goes does not need the workload API each time. Not thread-safe: used by the connection's loop alone.
/// </summary>
internal sealed class CredentialSource(EdgeIdentity identity, TimeSpan tokenLife, TimeProvider timeProvider, Random random)
    : IDisposable
{
    readonly WorkloadApi? _workload =
        identity.Workload is { } endpoint ? new(endpoint, timeProvider, random) : null;

    HubCredentials? _held;

    /// <summary>Credentials that are good for at least a fifth of a token's life.</summary>
    /// <exception cref="DialException">There are none to be had; the message says why.</exception>
    public async Task<HubCredentials> GetAsync(CancellationToken cancellationToken)
    {
        if (_held is { Token: not null } held && RenewIn(held) > TimeSpan.Zero) return held;
        Forget();
        try
        {
            var made = timeProvider.GetTimestamp();
            var certificate = ReadClientCertificate();
            var token = certificate is null ? await MakeTokenAsync(cancellationToken) : null;
            return _held = new(token, await GetRootsAsync(cancellationToken), certificate, made);
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
    public void Forget()
    {
        _held?.ClientCertificate?.Dispose();
        _held = null;
    }

    public void Dispose()
    {
        Forget();
        _workload?.Dispose();
    }

    Task<SasToken> MakeTokenAsync(CancellationToken cancellationToken)
    {
        var sign = _workload is null ? SasToken.SignWith(identity.SharedAccessKey!.Value) : _workload.SignAsync;
        return SasToken.CreateAsync(
            SasToken.Audience(identity), timeProvider.GetUtcNow() + tokenLife, sign, cancellationToken);
    }

    /// <summary>The only roots to trust, or null for the system's.</summary>
    async Task<X509Certificate2Collection?> GetRootsAsync(CancellationToken cancellationToken)
    {
        if (identity.TrustedCaFile is not { } path)
        {
            return _workload is not null && identity.GatewayHostName is not null
                ? await _workload.GetTrustBundleAsync(cancellationToken)
                : null;
        }

        try
        {
            var roots = new X509Certificate2Collection();
            roots.ImportFromPemFile(path);
            return roots.Count > 0 ? roots : [X509CertificateLoader.LoadCertificateFromFile(path)];
        }
        catch (Exception exception) when (IsUnreadable(exception))
        {
            throw new DialException(DialFailure.Credentials,
                $"EdgeModuleCACertificateFile: '{path}' can't be read as a certificate: {LogText.Clean(exception.Message)}", exception);
        }
    }

    X509Certificate2? ReadClientCertificate()
    {
        if (identity.ClientCertificateFile is not { } path) return null;
        try
        {
            return X509Certificate2.CreateFromPemFile(path, identity.ClientKeyFile ?? path);
        }
        catch (Exception exception) when (IsUnreadable(exception))
        {
            throw new DialException(DialFailure.Credentials,
                $"EdgeHub__ClientCertificateFile, EdgeHub__ClientKeyFile: '{path}' and '{identity.ClientKeyFile ?? path}' can't be "
                + $"read as a PEM certificate with its key: {LogText.Clean(exception.Message)}", exception);
        }
    }

    static bool IsUnreadable(Exception exception) =>
        exception is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException;
}
