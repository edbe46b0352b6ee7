using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.Net;

/// <summary>Which servers a client trusts in TLS, and the certificate that it presents: the content of
/// <see cref="TlsFiles"/> at one time. Immutable; secret, since it has a key.</summary>
internal sealed class ClientTls
{
    /// <summary>The only roots that a server's certificate may end in; null: those of the system.</summary>
    public X509Certificate2Collection? Roots { get; init; }

    /// <summary>The certificate, with its key, that is presented to a server; null: none.</summary>
    public X509Certificate2? Certificate { get; init; }

    /// <summary>The certificates between that one and its root.</summary>
    public X509Certificate2Collection Chain { get; init; } = [];

    /// <summary>Of the certificates that are presented the one that expires first; null when none is.</summary>
    public X509Certificate2? FirstToExpire =>
        Certificate is null ? null : Chain.Prepend(Certificate).MinBy(certificate => certificate.NotAfter);

    /// <summary>The same, presenting no certificate.</summary>
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
