namespace SensorForwarder.Text;

/// <summary>
/// Formats URLs without their secrets. A password or a key can be in the user part, the query, the fragment and, in a
/// malformed URL, anywhere else. Every log line, page and answer shows URLs through this class. Stateless.
/// </summary>
internal static class UrlText
{
    // Any other text before the first colon may be a user name.
    static readonly string[] KnownSchemes =
    [
        "http", "https", "ftp", "ftps", "sftp", "ws", "wss", "tcp", "tls", "mqtt", "mqtts", "amqp", "amqps", "coap",
        "coaps",
        "grpc", "unix", "file",
    ];

    /// <summary>Scheme, host and path of a valid URL.</summary>
    public static string Place(Uri url) => HasSignBehindHost(url)
        ? $"{url.Scheme}://.."
        : url.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped);

    /// <summary>The same, with <c>?..</c> in place of a query.</summary>
    public static string Show(Uri url) => url.Query.Length > 1 ? $"{Place(url)}?.." : Place(url);

    /// <summary>Scheme, host and port in a normal form, for comparison. Not safe to show: use <see cref="ShowOrigin"/>.
    /// </summary>
    public static string Origin(Uri url) =>
        $"{url.Scheme}://{Bracket(url.IdnHost)}{(url.IsDefaultPort ? "" : $":{url.Port}")}";

    /// <summary>The origin, without secrets.</summary>
    public static string ShowOrigin(Uri url) => HasSignBehindHost(url) ? $"{url.Scheme}://.." : Origin(url);

    /// <summary>Scheme and host of a rejected URL; its length if they may contain secrets.</summary>
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

    // "http://user:12/34@host" is a valid URL whose host is the user, and whose port is a part of the password.
    static bool HasSignBehindHost(Uri url) => url
        .GetComponents(UriComponents.PathAndQuery | UriComponents.Fragment, UriFormat.UriEscaped)
        .Contains('@', StringComparison.Ordinal);

    static string Bracket(string host) => host.Contains(':', StringComparison.Ordinal) ? $"[{host}]" : host;
}
