using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.Tests.Support;

/// <summary>A certificate authority of a test, and what it issues.</summary>
internal sealed class Certificates : IDisposable
{
    readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    readonly DateTimeOffset _from = TimeProvider.System.GetUtcNow().AddDays(-1);

    public Certificates(string name = "test root")
    {
        var request = new CertificateRequest($"CN={name}", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        Root = request.CreateSelfSigned(_from, _from.AddDays(10));
    }

    public X509Certificate2 Root { get; }

    /// <summary>One for 127.0.0.1, or for the name.</summary>
    public X509Certificate2 Issue(string? name = null, bool isExpired = false)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var until = isExpired ? _from.AddHours(1) : _from.AddDays(5);
        using var bare = Request(name, key).Create(Root, _from, until, RandomNumberGenerator.GetBytes(8));
        return bare.CopyWithPrivateKey(key);
    }

    /// <summary>One for 127.0.0.1 that nobody vouches for.</summary>
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
    }
}
