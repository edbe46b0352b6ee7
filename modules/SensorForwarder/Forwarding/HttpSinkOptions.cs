using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.Forwarding;

/// <summary>What the HTTP sink sends besides the batch, and whom it trusts. Boot values, since they are secrets; never
/// logged.</summary>
/// <param name="Authorization">The whole header value, such as <c>Bearer ...</c>.</param>
/// <param name="Headers">More headers by name.</param>
internal sealed record HttpSinkOptions(string? Authorization, IReadOnlyDictionary<string, string> Headers)
{
    /// <summary>The only roots that a receiver's certificate may end in; null: those of the system.</summary>
    public X509Certificate2Collection? Roots { get; init; }

    /// <summary>The certificate, with its key, that is shown to a receiver; null: none.</summary>
    public X509Certificate2? ClientCertificate { get; init; }

    /// <summary>What stands between that certificate and its root.</summary>
    public X509Certificate2Collection ClientChain { get; init; } = [];

    public override string ToString() => $"{Headers.Count} headers";
}
