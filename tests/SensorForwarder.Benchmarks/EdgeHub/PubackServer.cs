using System.Buffers.Binary;
using System.Buffers.Text;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Benchmarks.EdgeHub;

/// <summary>
/// A minimal hub that uses little CPU, so that benchmarks measure the client: TLS on port 8883, CONNACK and SUBACK for
/// every client, an empty twin, and a PUBACK for every PUBLISH, in order.
/// </summary>
internal sealed class PubackServer : IDisposable
{
    readonly Socket _listener;
    readonly X509Certificate2 _certificate;
    long _readingsThrough;
    long _twinsAsked;
    long _inputsAcknowledged;

    PubackServer(Socket listener, X509Certificate2 certificate, EdgeIdentity identity) =>
        (_listener, _certificate, Identity) = (listener, certificate, identity);

    /// <summary>The identity with which a module connects.</summary>
    public EdgeIdentity Identity { get; }

    /// <summary>The id of the latest reading that has arrived, from the message ids.</summary>
    public long ReadingsThrough => Volatile.Read(ref _readingsThrough);

    /// <summary>Whether a module has connected and requested its twin.</summary>
    public bool HasModule => Volatile.Read(ref _twinsAsked) > 0;

    /// <summary>Messages that a module gets at an input when it has subscribed, one after the other.</summary>
    public int InputMessages { get; init; }

    /// <summary>How many of them it has acknowledged.</summary>
    public long InputsAcknowledged => Volatile.Read(ref _inputsAcknowledged);

    /// <summary>Starts a server on the first loopback address whose port 8883 is free.</summary>
    /// <param name="directory">The directory for its CA file.</param>
    /// <param name="inputMessages">See <see cref="InputMessages"/>.</param>
    public static PubackServer Start(string directory, int inputMessages = 0)
    {
        for (var last = 200; last < 255; last++)
        {
            var address = IPAddress.Parse($"127.0.0.{last}");
            var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                listener.Bind(new IPEndPoint(address, 8883));
                listener.Listen(16);
            }
            catch (SocketException)
            {
                listener.Dispose(); // The port is in use.
                continue;
            }

            var server = new PubackServer(listener, MakeCertificate(address, CaFileIn(directory)), IdentityOf($"{address}", directory)) { InputMessages = inputMessages };
            _ = server.AcceptAsync();
            return server;
        }

