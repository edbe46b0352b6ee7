using System.Net;
using System.Net.Sockets;
using System.Text;
using SensorForwarder.Buffer;
using SensorForwarder.Intake;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>The intake over a real buffer, and its HTTP listener if a test needs one.</summary>
internal sealed class IntakeFixture : IAsyncDisposable
{
    public static readonly DateTimeOffset Noon = BufferFixture.Noon;

    readonly BufferFixture _files = new(inMemory: true);
    readonly IntakeOptions _options;
    readonly TimeProvider _clock;
    HttpIntake? _http;

    IntakeFixture(IntakeOptions options, TimeProvider clock) => (_options, _clock) = (options, clock);

    public TelemetryBuffer Buffer { get; private set; } = null!;

    public IntakeStore Store { get; private set; } = null!;

    public string Directory => _files.Directory;

    public LogLines Log { get; } = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <param name="clock">The clock of the intake; the buffer uses the system's clock.</param>
    public static async Task<IntakeFixture> OpenAsync(
        IntakeOptions? options = null, TimeProvider? clock = null, BufferLimits? limits = null, Func<BufferOptions, BufferOptions>? with = null)
    {
        var fixture = new IntakeFixture(options ?? new() { ReadingsPerSecond = 0 }, clock ?? TimeProvider.System);
        fixture.Buffer = await fixture._files.OpenAsync(limits, with: with);
        fixture.Store = new(fixture.Buffer, fixture._options, fixture._clock);
        return fixture;
    }

    /// <summary>A fixture whose clock is stopped at noon.</summary>
    public static Task<IntakeFixture> AtNoonAsync() =>
        OpenAsync(clock: new Microsoft.Extensions.Time.Testing.FakeTimeProvider(Noon));

    public Task<IntakeAnswer> SendAsync(string body, string? type = null, string name = "things") =>
        SendAsync(Encoding.UTF8.GetBytes(body), type, name);

    public Task<IntakeAnswer> SendAsync(byte[] body, string? type = null, string name = "things") =>
        Store.StoreAsync(Store.Sources.Find("test"), body, type, "http", name, Token);

    public Task<IntakeAnswer> SendLinesAsync(string body, string? precision = null) => Store.StoreLinesAsync(
        Store.Sources.Find("test"), Encoding.UTF8.GetBytes(body), LineProtocol.TicksPerUnit(precision)!.Value, Token);

    /// <summary>The waiting readings in the buffer.</summary>
    public List<string> Stored() => [.. BufferFixture.ReadAll(Buffer).Select(BufferFixture.Text)];

    public IntakeSourceStatus Source(string name = "test") => Store.Sources.Status.Single(source => source.Name == name);

    /// <summary>Starts to listen, and returns a client with the address.</summary>
    public async Task<HttpClient> ListenAsync()
    {
        var requests = new HttpRequests(Store, _options, _clock, Log.For<HttpRequests>());
        _http = new(_options, requests, _clock, Log.For<HttpIntake>());
        await _http.StartAsync(Token);
        await Log.Waits("Accepting readings from other programs");
        if (_options.Http is IPEndPoint address) return new() { BaseAddress = new($"http://{address}") };
        var handler = new SocketsHttpHandler
        {
            ConnectCallback = async (_, token) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(_options.Http!, token);
                return new NetworkStream(socket, ownsSocket: true);
            },
        };
        return new(handler) { BaseAddress = new("http://localhost") };
    }

    public async ValueTask DisposeAsync()
    {
        if (_http is not null)
        {
            await _http.StopAsync(CancellationToken.None);
            _http.Dispose();
        }

        await Buffer.DisposeAsync();
        _files.Dispose();
    }
}
