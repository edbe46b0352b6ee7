using System.Globalization;
using System.Net;

namespace SensorForwarder.Net;

/// <summary>
/// The value of <c>no_proxy</c>, with the semantics of curl and Go: <c>*</c>, host names with their subdomains,
/// addresses, CIDR ranges and <c>10.*</c>; names and addresses may have a port. Loopback is always included, as in Go,
/// because a proxy would connect to its own loopback. Names are not resolved to match ranges. Immutable.
/// </summary>
internal sealed class NoProxy
{
    const int OctetBits = 8;

    readonly List<Entry> _entries = [];
    readonly List<string> _problems = [];

    public NoProxy(string? list)
    {
        foreach (var text in (list ?? "").Split([',', ' ', '\t', '\r', '\n'], StringSplitOptions.RemoveEmptyEntries))
        {
            if (Read(text) is { } entry) _entries.Add(entry);
            else _problems.Add(text);
        }
    }

    /// <summary>The invalid entries.</summary>
    public IReadOnlyList<string> Problems => _problems;

    /// <summary>Whether a URL is reached without a proxy.</summary>
    public bool Covers(Uri url)
    {
        var host = url.IdnHost.TrimEnd('.');
        var address = IPAddress.TryParse(host, out var parsed) ? Plain(parsed) : null;
        var isLoopback = address is null
            ? host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            : IPAddress.IsLoopback(address);
        if (isLoopback) return true;
        return _entries.Exists(entry => (entry.Port is null || entry.Port == url.Port) && entry.Covers(host, address));
    }

    static Entry? Read(string text)
    {
        if (text == "*") return new(Name: "", null, 0, null);
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        if (slash > 0) return ReadRange(text[..slash], text[(slash + 1)..]);
        int? port = null;

        // A single colon, or one after a bracket, precedes a port. An IPv6 address without brackets has several colons.
        var colon = text.LastIndexOf(':');
        if (colon > 0 && (text[colon - 1] == ']' || text.IndexOf(':', StringComparison.Ordinal) == colon))
        {
            var digits = text.AsSpan(colon + 1);
            if (!ushort.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number)) return null;
            (text, port) = (text[..colon], number);
        }

        if (ReadAddress(text) is { } address) return new(null, address, BitsOf(address), port);
        return ReadWildcard(text, port) ?? ReadName(text, port);
    }

    static Entry? ReadRange(string network, string length) =>
        ReadAddress(network) is { } address
        && byte.TryParse(length, NumberStyles.None, CultureInfo.InvariantCulture, out var bits)
        && bits <= BitsOf(address)
            ? new(null, address, bits, null)
            : null;

    static IPAddress? ReadAddress(string text)
    {
        const int Octets = 4;
        if (text is ['[', .. var inner, ']']) text = inner;

        // IPAddress.TryParse accepts 10.1 too.
        var isWhole = text.Contains(':', StringComparison.Ordinal) || text.Split('.').Length == Octets;
        return isWhole && IPAddress.TryParse(text, out var address) ? Plain(address) : null;
    }

    /// <summary>Reads <c>10.*</c> or <c>10.1.*.*</c>: the range of the octets before the asterisks.</summary>
    static Entry? ReadWildcard(string text, int? port)
    {
        const int Octets = 4;
        var octets = text.Split('.');
        var given = Array.IndexOf(octets, "*");
        if (given < 1 || octets.Length > Octets || octets[given..].Any(octet => octet != "*")) return null;
        var bytes = new byte[Octets];
        for (var i = 0; i < given; i++)
        {
            if (!byte.TryParse(octets[i], NumberStyles.None, CultureInfo.InvariantCulture, out bytes[i])) return null;
        }

        return new(null, new(bytes), given * OctetBits, port);
    }

    static Entry? ReadName(string text, int? port)
    {
        var name = text.TrimEnd('.');
        if (name.StartsWith("*.", StringComparison.Ordinal)) name = name[2..];
        else if (name.StartsWith('.')) name = name[1..];
        var isName = Uri.CheckHostName(name) == UriHostNameType.Dns && !name.Split('.')[^1].All(char.IsAsciiDigit);
        return isName && Uri.TryCreate($"http://{name}/", UriKind.Absolute, out var url)
            ? new(url.IdnHost, null, 0, port)
            : null;
    }

    static IPAddress Plain(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;

    static int BitsOf(IPAddress address) => address.GetAddressBytes().Length * OctetBits;

    /// <param name="Name">A host name, which includes its subdomains; empty: every host; null: see Network.</param>
    /// <param name="Network">The address of a range.</param>
    /// <param name="Bits">The length of the prefix of Network, in bits.</param>
    /// <param name="Port">Null: any.</param>
    sealed record Entry(string? Name, IPAddress? Network, int Bits, int? Port)
    {
        public bool Covers(string host, IPAddress? address)
        {
            if (Name is { Length: 0 }) return true;
            if (Name is null) return address is not null && IsIn(address);
            return host.EndsWith(Name, StringComparison.OrdinalIgnoreCase)
                && (host.Length == Name.Length || host[^(Name.Length + 1)] == '.');
        }

        bool IsIn(IPAddress address)
        {
            var (ours, theirs) = (Network!.GetAddressBytes(), address.GetAddressBytes());
            if (ours.Length != theirs.Length) return false;
            var (whole, rest) = Math.DivRem(Bits, OctetBits);
            if (!ours.AsSpan(0, whole).SequenceEqual(theirs.AsSpan(0, whole))) return false;
            return rest == 0 || (ours[whole] ^ theirs[whole]) >> (OctetBits - rest) == 0;
        }
    }
}
