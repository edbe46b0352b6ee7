using System.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Net;

/// <summary>
/// Resolves host names, and remembers the last addresses of each, so that a device can connect while its DNS server
/// fails. Thread-safe.
/// </summary>
internal sealed class NameLookup(TimeProvider timeProvider, Func<string, CancellationToken, Task<IPAddress[]>> resolver)
{
    // glibc asks the second server of resolv.conf after 5 s, and the third after 10 s.
    static readonly TimeSpan FirstTimeout = TimeSpan.FromSeconds(20);

    // For a name with last known addresses, which are used instead of waiting for a DNS server that is down.
    static readonly TimeSpan LaterTimeout = TimeSpan.FromSeconds(3);

    readonly Lock _gate = new();

    // Guarded by _gate. A lookup can't be cancelled, so concurrent callers for a name share one lookup.
    readonly Dictionary<string, Task<IPAddress[]>> _underWay = [];
    readonly Dictionary<string, IPAddress[]> _lastKnown = [];

    /// <summary>Resolves a host to at least one address, in the resolver's order. When the resolver fails or is slow,
    /// returns the last known addresses, and an objection that says what happened.</summary>
    /// <exception cref="NotConnectedException">The name could not be resolved now or before.</exception>
    public async Task<(IPAddress[] Addresses, string? Objection)> FindAsync(
        string host, CancellationToken cancellationToken)
    {
        if (IPAddress.TryParse(host, out var literal)) return ([literal], null);
        var timeout = LastKnown(host) is null ? FirstTimeout : LaterTimeout;
        try
        {
            return (await Ask(host).WaitAsync(timeout, timeProvider, cancellationToken), null);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            var objection = exception is TimeoutException
                ? $"the name {host} could not be resolved within {timeout.TotalSeconds:0} s"
                : $"the name {host} could not be resolved ({LogText.Clean(exception.Message)})";
            return LastKnown(host) is { } addresses
                ? (addresses, objection)
                : throw new NotConnectedException(objection, exception);
        }
    }

    IPAddress[]? LastKnown(string host)
    {
        lock (_gate) return _lastKnown.GetValueOrDefault(host);
    }

    Task<IPAddress[]> Ask(string host)
    {
        lock (_gate)
        {
            if (_underWay.TryGetValue(host, out var lookup)) return lookup;
            return _underWay[host] = Task.Run(() => ResolveAsync(host));
        }
    }

    async Task<IPAddress[]> ResolveAsync(string host)
    {
        try
        {
            var addresses = await resolver(host, CancellationToken.None);
            if (addresses.Length == 0) throw new NotConnectedException("it has no address");
            lock (_gate) return _lastKnown[host] = addresses;
        }
        finally
        {
            lock (_gate) _underWay.Remove(host);
        }
    }
}
