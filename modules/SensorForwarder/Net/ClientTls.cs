using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.Net;

/// <summary>The roots that a TLS client trusts, and the certificate that it presents: the content of
/// <see cref="TlsFiles"/> at one time. Immutable; contains a private key.</summary>
internal sealed class ClientTls
{
    /// <summary>The only roots to trust; null: the system's.</summary>
    public X509Certificate2Collection? Roots { get; init; }

    /// <summary>The certificate to present, with its key; null: none.</summary>
    public X509Certificate2? Certificate { get; init; }

    /// <summary>The certificates between <see cref="Certificate"/> and its root.</summary>
    public X509Certificate2Collection Chain { get; init; } = [];

    /// <summary>The presented certificate that expires first; null: none is presented.</summary>
    public X509Certificate2? FirstToExpire =>
        Certificate is null ? null : Chain.Prepend(Certificate).MinBy(certificate => certificate.NotAfter);

    /// <summary>A copy that presents no certificate.</summary>
    public ClientTls WithoutCertificate() => new() { Roots = Roots };

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
