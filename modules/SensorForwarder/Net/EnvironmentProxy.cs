using System.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Net;

/// <summary>
/// The proxy in <c>http_proxy</c>, <c>https_proxy</c> or <c>all_proxy</c>. .NET reads these variables;
/// <see cref="NoProxy"/> reads <c>no_proxy</c>, because .NET supports only a part of its syntax. Lower-case names take
/// precedence. Thread-safe.
/// </summary>
internal sealed class EnvironmentProxy(IWebProxy proxy, NoProxy exceptions) : IWebProxy
{
    /// <summary>The proxy of this process.</summary>
    public static EnvironmentProxy Current { get; } = new(
        HttpClient.DefaultProxy,
        new(Environment.GetEnvironmentVariable("no_proxy") ?? Environment.GetEnvironmentVariable("NO_PROXY")));

    public ICredentials? Credentials
    {
        get => proxy.Credentials;
        set => proxy.Credentials = value;
    }

    /// <summary>The invalid entries of <c>no_proxy</c>, for the log; none without a proxy.</summary>
    public IEnumerable<string> Problems => HasProxy ? exceptions.Problems.Select(entry => LogText.Clean(entry)) : [];

    bool HasProxy =>
        proxy.GetProxy(new("http://a.invalid")) is not null || proxy.GetProxy(new("https://a.invalid")) is not null;

    public Uri? GetProxy(Uri destination) => proxy.GetProxy(destination);

    public bool IsBypassed(Uri host) => proxy.GetProxy(host) is null || exceptions.Covers(host);

    /// <summary><c> through the proxy HOST:PORT</c>, to append to the name of a server; empty: no proxy is used.
    /// </summary>
    public string Through(Uri url) => proxy.GetProxy(url) is { } through && !exceptions.Covers(url)
        ? $" through the proxy {through.Host}:{through.Port}"
        : "";
}
