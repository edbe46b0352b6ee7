using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace SensorForwarder.Net;

/// <summary>Builds Kestrel servers for HTTP/1.1 without TLS. The rest of ASP.NET Core is left out to save megabytes of
/// memory. Stateless.</summary>
internal static class PlainKestrel
{
    /// <param name="options">Where the server listens, and its limits.</param>
    /// <param name="bind">Creates the listening socket.</param>
    public static KestrelServer Build(KestrelServerOptions options, Func<EndPoint, Socket> bind)
    {
        options.AddServerHeader = false;

        // Otherwise Kestrel logs errors of clients.
        var silence = NullLoggerFactory.Instance;
        var transport = new SocketTransportOptions { CreateBoundListenSocket = bind };
        return new(
            new OptionsWrapper<KestrelServerOptions>(options),
            new SocketTransportFactory(new OptionsWrapper<SocketTransportOptions>(transport), silence), silence);
    }

    /// <summary>Configures an endpoint.</summary>
    /// <param name="maxConnectionsPerAddress">Further connections of a client's address are closed.</param>
    public static Action<ListenOptions> Http1(int maxConnectionsPerAddress) => listen =>
    {
        listen.Protocols = HttpProtocols.Http1;
        listen.Use(new AddressLimit(maxConnectionsPerAddress).Wrap);
    };
}
