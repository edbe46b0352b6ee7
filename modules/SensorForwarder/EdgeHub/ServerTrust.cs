using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Validates the server's certificate in one TLS handshake: the host name must match, and the chain must end in one of
/// the given roots (gateway: only the trust bundle) or of the system's roots (IoT Hub). Writes nothing to a certificate
/// store. Explains a rejection, and recognises when this machine's clock may be the cause.
/// </summary>
internal sealed class ServerTrust(string host, X509Certificate2Collection? roots, TimeProvider timeProvider)
{
    static readonly Oid ServerAuthentication = new("1.3.6.1.5.5.7.3.1");

    /// <summary>Called when the certificate is accepted.</summary>
    public Action? Accepted { get; set; }

    /// <summary>Why the certificate was rejected; null: it was accepted, or not received yet.</summary>
    public DialException? Objection { get; private set; }

    /// <summary>The callback of the TLS handshake. Does not throw.</summary>
    public bool Validate(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        Objection = Examine(certificate, chain, errors);
        if (Objection is null) Accepted?.Invoke();
        return Objection is null;
    }

    DialException? Examine(X509Certificate? certificate, X509Chain? sent, SslPolicyErrors errors)
    {
        if (certificate is null || errors.HasFlag(SslPolicyErrors.RemoteCertificateNotAvailable))
            return new(DialFailure.Untrusted, $"{host} presented no certificate");

        using var leaf = new X509Certificate2(certificate);
        if (errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch))
        {
            return new(DialFailure.Untrusted, $"the certificate of {host} is issued to "
                + $"'{LogText.Clean(leaf.GetNameInfo(X509NameType.DnsName, forIssuer: false))}', not to {host}");
        }

        var now = timeProvider.GetUtcNow();
        using var chain = new X509Chain();
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.VerificationTime = now.LocalDateTime;
        chain.ChainPolicy.ApplicationPolicy.Add(ServerAuthentication);
        if (sent is not null) chain.ChainPolicy.ExtraStore.AddRange(sent.ChainPolicy.ExtraStore);
        if (roots is not null)
        {
            chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            chain.ChainPolicy.CustomTrustStore.AddRange(roots);
            chain.ChainPolicy.DisableCertificateDownloads = true;
        }

        if (chain.Build(leaf)) return null;
        if (chain.ChainElements.FirstOrDefault(element =>
            element.ChainElementStatus.Any(
                status => status.Status == X509ChainStatusFlags.NotTimeValid)) is { } element)
        {
            return OutOfTime(element.Certificate, now);
        }

        var problems = string.Join(", ", chain.ChainStatus.Select(status => status.Status).Distinct());
        var root = roots is null ? "the system's roots" : "the trust bundle";
        return new(DialFailure.Untrusted, $"the certificate of {host} is not trusted: {problems} with {root}");
    }

    DialException OutOfTime(X509Certificate2 certificate, DateTimeOffset now)
    {
        var clock = now.UtcDateTime.ToString("u", CultureInfo.InvariantCulture);
        var (from, to) = (certificate.NotBefore.ToUniversalTime(), certificate.NotAfter.ToUniversalTime());
        return now.UtcDateTime < from
            ? new(DialFailure.Clock, $"the certificate of {host} is not valid before {from:u}, and this machine's "
                + $"clock says {clock}: the clock is behind. Set it; the module reconnects when the clock steps")
            : new(DialFailure.Clock, $"the certificate of {host} expired at {to:u}, and this machine's clock says "
                + $"{clock}: renew the certificate, or set the clock if it is ahead");
    }
}
