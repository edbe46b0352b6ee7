using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using SensorForwarder.Tests.Simulator;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>Senders record which readings the module acknowledged, while it is killed repeatedly; in the end the receiver has
/// every acknowledged reading.</summary>
public sealed class IntakeKillTests(ITestOutputHelper output) : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("intake-kill-").FullName;
    readonly ConcurrentDictionary<int, bool> _acknowledged = [];
    readonly ConcurrentDictionary<int, int> _received = [];
    readonly int _port = FreePort.Find();
    (string Name, string Value)[] _hub = [];
    int _last;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public Task Every_reading_acknowledged_over_HTTP_arrives_whenever_the_module_is_killed() =>
        RunAsync(Tier.Size("TEST_INTAKE_KILLS", quick: 2, full: 50, deep: 200), most: 100, senders: 4, SendByHttpAsync);

    [Fact(Explicit = true)]
    public Task Every_reading_acknowledged_by_the_command_line_arrives_whenever_the_module_is_killed() =>
        RunAsync(Tier.Size("TEST_ENQUEUE_KILLS", quick: 2, full: 10, deep: 50), most: 20, senders: 2, SendByCommandLineAsync);

    [Fact(Explicit = true)]
    public async Task Every_message_acknowledged_to_edgeHub_arrives_whenever_the_module_is_killed()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var authority = Path.Combine(_directory, "ca.pem");
        await File.WriteAllTextAsync(authority, hub.TrustBundle, Token);
        _hub =
        [
            ("EdgeHubConnectionString", $"HostName={hub.Identity.HubHost};GatewayHostName={hub.Identity.GatewayHost};"
                + $"DeviceId={hub.Identity.DeviceId};ModuleId={hub.Identity.ModuleId};SharedAccessKey={SimulatedHub.Key}"),
            ("EdgeModuleCACertificateFile", authority),
        ];
        hub.Hub.Inputs.Delivered = (_, body) => _acknowledged[JsonDocument.Parse(body).RootElement.GetProperty("values").GetProperty("number").GetInt32()] = true;
        await RunAsync(
            Tier.Size("TEST_INPUT_KILLS", quick: 2, full: 5, deep: 50), most: 20, senders: 1, (_, token) => SendToInputAsync(hub, token));
        output.WriteLine($"{_received.Values.Sum(times => times - 1)} redelivered");
    }

    /// <param name="kills">How often the module is killed.</param>
    /// <param name="most">Upper bound of the random number of readings that are acknowledged between two kills.</param>
    /// <param name="senders">How many send at once.</param>
    /// <param name="send">Sends until it fails or is cancelled.</param>
    async Task RunAsync(int kills, int most, int senders, Func<Random, CancellationToken, Task> send)
    {
        var seed = Tier.Seed ?? Environment.TickCount;
        output.WriteLine($"TEST_SEED={seed}");
        var random = new Random(seed);
        await File.WriteAllTextAsync(
            Path.Combine(_directory, "settings.json"),
            """{"sink":"http","batchSize":200,"uploadIntervalSeconds":0.2,"commitIntervalMs":20,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.01}}}""", Token);
        await using var receiver = await Receiver.StartAsync(ReceiveAsync);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var sending = Enumerable.Range(0, senders).Select(i => SendAsync(new(seed + i + 1), ending.Token)).ToList();
        for (var kill = 0; kill < kills; kill++)
        {
            // Killed while it works, after a random number of further acknowledgements.
            await using var module = StartModule(receiver);
            var until = _acknowledged.Count + random.Next(1, most);
            await Until.True(() => _acknowledged.Count >= until || sending.Any(sender => sender.IsFaulted));
            Assert.True(module.IsRunning, string.Join('\n', module.Lines));
        }

        await ending.CancelAsync();
        await Task.WhenAll(sending);
        await using var last = StartModule(receiver);
        await Until.True(() => _acknowledged.Keys.All(_received.ContainsKey));
        output.WriteLine($"{kills} kills, {_acknowledged.Count} readings acknowledged of {_last}, {_received.Count} arrived");
        Assert.True(_acknowledged.Count > kills);

        async Task SendAsync(Random own, CancellationToken token)
        {
            while (!token.IsCancellationRequested)
            {
                try
                {
                    await send(own, token);
                }
                catch (Exception exception) when (exception is OperationCanceledException or HttpRequestException or IOException)
                {
                    // The module was killed or does not listen yet, so nothing was acknowledged.
                    await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System, CancellationToken.None);
                }
            }
        }
    }

    ChildProcess StartModule(Receiver receiver) => ChildProcess.StartModule(
    [
        .. _hub,
        ("Buffer__Directory", Data), ("Web__Port", "0"), ("Settings__File", Path.Combine(_directory, "settings.json")),
        ("Http__Endpoint", receiver.Url.ToString()), ("Intake__Http", $"127.0.0.1:{_port}"), ("Intake__ReadingsPerSecond", "0"),
    ]);

    /// <summary>The numbers of some new readings.</summary>
    List<int> Next(Random random, int most) =>
        [.. Enumerable.Range(0, random.Next(1, most)).Select(_ => Interlocked.Increment(ref _last))];

    static string Lines(List<int> numbers) => string.Concat(numbers.Select(number =>
        string.Create(CultureInfo.InvariantCulture, $$$"""{"sensor":"sent","values":{"number":{{{number}}}}}""") + "\n"));

    async Task SendByHttpAsync(Random random, CancellationToken token)
    {
        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{_port}") };
        while (true)
        {
            // About half of the requests are line protocol. Some requests are committed at once, and some wait to be committed with others.
            var numbers = Next(random, 200);
            var isLines = random.Next(2) == 0;
            var body = isLines
                ? string.Concat(numbers.Select(number => string.Create(CultureInfo.InvariantCulture, $"sent number={number}\n")))
                : Lines(numbers);
            using var content = new StringContent(body, Encoding.UTF8, isLines ? "text/plain" : "application/x-ndjson");
            using var answer = await http.PostAsync(isLines ? "/api/v2/write" : "/readings", content, token);
            if (answer.StatusCode == HttpStatusCode.NoContent) numbers.ForEach(number => _acknowledged[number] = true);
            else Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
        }
    }

    async Task SendByCommandLineAsync(Random random, CancellationToken token)
    {
        while (!token.IsCancellationRequested)
        {
            // A run that finds no module needs as much CPU time as any other, and would slow the module's start.
            await Until.True(() => token.IsCancellationRequested || IsListening());
            var numbers = Next(random, 50);
            var (code, error) = await EnqueueRun.RunAsync(Data, Lines(numbers));
            if (code == 0) numbers.ForEach(number => _acknowledged[number] = true);
            else Assert.True(code == 75, error);
        }
    }

    async Task SendToInputAsync(SimulatedHub hub, CancellationToken token)
    {
        while (!token.IsCancellationRequested)
        {
            // Few messages wait in edgeHub, so that the last module soon has all of them.
            await Until.True(() => token.IsCancellationRequested || _last < _acknowledged.Count + 20);
            var number = ++_last;
            Assert.True(hub.Hub.Inputs.TryEnqueue(
                "numbers", [new("$.mid", $"{number}")], hub.Identity.DeviceId, "Sender", Encoding.UTF8.GetBytes(Lines([number]))));
        }
    }

    bool IsListening()
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(Path.Combine(Data, "enqueue.sock")));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    async Task ReceiveAsync(Microsoft.AspNetCore.Http.HttpContext context)
    {
        using var json = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
        foreach (var reading in json.RootElement.GetProperty("batch").EnumerateArray())
        {
            var data = reading.GetProperty("data");
            if (data.GetProperty("sensor").GetString() == "sent")
                _received.AddOrUpdate(data.GetProperty("values").GetProperty("number").GetInt32(), 1, (_, times) => times + 1);
        }
    }
}
