namespace SensorForwarder;

/// <summary>
/// What may be shown of a URL. A password or a key can be in the user part, the query, the fragment and, when the URL
/// is malformed, anywhere else. Every log line, page and answer shows a URL through this.
/// </summary>
internal static class UrlText
{
    // Anything else in front of the first colon may be a user.
    static readonly string[] KnownSchemes =
    [
        "http", "https", "ftp", "ftps", "sftp", "ws", "wss", "tcp", "tls", "mqtt", "mqtts", "amqp", "amqps", "coap",
        "coaps",
        "grpc", "unix", "file",
    ];

    /// <summary>Scheme, host and path of a URL in use.</summary>
    public static string Place(Uri url) => HasSignBehindHost(url)
        ? $"{url.Scheme}://.."
        : url.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped);

    /// <summary>The same, with a mark in place of the query.</summary>
    public static string Show(Uri url) => url.Query.Length > 1 ? $"{Place(url)}?.." : Place(url);

    /// <summary>Scheme, host and port, which say who gets a request: the same text for the same three.</summary>
    public static string Origin(Uri url) =>
        $"{url.Scheme}://{Bracket(url.IdnHost)}{(url.IsDefaultPort ? "" : $":{url.Port}")}";

    /// <summary>The origin, to be shown.</summary>
    public static string ShowOrigin(Uri url) => HasSignBehindHost(url) ? $"{url.Scheme}://.." : Origin(url);

    /// <summary>Scheme and host of a URL that was rejected, or a description if they can't be
    /// told from its secrets.</summary>
    public static string Rejected(string text)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out var url) || !KnownSchemes.Contains(url.Scheme)
            || HasSignBehindHost(url) || Uri.CheckHostName(url.Host) == UriHostNameType.Unknown)
        {
            return $"a text of {text.Length} characters";
        }

        var place = $"{url.Scheme}://{url.Host}";
        return url.UserInfo.Length > 0 ? $"{place} with a user or password" : place;
    }

    // "http://user:12/34@host" is a valid URL, with a part of the password as its port.
    static bool HasSignBehindHost(Uri url) => url
        .GetComponents(UriComponents.PathAndQuery | UriComponents.Fragment, UriFormat.UriEscaped)
        .Contains('@', StringComparison.Ordinal);

    static string Bracket(string host) => host.Contains(':', StringComparison.Ordinal) ? $"[{host}]" : host;
}
