using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using SensorForwarder.Net;

namespace SensorForwarder.Tests.Support;

/// <summary>A test's certificate authority. Issues certificates and writes them to files.</summary>
internal sealed class Certificates : IDisposable
{
    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("certificates-");
    readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    readonly DateTimeOffset _from = TimeProvider.System.GetUtcNow().AddDays(-1);

    public Certificates(string name = "test root")
    {
        var request = new CertificateRequest($"CN={name}", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        Root = request.CreateSelfSigned(_from, _from.AddDays(10));
    }

    public X509Certificate2 Root { get; }

    /// <summary>Boot values for a sink that trusts only this authority.</summary>
    /// <param name="client">The sink's client certificate. Null: none.</param>
    public TlsFiles Files(X509Certificate2? client = null) => new()
    {
        Roots = Save("Http__CaFile", Pem(Root)),
        Certificate = client is null ? null : Save("Http__ClientCertificateFile", Pem(client)),
        Key = client is null ? null : Save("Http__ClientKeyFile", KeyPem(client)),
    };

    NamedFile Save(string variable, string text)
    {
        var path = Path.Combine(_directory.FullName, $"{variable}.pem");
        File.WriteAllText(path, text);
        return new(variable, path);
    }

    /// <summary>Issues a certificate.</summary>
    /// <param name="name">The host name. Null: 127.0.0.1.</param>
    /// <param name="isExpired">Whether the certificate has expired.</param>
    /// <param name="days">Validity from yesterday on; at most 10.</param>
    public X509Certificate2 Issue(string? name = null, bool isExpired = false, int days = 5)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var until = isExpired ? _from.AddHours(1) : _from.AddDays(days);
        using var bare = Request(name, key).Create(Root, _from, until, RandomNumberGenerator.GetBytes(8));
        return bare.CopyWithPrivateKey(key);
    }

    /// <summary>A certificate and its intermediates as PEM.</summary>
    public static string Pem(params X509Certificate2[] certificates) =>
        string.Join('\n', certificates.Select(certificate => certificate.ExportCertificatePem())) + "\n";

    public static string KeyPem(X509Certificate2 certificate) =>
        certificate.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem() + "\n";

    /// <summary>Issues a self-signed certificate for 127.0.0.1.</summary>
    public X509Certificate2 IssueToItself() => Request(null, _key).CreateSelfSigned(_from, _from.AddDays(5));

    static CertificateRequest Request(string? name, ECDsa key)
    {
        var request = new CertificateRequest($"CN={name ?? "127.0.0.1"}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        if (name is null) names.AddIpAddress(IPAddress.Loopback);
        else names.AddDnsName(name);
        request.CertificateExtensions.Add(names.Build());
        return request;
    }

    public void Dispose()
    {
        Root.Dispose();
        _key.Dispose();
        _directory.Delete(recursive: true);
    }
}
