using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace SensorForwarder.Tests.Support;

/// <summary>What happens to the connection after a response.</summary>
internal enum Afterwards
{
    StaysOpen,
    Closes,

    /// <summary>With a TCP reset.</summary>
    Resets,
}

/// <summary>The bytes of a response, valid HTTP or not.</summary>
/// <param name="Takes">Whether the receiver accepts the batch.</param>
internal sealed record RawAnswer(string Bytes, Afterwards Afterwards = Afterwards.StaysOpen, bool Takes = false);

/// <summary>An HTTP receiver on a plain socket whose responses are arbitrary bytes chosen by the test.</summary>
internal sealed class RawReceiver : IAsyncDisposable
{
    static readonly byte[] Taken = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"u8.ToArray();

    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly CancellationTokenSource _over = new();
    readonly Func<int, RawAnswer?> _answer;
    readonly HashSet<long> _ids = [];
    readonly Task _accepting;
    int _requests;

    /// <param name="answer">The response to a request by its number, from 1. Null: accepts the batch with 200.</param>
    public RawReceiver(Func<int, RawAnswer?> answer)
    {
        _answer = answer;
        _listener.Start();
        _accepting = AcceptAsync();
    }

    /// <summary>A longer body gets 413 before it is read, then the connection is reset.</summary>
    public int LargestBodyBytes { get; set; } = int.MaxValue;

    /// <summary>Whether the receiver supports <c>Expect: 100-continue</c>; otherwise it responds with 417.</summary>
    public bool KnowsExpect { get; init; } = true;

    public Uri Url => new($"http://{_listener.LocalEndpoint}/telemetry");

    public int Requests => Volatile.Read(ref _requests);

    /// <summary>The ids of the accepted readings.</summary>
    public IReadOnlyCollection<long> Ids
    {
        get { lock (_ids) return [.. _ids]; }
    }

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        _listener.Dispose();
        await _accepting;
        _over.Dispose();
    }

    async Task AcceptAsync()
    {
        var serving = new List<Task>();
        try
        {
            while (true) serving.Add(ServeAsync(await _listener.AcceptTcpClientAsync(_over.Token)));
        }
        catch (Exception exception) when (exception
            is OperationCanceledException or SocketException or InvalidOperationException)
        {
            await Task.WhenAll(serving);
        }
    }

    async Task ServeAsync(TcpClient client)
    {
        try
        {
            using var connection = client;
            var stream = client.GetStream();
            while (await ReadHeadAsync(stream) is { } head)
            {
                var isAsked = head.Contains("Expect: 100-continue", StringComparison.OrdinalIgnoreCase);
                if (isAsked && !KnowsExpect)
                {
                    await stream.WriteAsync("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"u8.ToArray(), _over.Token);
                    return;
                }

                var length = LengthOf(head);
                if (length > LargestBodyBytes)
                {
                    await stream.WriteAsync("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"u8.ToArray(), _over.Token);
                    client.LingerState = new(true, 0);
                    return;
                }

                if (isAsked) await stream.WriteAsync("HTTP/1.1 100 Continue\r\n\r\n"u8.ToArray(), _over.Token);
                var body = new byte[length];
                await stream.ReadExactlyAsync(body, _over.Token);
                var answer = _answer(Interlocked.Increment(ref _requests));
                if (answer is null or { Takes: true }) Take(body);
                await stream.WriteAsync(answer is null ? Taken : Encoding.Latin1.GetBytes(answer.Bytes), _over.Token);
                if (answer?.Afterwards == Afterwards.Resets) client.LingerState = new(true, 0);
                if (answer?.Afterwards is Afterwards.Closes or Afterwards.Resets) return;
            }
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException)
        {
            // The client has closed the connection, or the test has ended.
        }
    }

    void Take(byte[] body)
    {
        using var json = JsonDocument.Parse(body);
        lock (_ids) _ids.UnionWith(json.RootElement.GetProperty("batch").EnumerateArray().Select(reading => reading.GetProperty("id").GetInt64()));
    }

    /// <summary>Null when the client has closed the connection.</summary>
    async Task<string?> ReadHeadAsync(NetworkStream stream)
    {
        var head = new StringBuilder();
        var one = new byte[1];
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            if (await stream.ReadAsync(one, _over.Token) == 0) return null;
            head.Append((char)one[0]);
        }

        return head.ToString();
    }

    static int LengthOf(string head)
    {
        const string Length = "Content-Length:";
        var line = head.Split("\r\n").First(line => line.StartsWith(Length, StringComparison.OrdinalIgnoreCase));
        return int.Parse(line[Length.Length..], System.Globalization.CultureInfo.InvariantCulture);
    }
}
