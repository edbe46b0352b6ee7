using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Benchmarks.EdgeHub;

/// <summary>
/// The cheapest hub that there can be, in a process of its own: TLS on 8883, CONNACK and SUBACK to whoever comes, and a
/// PUBACK for every PUBLISH, in order. It takes the server out of the numbers, as far as that goes.
/// </summary>
internal static class PubackServer
{
    /// <summary>Whom the hub of a measurement knows.</summary>
    public static EdgeIdentity Identity(string address, string certificateFile) => new()
    {
        HubHostName = "stubhub.azure-devices.net",
        GatewayHostName = address,
        DeviceId = "pi1",
        ModuleId = "telemetry",
        SharedAccessKey = RandomNumberGenerator.GetBytes(32),
        TrustedCaFile = certificateFile,
        Source = "benchmark",
    };

    /// <summary>Serves until the process is killed.</summary>
    public static async Task<int> RunAsync(string address, string certificateFile)
    {
        using var certificate = X509CertificateLoader.LoadPkcs12FromFile(certificateFile, null);
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Parse(address), 8883));
        listener.Listen(16);
        Console.WriteLine("ready");
        while (true) _ = ServeAsync(await listener.AcceptAsync(), certificate);
    }

    static async Task ServeAsync(Socket socket, X509Certificate2 certificate)
    {
        try
        {
            socket.NoDelay = true;
            await using var tls = new SslStream(new NetworkStream(socket, ownsSocket: true));
            await tls.AuthenticateAsServerAsync(certificate);
            var input = new byte[1 << 20];
            var output = new byte[1 << 16];
            var filled = 0;
            while (await tls.ReadAsync(input.AsMemory(filled)) is > 0 and var read)
            {
                filled += read;
                var (used, written) = (0, 0);
                while (TryAnswer(input.AsSpan(used, filled - used), output.AsSpan(written), out var length, out var answer))
                {
                    used += length;
                    written += answer;
                    if (output.Length - written >= 64) continue;
                    await tls.WriteAsync(output.AsMemory(0, written));
                    written = 0;
                }

                if (written > 0) await tls.WriteAsync(output.AsMemory(0, written));
                input.AsSpan(used, filled - used).CopyTo(input);
                filled -= used;
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The client has gone.
        }
    }

    /// <summary>Answers the first packet, if it is there as a whole.</summary>
    static bool TryAnswer(ReadOnlySpan<byte> input, Span<byte> output, out int length, out int answer)
    {
        (length, answer) = (0, 0);
        var (remaining, shift, at) = (0, 0, 1);
        while (true)
        {
            if (at >= input.Length) return false;
            remaining |= (input[at] & 0x7f) << shift;
            shift += 7;
            if ((input[at++] & 0x80) == 0) break;
        }

        length = at + remaining;
        if (length > input.Length) return false;
        var body = input[at..length];
        ReadOnlySpan<byte> bytes = (input[0] >> 4) switch
        {
            1 => [0x20, 2, 0, 0],
            3 when (input[0] & 6) != 0 => PubackOf(body),
            8 => [0x90, 5, body[0], body[1], 1, 1, 1],
            12 => [0xd0, 0],
            _ => [],
        };
        bytes.CopyTo(output);
        answer = bytes.Length;
        return true;
    }

    static byte[] PubackOf(ReadOnlySpan<byte> publish)
    {
        var topic = BinaryPrimitives.ReadUInt16BigEndian(publish);
        return [0x40, 2, publish[2 + topic], publish[3 + topic]];
    }
}
