using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Net;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Net;

/// <summary>A name with several addresses is connected by the first address that accepts. The sockets are real; clock
/// and resolver are fakes.</summary>
public sealed class DialerTests : IDisposable
{
    static readonly TimeSpan Timeout = TimeSpan.FromSeconds(5);

    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly FakeTimeProvider _clock = new();
    Func<Task<IPAddress[]>> _answer = () => Task.FromResult<IPAddress[]>([IPAddress.Loopback]);

    public DialerTests()
    {
        _listener.Start();
        Dialer = new(_clock, (_, _) => _answer());
    }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    Dialer Dialer { get; }

    int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose() => _listener.Dispose();

    Task<Socket> ConnectAsync(int? port = null) => Dialer.ConnectAsync("receiver.test", port ?? Port, Timeout, Token);

    // In small steps, since a refusal needs some real time while the timeout uses the fake clock.
    async Task<string> FailAsync(int? port = null, double stepSeconds = 0.05)
    {
        var connecting = ConnectAsync(port);
        await Until.True(() => connecting.IsCompleted, _clock, TimeSpan.FromSeconds(stepSeconds));
        return (await Assert.ThrowsAsync<NotConnectedException>(() => connecting)).Message;
    }

    void Resolve(params IPAddress[] addresses) => _answer = () => Task.FromResult(addresses);

    [Fact]
    public async Task An_address_that_drops_all_packets_does_not_delay_the_next_one_until_its_timeout()
    {
        using var hole = new BlackHole(Port);
        Resolve(hole.Address, IPAddress.Loopback);
        var connecting = Dialer.ConnectAsync("receiver.test", Port, TimeSpan.FromHours(1), Token);
        await Until.True(() => connecting.IsCompleted, _clock, TimeSpan.FromMilliseconds(250));
        using var socket = await connecting;
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, Port), socket.RemoteEndPoint);
        Assert.True(socket.NoDelay);
    }

    [Fact]
    public async Task After_a_refused_connection_the_next_address_is_tried_at_once()
    {
        Resolve(IPAddress.Parse("127.0.0.2"), IPAddress.Parse("127.0.0.3"), IPAddress.Loopback);
        using var socket = await ConnectAsync();
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, Port), socket.RemoteEndPoint);
    }

    [Fact]
    public async Task The_error_names_each_address_and_why_it_failed()
    {
        var port = FreePort.Find();
        using var hole = new BlackHole(port);
        Resolve(hole.Address, IPAddress.Loopback);
        Assert.Equal($"{hole.Address}: no answer within 5 s; 127.0.0.1: Connection refused", await FailAsync(port));
    }

    [Fact]
    public async Task Address_families_are_tried_alternately()
    {
        Resolve([.. new[] { "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1", "::1" }.Select(IPAddress.Parse)]);
        var error = await FailAsync();
        var tried = error.Split("; ").Select(text => text[..text.IndexOf(": ", StringComparison.Ordinal)]);
        Assert.Equal(["127.0.0.2", "::1", "127.0.0.3", "::1", "127.0.0.4"], tried);
    }

    [Fact]
    public async Task With_many_addresses_the_error_names_some_and_counts_the_others()
    {
        Resolve([.. Enumerable.Range(2, 20).Select(last => new IPAddress([127, 0, 0, (byte)last]))]);
        var error = await FailAsync();
        Assert.Contains("127.0.0.2: Connection refused; ", error, StringComparison.Ordinal);
        Assert.EndsWith("; 14 other addresses failed as well", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_literal_IP_address_is_not_resolved()
    {
        _answer = () => throw new InvalidOperationException("asked");
        using var socket = await Dialer.ConnectAsync("127.0.0.1", Port, Timeout, Token);
        var error = await Assert.ThrowsAsync<NotConnectedException>(
            () => Dialer.ConnectAsync("127.0.0.1", FreePort.Find(), Timeout, Token));
        Assert.Equal("Connection refused", error.Message);
    }

    [Fact]
    public async Task The_resolver_has_its_own_timeout_apart_from_that_of_the_connection()
    {
        var answer = new TaskCompletionSource<IPAddress[]>();
        _answer = () => answer.Task;
        var connecting = ConnectAsync();
        _clock.Advance(TimeSpan.FromSeconds(15));
        answer.SetResult([IPAddress.Loopback]);
        using var socket = await connecting;
        Assert.True(socket.Connected);
    }

    [Fact]
    public async Task The_error_names_a_host_that_could_not_be_resolved_and_why()
    {
        var unknown = new SocketException((int)SocketError.HostNotFound);
        _answer = () => Task.FromException<IPAddress[]>(unknown);
        Assert.Equal($"the name receiver.test could not be resolved ({unknown.Message})", await FailAsync());
        Resolve();
        Assert.Equal("the name receiver.test could not be resolved (it has no address)", await FailAsync());
        _answer = () => new TaskCompletionSource<IPAddress[]>().Task;
        Assert.Equal("the name receiver.test could not be resolved within 20 s", await FailAsync(stepSeconds: 1));
    }

    [Fact]
    public async Task While_the_resolver_fails_the_last_known_addresses_are_used()
    {
        using (await ConnectAsync())
        {
            _answer = () => Task.FromException<IPAddress[]>(new SocketException((int)SocketError.TryAgain));
            using var socket = await ConnectAsync();
            Assert.True(socket.Connected);
        }

        _listener.Stop();
        var error = await FailAsync(FreePort.Find());
        Assert.StartsWith("the name receiver.test could not be resolved (", error, StringComparison.Ordinal);
        Assert.EndsWith("; its last known addresses: 127.0.0.1: Connection refused", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task While_the_resolver_does_not_answer_the_last_known_addresses_are_used()
    {
        using var first = await ConnectAsync();
        _answer = () => new TaskCompletionSource<IPAddress[]>().Task;
        var connecting = ConnectAsync();
        await Until.True(() => connecting.IsCompleted, _clock, TimeSpan.FromSeconds(1));
        using var second = await connecting;
        Assert.True(second.Connected);
    }

    [Fact]
    public async Task A_late_answer_of_the_resolver_is_used_for_the_next_connection()
    {
        var (answer, asked) = (new TaskCompletionSource<IPAddress[]>(), 0);
        _answer = () =>
        {
            asked++;
            return answer.Task;
        };
        Assert.Contains("within 20 s", await FailAsync(stepSeconds: 1), StringComparison.Ordinal);
        Assert.Contains("within 20 s", await FailAsync(stepSeconds: 1), StringComparison.Ordinal);
        Assert.Equal(1, asked);

        answer.SetResult([IPAddress.Loopback]);
        using (await ConnectAsync())
        {
            _answer = () => Task.FromException<IPAddress[]>(new SocketException((int)SocketError.TryAgain));
            using var socket = await ConnectAsync();
            Assert.True(socket.Connected);
        }
    }

    [Fact]
    public async Task A_cancelled_connection_attempt_ends()
    {
        using var hole = new BlackHole(Port);
        using var stop = new CancellationTokenSource();
        Resolve(hole.Address);
        var connecting = Dialer.ConnectAsync("receiver.test", Port, Timeout, stop.Token);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connecting);
    }
}
