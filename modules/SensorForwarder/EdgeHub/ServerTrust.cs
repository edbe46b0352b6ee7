using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Decides about the server's certificate in one TLS handshake: the host name must fit, and the chain must end in one
/// of the given roots (gateway: the trust bundle and nothing else) or of the system's (IoT Hub). Nothing is written to
/// a store. It also says what is wrong, and notices when it is rather this machine's clock.
/// </summary>
internal sealed class ServerTrust(string host, X509Certificate2Collection? roots, TimeProvider timeProvider)
{
    static readonly Oid ServerAuthentication = new("1.3.6.1.5.5.7.3.1");

    /// <summary>Called when the certificate is taken: the handshake gets on.</summary>
    public Action? Accepted { get; set; }

    /// <summary>Why the certificate was not taken; null when it was, or was not seen.</summary>
    public DialException? Objection { get; private set; }

    /// <summary>The decision. Called by TLS; throws nothing.</summary>
    public bool Validate(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        Objection = Examine(certificate, chain, errors);
        if (Objection is null) Accepted?.Invoke();
        return Objection is null;
    }

    DialException? Examine(X509Certificate? certificate, X509Chain? sent, SslPolicyErrors errors)
    {
        if (certificate is null || errors.HasFlag(SslPolicyErrors.RemoteCertificateNotAvailable))
            return new(DialFailure.Untrusted, $"{host} shows no certificate");

        using var leaf = new X509Certificate2(certificate);
        if (errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch))
        {
            return new(DialFailure.Untrusted, $"the certificate of {host} is made out to "
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
                + "clock "
                + $"says {clock}: the clock is behind. Set it; the connection is tried again when it steps")
            : new(DialFailure.Clock, $"the certificate of {host} expired at {to:u}, and this machine's clock says "
                + $"{clock}: "
                + "renew the certificate, or set the clock if it is ahead");
    }
}
