using System.Net;
using System.Net.Sockets;
using SensorForwarder.Text;

namespace SensorForwarder.Forwarding.Http;

/// <summary>
/// The hosts that <c>httpEndpoint</c> may name, so that whoever can change the twin or the settings file can't reach
/// services of the host's network. Link-local addresses, such as the metadata service of cloud machines, are allowed
/// only for hosts that the operator has listed. Immutable.
/// </summary>
/// <param name="Hosts">The only hosts that are allowed: names, addresses, <c>*.suffix</c>. Empty: any.</param>
/// <param name="BootHost">The host of <c>Http__Endpoint</c>, which is always allowed; null: there is none.</param>
internal sealed record AddressRule(IReadOnlyList<string> Hosts, string? BootHost)
{
    static readonly IPNetwork LinkLocal = IPNetwork.Parse("169.254.0.0/16");
    static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");
    static readonly IPNetwork Compatible = IPNetwork.Parse("::/96");

    public static AddressRule Any { get; } = new([], null);

    /// <summary>Why the host of a URL is not allowed; null: it is allowed, if its addresses are.</summary>
    public string? Objection(Uri url)
    {
        var host = HostOf(url);
        if (Hosts.Count > 0 && !IsListed(host))
            return $"{UrlText.Rejected(url.OriginalString)} is not allowed; Http__AllowedHosts does not list this host";
        return IPAddress.TryParse(host, out var address) ? Objection(host, address) : null;
    }

    /// <summary>The host of a URL for <see cref="Objection(string, IPAddress)"/>: an address without its zone.
    /// </summary>
    public static string HostOf(Uri url) =>
        url.HostNameType == UriHostNameType.IPv6 ? url.Host.Trim('[', ']') : url.IdnHost;

    /// <summary>Why no connection may be opened to a host at this address; null: it may. Checked for each connection,
    /// because a name can resolve to another address each time.</summary>
    public string? Objection(string host, IPAddress address) => IsLinkLocal(address) && !IsListed(host)
        ? $"{address} is a link-local address, which is not allowed unless Http__AllowedHosts lists the host"
        : null;

    bool IsListed(string host) => Same(host, BootHost)
        || Hosts.Any(entry => entry.StartsWith('*')
            ? host.EndsWith(entry[1..], StringComparison.OrdinalIgnoreCase)
            : Same(host, entry));

    static bool Same(string host, string? other) => other is not null
        && (host.Equals(other, StringComparison.OrdinalIgnoreCase)
            || (IPAddress.TryParse(host, out var one) && IPAddress.TryParse(other, out var two) && one.Equals(two)));

    static bool IsLinkLocal(IPAddress address)
    {
        if (address.AddressFamily != AddressFamily.InterNetworkV6) return LinkLocal.Contains(address);
        if (address.IsIPv6LinkLocal) return true;

        // An IPv4 address embedded in an IPv6 address is in its last four bytes.
        return (address.IsIPv4MappedToIPv6 || Nat64.Contains(address) || Compatible.Contains(address))
            && LinkLocal.Contains(new IPAddress(address.GetAddressBytes()[^4..]));
    }
}
