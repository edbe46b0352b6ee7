using System.Net;
using MQTTnet.Channel;

namespace SensorForwarder.EdgeHub;

/// <summary>Gives MQTTnet the stream that is already open.</summary>
internal sealed class OpenStream(Stream stream) : IMqttClientStreamProvider
{
    public Task<Stream> ConnectAsync(EndPoint remoteEndPoint, CancellationToken cancellationToken) =>
        Task.FromResult(stream);
}
