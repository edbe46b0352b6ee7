using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Connections;

namespace SensorForwarder.Net;

/// <summary>Connection middleware that closes connections beyond <paramref name="max"/> open ones from the same remote
/// address, so that one client can't use up the server's connections. Thread-safe.</summary>
/// <param name="max">Open connections per address.</param>
internal sealed class AddressLimit(int max)
{
    readonly ConcurrentDictionary<IPAddress, int> _open = new();

    public ConnectionDelegate Wrap(ConnectionDelegate next) => async connection =>
    {
        var address = (connection.RemoteEndPoint as IPEndPoint)?.Address ?? IPAddress.None;
        try
        {
            if (_open.AddOrUpdate(address, 1, (_, open) => open + 1) <= max) await next(connection);
            else connection.Abort(new($"more than {max} connections from {address}"));
        }
        finally
        {
            // Removed only if it is still zero: another connection may have opened.
            _open.AddOrUpdate(address, 0, (_, open) => open - 1);
            _open.TryRemove(new(address, 0));
        }
    };
}
