using System.Net;
using System.Net.Sockets;
using SensorForwarder.Text;

namespace SensorForwarder.Net;

/// <summary>
/// Opens TCP connections to hosts. The addresses of a name are tried in parallel, each 250 ms after the one before or
/// as soon as an attempt has failed (Happy Eyeballs, RFC 8305), so that broken IPv6 costs a quarter of a second. Used
/// for every connection that leaves the device. Thread-safe.
/// </summary>
internal sealed class Dialer(TimeProvider timeProvider, Func<string, CancellationToken, Task<IPAddress[]>> resolver)
{
    // "Connection Attempt Delay" of RFC 8305, section 5.
    static readonly TimeSpan NextAfter = TimeSpan.FromMilliseconds(250);

    // The most addresses in an error message.
    const int MostShown = 6;

    readonly NameLookup _names = new(timeProvider, resolver);

    public Dialer(TimeProvider timeProvider)
        : this(timeProvider, Dns.GetHostAddressesAsync)
    {
    }

    /// <summary>Connects to the first address that accepts, with TCP_NODELAY. The caller owns the socket.</summary>
    /// <param name="host">A name or an address.</param>
    /// <param name="port">The TCP port.</param>
    /// <param name="timeout">For all addresses together. Resolving the name has a separate timeout.</param>
    /// <param name="cancellationToken">Cancels the attempt.</param>
    /// <exception cref="NotConnectedException">The name could not be resolved, or no address accepted the connection.
    /// </exception>
    public Task<Socket> ConnectAsync(string host, int port, TimeSpan timeout, CancellationToken cancellationToken) =>
        ConnectAsync(host, port, timeout, objectTo: null, cancellationToken);

    async Task<Socket> ConnectAsync(
        string host, int port, TimeSpan timeout, Func<IPAddress, string?>? objectTo,
        CancellationToken cancellationToken)
    {
        var (found, objection) = await _names.FindAsync(host, cancellationToken);
        var addresses = found.Where(address => objectTo?.Invoke(address) is null).ToArray();
        if (addresses.Length == 0) throw new NotConnectedException(objectTo!(found[0])!);
        using var late = new CancellationTokenSource(timeout, timeProvider);
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, late.Token);
        var attempts = new List<Attempt>();
        var winner = await RaceAsync(new(Interleave(addresses)), port, attempts, over.Token);
        await over.CancelAsync();
        foreach (var attempt in attempts)
        {
            await ((Task)attempt.Connecting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (attempt != winner && attempt.IsConnected) attempt.Connecting.Result.Dispose();
        }

        if (winner is not null) return await winner.Connecting;
        cancellationToken.ThrowIfCancellationRequested();
        var isName = !IPAddress.TryParse(host, out _);
        var results = attempts.Take(MostShown).Select(
            attempt => isName ? $"{attempt.Address}: {attempt.Explain(timeout)}" : attempt.Explain(timeout));
        var tried = string.Join("; ", results);
        if (attempts.Count > MostShown) tried += $"; {attempts.Count - MostShown} other addresses failed as well";
        throw new NotConnectedException(objection is null ? tried : $"{objection}; its last known addresses: {tried}");
    }

    /// <summary>Creates an HTTP handler whose connections are opened here, through the proxy of the environment if
    /// there is one. The caller limits the time for TLS and for the tunnel of a proxy.</summary>
    /// <param name="connectTimeout">See <see cref="ConnectAsync(string, int, TimeSpan, CancellationToken)"/>.</param>
    /// <param name="connected">Called when a TCP connection is open, before TLS.</param>
    /// <param name="rule">For a connection, returns a function that says why an address is not allowed (null: it is
    /// allowed); null: all addresses are allowed.</param>
    public SocketsHttpHandler NewHandler(
        TimeSpan connectTimeout,
        Action? connected = null,
        Func<SocketsHttpConnectionContext, Func<IPAddress, string?>?>? rule = null) => new()
        {
            AllowAutoRedirect = false,
            ConnectCallback = async (context, cancellationToken) =>
            {
                var (host, port) = (context.DnsEndPoint.Host, context.DnsEndPoint.Port);
                var socket = await ConnectAsync(host, port, connectTimeout, rule?.Invoke(context), cancellationToken);
                try
                {
                    connected?.Invoke();
                }
                catch (ObjectDisposedException)
                {
                    // The request was cancelled and its timer disposed; the connection may serve the next request.
                }

                return new NetworkStream(socket, ownsSocket: true);
            },
            Proxy = EnvironmentProxy.Current,
            UseCookies = false,
        };

    /// <summary>Alternates IPv6 and IPv4, beginning with the resolver's first choice (RFC 8305, section 4).</summary>
    static IEnumerable<IPAddress> Interleave(IPAddress[] addresses)
    {
        var first = addresses.Where(address => address.AddressFamily == addresses[0].AddressFamily).ToList();
        var others = addresses.Where(address => address.AddressFamily != addresses[0].AddressFamily).ToList();
        for (var i = 0; i < Math.Max(first.Count, others.Count); i++)
        {
            if (i < first.Count) yield return first[i];
            if (i < others.Count) yield return others[i];
        }
    }

    /// <summary>Starts the attempts. Returns the first one that connects; null when all have failed or the time is
    /// over.</summary>
    async Task<Attempt?> RaceAsync(Queue<IPAddress> waiting, int port, List<Attempt> attempts, CancellationToken over)
    {
        while (true)
        {
            if (attempts.Find(attempt => attempt.IsConnected) is { } winner) return winner;
            if (over.IsCancellationRequested) return null;
            var all = attempts.Select(Task (attempt) => attempt.Connecting);
            var running = all.Where(task => !task.IsCompleted).ToList();
            if (waiting.TryDequeue(out var address))
            {
                var next = new Attempt(address, OpenAsync(new(address, port), over));
                attempts.Add(next);
                running.Add(next.Connecting);
            }
            else if (running.Count == 0)
            {
                return null;
            }

            // Waits until an attempt completes, or the next address is due.
            if (waiting.Count > 0) running.Add(Task.Delay(NextAfter, timeProvider, over));
            await Task.WhenAny(running);
        }
    }

    static async Task<Socket> OpenAsync(IPEndPoint endpoint, CancellationToken cancellationToken)
    {
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(endpoint, cancellationToken);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    sealed record Attempt(IPAddress Address, Task<Socket> Connecting)
    {
        public bool IsConnected => Connecting.IsCompletedSuccessfully;

        /// <summary>Why the attempt failed.</summary>
        public string Explain(TimeSpan timeout) => Connecting.Exception?.InnerException is { } exception
            ? LogText.Clean(exception.Message)
            : $"no answer within {timeout.TotalSeconds:0} s";
    }
}
