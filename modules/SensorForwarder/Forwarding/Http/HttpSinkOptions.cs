using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Forwarding.Http;

/// <summary>The headers and certificates that the HTTP sink sends, the origins that get them, and the servers that are
/// trusted. Boot values, because they are secrets; never logged. Immutable.</summary>
/// <param name="Authorization">The whole header value, such as <c>Bearer ...</c>.</param>
/// <param name="Headers">More headers by name.</param>
internal sealed record HttpSinkOptions(string? Authorization, IReadOnlyDictionary<string, string> Headers)
{
    public TlsFiles Tls { get; init; } = new();

    /// <summary>The origins that get the headers and the client certificate, in the form of
    /// <see cref="UrlText.Origin"/>.</summary>
    public IReadOnlyList<string> SecretsFor { get; init; } = [];

    public AddressRule Addresses { get; init; } = AddressRule.Any;

    bool HasSecrets => Authorization is not null || Headers.Count > 0 || Tls.Certificate is not null;

    /// <summary>Whether a URL gets the headers and the client certificate.</summary>
    public bool GetsSecrets(Uri url) => SecretsFor.Contains(UrlText.Origin(url));

    /// <summary>A message about secrets that are not sent to an endpoint, and why; null: all are sent.</summary>
    public string? Withheld(Uri? endpoint)
    {
        const string What = "Http__Authorization, Http__Headers__* and Http__ClientCertificateFile are";
        if (!HasSecrets) return null;
        if (endpoint is not null && !GetsSecrets(endpoint))
            return $"{What} not sent to {UrlText.ShowOrigin(endpoint)}: set Http__SecretsFor to this origin if it may "
                + "get them";
        return SecretsFor.Count > 0
            ? null
            : $"{What} not sent to any server: set Http__SecretsFor to the origin that may get them";
    }

    /// <summary>The parts of a request that must not be shown or logged.</summary>
    public Secrets Secrets(Uri endpoint) => new([Authorization ?? "", .. Headers.Values, .. QueryOf(endpoint)]);

    /// <summary>The query of a URL and each of its values, escaped and unescaped.</summary>
    static IEnumerable<string> QueryOf(Uri endpoint)
    {
        var query = endpoint.Query.TrimStart('?');
        var values = query.Split('&').Select(pair => pair[(pair.IndexOf('=', StringComparison.Ordinal) + 1)..]);
        return values.Prepend(query).SelectMany(value => (string[])[value, Uri.UnescapeDataString(value)]);
    }

    public override string ToString() => $"{Headers.Count} headers";
}
