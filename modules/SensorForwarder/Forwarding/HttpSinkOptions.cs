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

    /// <summary>What must not be shown, the longest first: the credentials, and values of headers and of the query long enough
    /// for a key.</summary>
    public IReadOnlyList<string> Secrets(Uri endpoint) =>
    [
        .. new[] { Authorization, Authorization?[(Authorization.IndexOf(' ', StringComparison.Ordinal) + 1)..] }.OfType<string>()
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
