using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Intake;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Intake;

/// <summary>Readings per second that the HTTP intake stores from requests of 1,000, compared with the buffer alone for
/// the same readings from the same number of producers in this process.</summary>
internal static class HttpIntakeRate
{
    const int Senders = 8;
    const int ReadingsPerRequest = 1_000;
    const int Requests = 60;

    public static Benchmark Benchmark { get; } = new(
        ["intake.http.readingsPerSecond", "intake.http.vsEnqueue"], token => Task.Run(() => RunAsync(token), token));

    // In alternating turns, so that other load on the machine affects both; the first turn is a warm-up.
    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        var turns = new List<(double Http, double Enqueue)>();
        for (var turn = 0; turn < 6; turn++)
        {
            var enqueue = await EnqueuePerSecondAsync(place.New());
            turns.Add((await HttpPerSecondAsync(place.New(), cancellationToken), enqueue));
        }

        turns.RemoveAt(0);
        return
        [
            new("intake.http.readingsPerSecond", Median(turns.Select(turn => turn.Http)), "1/s",
                $"the buffer alone {Median(turns.Select(turn => turn.Enqueue)):F0}/s; requests of {ReadingsPerRequest}"),
            new("intake.http.vsEnqueue", Median(turns.Select(turn => turn.Http / turn.Enqueue)), "x", ">= 0.5"),
        ];
    }

    static async Task<double> EnqueuePerSecondAsync(string directory)
    {
        using var buffer = new Opened(directory);
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, Senders).Select(_ => Task.Run(async () =>
        {
            var waiting = new ValueTask<long>[ReadingsPerRequest];
            for (var request = 0; request < Requests; request++)
            {
#pragma warning disable CA2012 // Each is awaited once, below.
                for (var i = 0; i < waiting.Length; i++) waiting[i] = buffer.Enqueue(i);
#pragma warning restore CA2012
                foreach (var task in waiting) await task;
            }
        })));
        return (double)Senders * Requests * ReadingsPerRequest / clock.Elapsed.TotalSeconds;
    }

    static async Task<double> HttpPerSecondAsync(string directory, CancellationToken cancellationToken)
    {
        using var buffer = new Opened(directory);
        var options = new IntakeOptions { Http = new IPEndPoint(IPAddress.Loopback, FreePort()), ReadingsPerSecond = 0 };
        var store = new IntakeStore(buffer.Buffer, options, TimeProvider.System);
        var requests = new HttpRequests(store, options, TimeProvider.System, NullLogger<HttpRequests>.Instance);
        using var intake = new HttpIntake(options, requests, TimeProvider.System, NullLogger<HttpIntake>.Instance);
        await intake.StartAsync(cancellationToken);
        var request = Request();
        var clients = await Task.WhenAll(Enumerable.Range(0, Senders).Select(_ => ConnectAsync(options.Http, cancellationToken)));
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(clients.Select(client => Task.Run(() => SendAsync(client, request, cancellationToken), cancellationToken)));
        var rate = (double)Senders * Requests * ReadingsPerRequest / clock.Elapsed.TotalSeconds;
        foreach (var client in clients) client.Dispose();
        await intake.StopAsync(cancellationToken);
        return rate;
    }

    static async Task<Socket> ConnectAsync(EndPoint place, CancellationToken cancellationToken)
    {
        while (true)
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(place, cancellationToken);
                return socket;
            }
            catch (SocketException)
            {
                // It does not listen yet.
                socket.Dispose();
            }
        }
    }

    // A client that uses little CPU, so that the benchmark measures the intake.
    static async Task SendAsync(Socket client, ReadOnlyMemory<byte> request, CancellationToken cancellationToken)
    {
        var answer = new byte[4_096];
        for (var i = 0; i < Requests; i++)
        {
            for (var sent = 0; sent < request.Length;)
                sent += await client.SendAsync(request[sent..], SocketFlags.None, cancellationToken);
            var length = 0;
            while (answer.AsSpan(0, length).IndexOf("\r\n\r\n"u8) < 0)
                length += await client.ReceiveAsync(answer.AsMemory(length), SocketFlags.None, cancellationToken);
            if (!answer.AsSpan().StartsWith("HTTP/1.1 204"u8))
                throw new InvalidOperationException(Encoding.UTF8.GetString(answer, 0, length));
        }
    }

    // The readings of the buffer's benchmark, as another program would send them.
    static byte[] Request()
    {
        var body = string.Join('\n', Enumerable.Range(0, ReadingsPerRequest).Select(i => FormattableString.Invariant(
            $$$"""{"sensor":"attic","kind":"bme280","time":"{{{Opened.FirstTime.AddSeconds(i):yyyy-MM-ddTHH:mm:ss.fffZ}}}","values":{"temperature":{{{20 + (i / 100.0)}}},"humidity":41.25,"pressure":1013.25}}""")));
        return Encoding.UTF8.GetBytes(
            $"POST /readings HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: {body.Length}\r\n\r\n{body}");
    }
}
