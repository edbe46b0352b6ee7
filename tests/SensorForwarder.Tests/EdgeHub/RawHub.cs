using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using EdgeSimulator.Hub;
using EdgeSimulator.Workload;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>A TLS server on 8883 that knows only the framing of MQTT packets, for tests of the bytes and for answers
/// that no MQTT server gives.</summary>
internal sealed class RawHub : IAsyncDisposable
{
    readonly GatewayAddress _address = GatewayAddress.Reserve(null);
    readonly ServerCertificates _certificates;
    readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    readonly string _caFile = Path.GetTempFileName();
    readonly Func<Connection, Task> _serve;

    public RawHub(Func<Connection, Task> serve, TimeProvider? time = null)
    {
        _serve = serve;
        _certificates = new(_address.Address, time ?? TimeProvider.System);
        File.WriteAllText(_caFile, _certificates.TrustBundle);
        _listener.Bind(new IPEndPoint(_address.Address, GatewayAddress.Port));
        _listener.Listen(64);
        _ = AcceptAsync();
    }

    public string HostName => _address.HostName;

    public string CaFile => _caFile;

    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        _certificates.Dispose();
        _address.Dispose();
        File.Delete(_caFile);
        await Task.CompletedTask;
    }

    async Task AcceptAsync()
    {
        while (true)
        {
            try
            {
                _ = ServeAsync(await _listener.AcceptAsync());
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    async Task ServeAsync(Socket socket)
    {
        try
        {
            await using var tls = new SslStream(new NetworkStream(socket, ownsSocket: true));
            await tls.AuthenticateAsServerAsync(new SslServerAuthenticationOptions
            {
                ServerCertificate = _certificates.Valid,
                ClientCertificateRequired = true,
                // edgeHub requests a certificate but does not require one. The test checks whose it is.
                RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is null or X509Certificate2,
            });
            await _serve(new(tls));
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or System.Security.Authentication.AuthenticationException)
        {
            // The client has disconnected.
        }
    }

    internal sealed class Connection(SslStream stream)
    {
        public string? ClientCertificateName =>
            (stream.RemoteCertificate as X509Certificate2)?.GetNameInfo(X509NameType.SimpleName, forIssuer: false);

        /// <summary>Reads the next packet, with its fixed header.</summary>
        public async Task<byte[]> ReadPacketAsync()
        {
            var packet = new List<byte> { await ReadByteAsync() };
            var (length, shift) = (0, 0);
            byte digit;
            do
            {
                packet.Add(digit = await ReadByteAsync());
                length |= (digit & 0x7f) << shift;
                shift += 7;
            }
            while ((digit & 0x80) != 0);

            var rest = new byte[length];
            await stream.ReadExactlyAsync(rest);
            return [.. packet, .. rest];
        }

        public Task WriteAsync(params byte[] bytes) => stream.WriteAsync(bytes).AsTask();

        /// <summary>Answers the CONNECT with CONNACK 0, and the SUBSCRIBE with a SUBACK. Returns the CONNECT.</summary>
        public async Task<byte[]> WelcomeAsync()
        {
            var connect = await ReadPacketAsync();
            await WriteAsync(0x20, 2, 0, 0);
            var subscribe = await ReadPacketAsync();
            var filters = CountFilters(subscribe);
            var id = IdAt(subscribe);
            await WriteAsync([0x90, (byte)(2 + filters), subscribe[id], subscribe[id + 1], .. Enumerable.Repeat((byte)1, filters)]);
            return connect;
        }

        /// <param name="packetId">0: QoS 0; otherwise QoS 1.</param>
        public Task PublishAsync(string topic, byte[] payload, byte packetId = 0)
        {
            var name = Encoding.UTF8.GetBytes(topic);
            byte[] id = packetId == 0 ? [] : [0, packetId];
            var remaining = 2 + name.Length + id.Length + payload.Length;
            var header = new List<byte> { (byte)(packetId == 0 ? 0x30 : 0x32) };
            do
            {
                header.Add((byte)((remaining & 0x7f) | (remaining > 0x7f ? 0x80 : 0)));
                remaining >>= 7;
            }
            while (remaining > 0);

            return WriteAsync([.. header, (byte)(name.Length >> 8), (byte)name.Length, .. name, .. id, .. payload]);
        }

        static int CountFilters(byte[] subscribe)
        {
            // Fixed header, packet id, then per filter: two bytes of length, the filter, one byte of QoS.
            var (at, count) = (IdAt(subscribe) + 2, 0);
            while (at < subscribe.Length)
            {
                at += 2 + ((subscribe[at] << 8) | subscribe[at + 1]) + 1;
                count++;
            }

            return count;
        }

        /// <summary>The offset of the packet id in a SUBSCRIBE, behind a length of one or two bytes.</summary>
        public static int IdAt(byte[] packet) => packet[1] < 0x80 ? 2 : 3;

        async Task<byte> ReadByteAsync()
        {
            var one = new byte[1];
            await stream.ReadExactlyAsync(one);
            return one[0];
        }
    }
}
