using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace EdgeSimulator.Workload;

/// <summary>
/// The CA of this run and its server certificates, valid and faulty. In memory only: the module gets the CA from the
/// workload API's trust bundle or from a file in the run's temporary directory.
/// </summary>
internal sealed class ServerCertificates : IDisposable
{
    static readonly Oid ServerAuthentication = new("1.3.6.1.5.5.7.3.1");

    readonly X509Certificate2 _authority;

    public ServerCertificates(IPAddress address, TimeProvider time)
    {
        var now = time.GetUtcNow();
        _authority = MakeAuthority("EdgeSimulator CA", now);
        Valid = MakeServer(_authority, address, ["localhost"], now.AddHours(-1), now.AddDays(7));
        Expired = MakeServer(_authority, address, ["localhost"], now.AddHours(-20), now.AddHours(-1));
        OtherHost = MakeServer(_authority, null, ["other.example"], now.AddHours(-1), now.AddDays(7));
        using var stranger = MakeAuthority("Unknown CA", now);
        Untrusted = MakeServer(stranger, address, ["localhost"], now.AddHours(-1), now.AddDays(7));
    }

    public X509Certificate2 Valid { get; }

    public X509Certificate2 Expired { get; }

    public X509Certificate2 OtherHost { get; }

    public X509Certificate2 Untrusted { get; }

    /// <summary>The CA certificate as PEM, which the workload API returns as the trust bundle.</summary>
    public string TrustBundle => _authority.ExportCertificatePem() + "\n";

    public void Dispose()
    {
        _authority.Dispose();
        Valid.Dispose();
        Expired.Dispose();
        OtherHost.Dispose();
        Untrusted.Dispose();
    }

    static X509Certificate2 MakeAuthority(string name, DateTimeOffset now)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        return request.CreateSelfSigned(now.AddDays(-1), now.AddDays(8));
    }

    static X509Certificate2 MakeServer(
        X509Certificate2 authority, IPAddress? address, string[] names, DateTimeOffset from, DateTimeOffset to)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={names[0]}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([ServerAuthentication], false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(authority, true, false));
        var alternatives = new SubjectAlternativeNameBuilder();
        foreach (var name in names)
        {
            alternatives.AddDnsName(name);
        }

        if (address is not null)
        {
            alternatives.AddIpAddress(IPAddress.Loopback);
            alternatives.AddIpAddress(address);
        }

        request.CertificateExtensions.Add(alternatives.Build());
        using var signed = request.Create(authority, from, to, RandomNumberGenerator.GetBytes(16));
        return signed.CopyWithPrivateKey(key);
    }
}
