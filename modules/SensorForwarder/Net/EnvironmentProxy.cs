using System.Net;

namespace SensorForwarder.Net;

/// <summary>
/// The proxy that <c>http_proxy</c>, <c>https_proxy</c> or <c>all_proxy</c> names: the framework reads these, but of
/// <c>no_proxy</c> it understands less than other programs, so <see cref="NoProxy"/> reads that one. Lower case comes
/// first. Thread-safe.
/// </summary>
internal sealed class EnvironmentProxy(IWebProxy proxy, NoProxy exceptions) : IWebProxy
{
    /// <summary>That of this process.</summary>
    public static EnvironmentProxy Current { get; } = new(
        HttpClient.DefaultProxy,
        new(Environment.GetEnvironmentVariable("no_proxy") ?? Environment.GetEnvironmentVariable("NO_PROXY")));

    public ICredentials? Credentials
    {
        get => proxy.Credentials;
        set => proxy.Credentials = value;
    }

    /// <summary>The entries of <c>no_proxy</c> that are not understood, for the log. None without a proxy.</summary>
    public IEnumerable<string> Problems => HasProxy ? exceptions.Problems.Select(LogText.Clean) : [];

    bool HasProxy =>
        proxy.GetProxy(new("http://a.invalid")) is not null || proxy.GetProxy(new("https://a.invalid")) is not null;

    public Uri? GetProxy(Uri destination) => proxy.GetProxy(destination);

    public bool IsBypassed(Uri host) => proxy.GetProxy(host) is null || exceptions.Covers(host);

    /// <summary><c> through the proxy HOST:PORT</c>, to be appended to the name of the other side; empty without a
    /// proxy.</summary>
    public string Through(Uri url) => proxy.GetProxy(url) is { } through && !exceptions.Covers(url)
        ? $" through the proxy {through.Host}:{through.Port}"
        : "";
}
