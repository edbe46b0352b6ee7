using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using EdgeSimulator.Faults;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;

namespace EdgeSimulator.Http;

/// <summary>A Kestrel transport for one endpoint whose connections can be refused and reset while the server
/// runs.</summary>
internal sealed class CuttableTransport : IConnectionListenerFactory, IConnectionListener
{
    readonly Channel<Socket> _accepted = Channel.CreateUnbounded<Socket>();
    readonly SocketConnectionContextFactory _contexts = new(new SocketConnectionFactoryOptions(), NullLogger.Instance);

    public CuttableTransport()
    {
        Listener = new CuttableListener(new IPEndPoint(IPAddress.Loopback, 0), socket => _accepted.Writer.TryWrite(socket));
    }

    public CuttableListener Listener { get; }

    public EndPoint EndPoint => Listener.EndPoint;

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        Listener.Open();
        return ValueTask.FromResult<IConnectionListener>(this);
    }

    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        try
        {
            var socket = await _accepted.Reader.ReadAsync(cancellationToken).ConfigureAwait(false);
            var remote = socket.RemoteEndPoint!;
            var context = _contexts.Create(socket);
            context.ConnectionClosed.Register(() => Listener.Forget(remote, socket));
            return context;
        }
        catch (ChannelClosedException)
        {
            return null;
        }
    }

    public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        _accepted.Writer.TryComplete();
        Listener.Close();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        Listener.Dispose();
        _contexts.Dispose();
        return ValueTask.CompletedTask;
    }
}
