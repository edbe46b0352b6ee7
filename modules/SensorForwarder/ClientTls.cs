using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder;

/// <summary>Whom a client trusts in TLS, and what it shows of itself. Boot values, since a key is a secret.</summary>
internal sealed record ClientTls
{
    /// <summary>The only roots that a server's certificate may end in; null: those of the system.</summary>
    public X509Certificate2Collection? Roots { get; init; }

    /// <summary>The certificate, with its key, that is shown to a server; null: none.</summary>
    public X509Certificate2? Certificate { get; init; }

    /// <summary>What stands between that certificate and its root.</summary>
    public X509Certificate2Collection Chain { get; init; } = [];

    public SslClientAuthenticationOptions ToOptions()
    {
        var options = new SslClientAuthenticationOptions();
        if (Roots is { } roots)
        {
            options.CertificateChainPolicy = new()
            {
                RevocationMode = X509RevocationMode.NoCheck,
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                DisableCertificateDownloads = true,
            };
            options.CertificateChainPolicy.CustomTrustStore.AddRange(roots);
        }

        if (Certificate is { } certificate)
            options.ClientCertificateContext = SslStreamCertificateContext.Create(certificate, Chain, offline: true);
        return options;
    }
}