        throw new InvalidOperationException("port 8883 is in use on all addresses from 127.0.0.200 to 127.0.0.254");
    }

    /// <summary>Runs the server as the main program until the process is killed. Prints its address.</summary>
    public static async Task<int> RunAsync(string directory)
    {
        using var server = Start(directory);
        Console.WriteLine(server.Identity.GatewayHostName);
        await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System);
        return 0;
    }

    /// <summary>The identity with which a module connects to the server at this address.</summary>
    public static EdgeIdentity IdentityOf(string address, string directory) => new()
    {
        HubHostName = "stubhub.azure-devices.net",
        GatewayHostName = address,
        DeviceId = "pi1",
        ModuleId = "telemetry",
        SharedAccessKey = RandomNumberGenerator.GetBytes(32),
        Tls = new() { Roots = new(EdgeIdentityReader.CaVariable, CaFileIn(directory)) },
        Source = "benchmark",
    };

    public void Dispose()
    {
        _listener.Dispose();
        _certificate.Dispose();
    }

    static string CaFileIn(string directory) => Path.Combine(directory, "ca.pem");

    static X509Certificate2 MakeCertificate(IPAddress address, string caFile)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={address}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(address);
        request.CertificateExtensions.Add(names.Build());
        var now = TimeProvider.System.GetUtcNow();
        var certificate = request.CreateSelfSigned(now.AddHours(-1), now.AddDays(1));
        File.WriteAllText(caFile, certificate.ExportCertificatePem());
        return certificate;
    }

    async Task AcceptAsync()
    {
        try
        {
            while (true) _ = ServeAsync(await _listener.AcceptAsync());
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Disposed.
        }
    }

    async Task ServeAsync(Socket socket)
    {
        try
        {
            socket.NoDelay = true;
            await using var tls = new SslStream(new NetworkStream(socket, ownsSocket: true));
            await tls.AuthenticateAsServerAsync(_certificate);
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
                    if (output.Length - written >= 512) continue;
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
            // The client has closed the connection.
        }
    }

    /// <summary>Answers the first packet. Returns false if the packet is incomplete.</summary>
    bool TryAnswer(ReadOnlySpan<byte> input, Span<byte> output, out int length, out int answer)
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
            3 when (input[0] & 6) != 0 => TakePublish(body),
            3 => AnswerTwin(body),
            4 => NextInput(),
            8 => [0x90, (byte)(2 + CountFilters(body)), body[0], body[1], .. Enumerable.Repeat((byte)1, CountFilters(body)), .. FirstInput(body)],
            12 => [0xd0, 0],
            _ => [],
        };
        bytes.CopyTo(output);
        answer = bytes.Length;
        return true;
    }

    static int CountFilters(ReadOnlySpan<byte> subscribe)
    {
        var count = 0;
        for (var at = 2; at < subscribe.Length; at += 3 + BinaryPrimitives.ReadUInt16BigEndian(subscribe[at..])) count++;
        return count;
    }

    byte[] FirstInput(ReadOnlySpan<byte> subscribe) => subscribe.IndexOf("/inputs/#"u8) < 0 || InputMessages == 0 ? [] : WriteInput(0);

    // Like edgeHub: the next one after the acknowledgement, always with packet id 1.
    byte[] NextInput()
    {
        var acknowledged = Interlocked.Increment(ref _inputsAcknowledged);
        return acknowledged < InputMessages ? WriteInput(acknowledged) : [];
    }

    byte[] WriteInput(long number)
    {
        var topic = Encoding.UTF8.GetBytes(
            $"devices/{Identity.DeviceId}/modules/{Identity.ModuleId}/inputs/in/%24.mid={number}&%24.cdid={Identity.DeviceId}&%24.cmid=Sender");
        var body = Encoding.UTF8.GetBytes($$$"""{"sensor":"attic","values":{"temperature":21.40,"humidity":41.2,"number":{{{number}}}}}""");
        var remaining = 2 + topic.Length + 2 + body.Length;
        return [0x32, (byte)((remaining & 0x7f) | 0x80), (byte)(remaining >> 7), 0, (byte)topic.Length, .. topic, 0, 1, .. body];
    }

    byte[] TakePublish(ReadOnlySpan<byte> publish)
    {
        var topic = TopicOf(publish);
        if (LastReadingOf(topic) is var last and > 0) Volatile.Write(ref _readingsThrough, last);
        return [0x40, 2, publish[2 + topic.Length], publish[3 + topic.Length]];
    }

    /// <summary>Answers every twin request with a twin without properties.</summary>
    byte[] AnswerTwin(ReadOnlySpan<byte> publish)
    {
        Interlocked.Increment(ref _twinsAsked);
        var topic = TopicOf(publish);
        byte[] answer = [.. "$iothub/twin/res/200/"u8, .. topic[topic.IndexOf("?$rid="u8)..]];
        var twin = """{"desired":{"$version":1},"reported":{}}"""u8;
        return [0x30, (byte)(2 + answer.Length + twin.Length), 0, (byte)answer.Length, .. answer, .. twin];
    }

    static ReadOnlySpan<byte> TopicOf(ReadOnlySpan<byte> publish) => publish.Slice(2, BinaryPrimitives.ReadUInt16BigEndian(publish));

    /// <summary>LAST of <c>$.mid=EPOCH:FIRST-LAST</c>, which is escaped in the topic; 0 for other topics.</summary>
    static long LastReadingOf(ReadOnlySpan<byte> topic)
    {
        var at = topic.IndexOf("%24.mid="u8);
        if (at < 0) return 0;
        var id = topic[at..];
        var end = id.IndexOfAny((byte)'&', (byte)'/');
        if (end >= 0) id = id[..end];
        return Utf8Parser.TryParse(id[(id.LastIndexOf((byte)'-') + 1)..], out long last, out _) ? last : 0;
    }
}
