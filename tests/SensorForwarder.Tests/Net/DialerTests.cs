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
    public async Task An_address_that_drops_everything_is_not_waited_for()
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
    public async Task An_address_that_refuses_makes_the_next_one_due_at_once()
    {
        Resolve(IPAddress.Parse("127.0.0.2"), IPAddress.Parse("127.0.0.3"), IPAddress.Loopback);
        using var socket = await ConnectAsync();
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, Port), socket.RemoteEndPoint);
    }

    [Fact]
    public async Task The_error_names_the_addresses_and_what_came_of_each()
    {
        var port = FreePort.Find();
        using var hole = new BlackHole(port);
        Resolve(hole.Address, IPAddress.Loopback);
        Assert.Equal($"{hole.Address}: no answer within 5 s; 127.0.0.1: Connection refused", await FailAsync(port));
    }

    [Fact]
    public async Task The_families_are_tried_in_turn()
    {
        Resolve([.. new[] { "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1", "::1" }.Select(IPAddress.Parse)]);
        var error = await FailAsync();
        var tried = error.Split("; ").Select(text => text[..text.IndexOf(": ", StringComparison.Ordinal)]);
        Assert.Equal(["127.0.0.2", "::1", "127.0.0.3", "::1", "127.0.0.4"], tried);
    }

    [Fact]
    public async Task Of_many_addresses_the_error_names_some()
    {
        Resolve([.. Enumerable.Range(2, 20).Select(last => new IPAddress([127, 0, 0, (byte)last]))]);
        var error = await FailAsync();
        Assert.Contains("127.0.0.2: Connection refused; ", error, StringComparison.Ordinal);
        Assert.EndsWith("; 14 other addresses failed as well", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_address_is_not_resolved()
    {
        _answer = () => throw new InvalidOperationException("asked");
        using var socket = await Dialer.ConnectAsync("127.0.0.1", Port, Timeout, Token);
        var error = await Assert.ThrowsAsync<NotConnectedException>(
            () => Dialer.ConnectAsync("127.0.0.1", FreePort.Find(), Timeout, Token));
        Assert.Equal("Connection refused", error.Message);
    }

    [Fact]
    public async Task A_resolver_that_is_slow_has_its_own_time()
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
    public async Task A_name_that_is_not_resolved_is_what_the_error_says()
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
    public async Task An_answer_that_comes_too_late_serves_the_next_connection()
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
    public async Task A_connection_that_nobody_waits_for_any_more_is_given_up()
    {
        using var hole = new BlackHole(Port);
        using var stop = new CancellationTokenSource();
        Resolve(hole.Address);
        var connecting = Dialer.ConnectAsync("receiver.test", Port, Timeout, stop.Token);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connecting);
    }
}
