using SensorForwarder.Net;

namespace SensorForwarder.Forwarding;

/// <summary>What the HTTP sink sends besides the batch, and whom it trusts. Boot values, since they are secrets; never
/// logged.</summary>
/// <param name="Authorization">The whole header value, such as <c>Bearer ...</c>.</param>
/// <param name="Headers">More headers by name.</param>
internal sealed record HttpSinkOptions(string? Authorization, IReadOnlyDictionary<string, string> Headers)
{
    // What is shorter is a name or a number, and common in any text.
    const int ShortestSecret = 6;

    public TlsFiles Tls { get; init; } = new();

    /// <summary>The origins that get the headers and the client certificate,
    /// as <see cref="UrlText.Origin"/> writes them.</summary>
    public IReadOnlyList<string> SecretsFor { get; init; } = [];

    public AddressRule Addresses { get; init; } = AddressRule.Any;

    bool HasSecrets => Authorization is not null || Headers.Count > 0 || Tls.Certificate is not null;

    /// <summary>Whether a URL gets the headers and the client certificate.</summary>
    public bool GetsSecrets(Uri url) => SecretsFor.Contains(UrlText.Origin(url));

    /// <summary>What an endpoint does not get, and why; null: it gets everything that there is.</summary>
    public string? Withheld(Uri? endpoint)
    {
        const string What = "Http__Authorization, Http__Headers__* and Http__ClientCertificateFile are";
        if (!HasSecrets) return null;
        if (endpoint is not null && !GetsSecrets(endpoint))
            return $"{What} not sent to {UrlText.ShowOrigin(endpoint)}: set Http__SecretsFor to this origin if it may "
                + "get them";
        return SecretsFor.Count > 0
            ? null
            : $"{What} not sent to anybody: set Http__SecretsFor to the origin that may get them";
    }

    /// <summary>What must not be shown, the longest first: the credentials, and values of headers and of the query long
    /// enough for a key.</summary>
    public IReadOnlyList<string> Secrets(Uri endpoint) =>
    [
        .. new[] { Authorization, Authorization?[(Authorization.IndexOf(' ', StringComparison.Ordinal) + 1)
            ..] }.OfType<string>()
            .Concat(Headers.Values)
            .Concat(QueryOf(endpoint))
            .Where(value => value.Length >= ShortestSecret)
            .OrderByDescending(value => value.Length),
    ];

    /// <summary>The whole and each value, as they are sent and as a receiver reads them.</summary>
    static IEnumerable<string> QueryOf(Uri endpoint)
    {
        var query = endpoint.Query.TrimStart('?');
        var values = query.Split('&').Select(pair => pair[(pair.IndexOf('=', StringComparison.Ordinal) + 1)..]);
        return values.Prepend(query).SelectMany(value => (string[])[value, Uri.UnescapeDataString(value)]);
    }

    public override string ToString() => $"{Headers.Count} headers";
}
