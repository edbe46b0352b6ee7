using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using MQTTnet;
using MQTTnet.Protocol;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>
/// Kind mqtt against Debian's Mosquitto: a sender that records which messages the broker acknowledged, a module that is killed repeatedly, a broker that is
/// stopped and killed, and a receiver. Mosquitto acknowledges a message before it has saved it. So a message that it acknowledged to the sender must arrive
/// unless Mosquitto itself was killed afterwards, and a message that the module acknowledged, according to Mosquitto's log, always. tests/run installs Mosquitto; without it
/// the test is skipped, unless TEST_MOSQUITTO_REQUIRED is 1.
/// </summary>
public sealed partial class MosquittoTests(ITestOutputHelper output) : IDisposable
{
    const string ClientId = "device-SensorForwarder-a";

    static readonly string? Mosquitto = new[] { "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto" }.FirstOrDefault(File.Exists);

    readonly string _directory = Directory.CreateTempSubdirectory("mosquitto-").FullName;

    // Messages that the broker acknowledged to the sender, with the run of the broker in which it did.
    readonly ConcurrentDictionary<int, int> _acknowledged = [];

    // Messages that the module acknowledged to the broker.
    readonly ConcurrentDictionary<int, bool> _taken = [];
    readonly HashSet<int> _killed = [];
    readonly ConcurrentDictionary<int, int> _received = [];
    readonly int _port = FreePort.Find();
    int _life;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task Every_message_that_the_broker_accepted_arrives_whenever_broker_and_module_are_killed()
    {
        if (Mosquitto is null)
        {
            Assert.False(Environment.GetEnvironmentVariable("TEST_MOSQUITTO_REQUIRED") == "1", "mosquitto is not installed");
            Assert.Skip("mosquitto is not installed; tests/run installs what this test needs");
        }

        var (messages, kills) = (Tier.Size("TEST_MQTT_MESSAGES", quick: 300, full: 1_500, deep: 10_000), Tier.Size("TEST_MQTT_KILLS", quick: 2, full: 4, deep: 50));
        var seed = Tier.Seed ?? Environment.TickCount;
        output.WriteLine($"TEST_SEED={seed}");
        var random = new Random(seed);
        await File.WriteAllTextAsync(
            Path.Combine(_directory, "settings.json"),
            $$$$"""{"batchSize":200,"uploadIntervalSeconds":0.2,"commitIntervalMs":1000,"sensors":{"a":{"kind":"mqtt","broker":"mqtt://127.0.0.1:{{{{_port}}}}","topics":["a/+"],"name":"b"}}}""",
            Token);

        // As docs/intake.md advises.
        await File.WriteAllTextAsync(
            Path.Combine(_directory, "mosquitto.conf"),
            $"""
            listener {_port} 127.0.0.1
            allow_anonymous true
            persistence true
            persistence_location {_directory}/
            autosave_on_changes true
            autosave_interval 1
            max_queued_messages 0
            log_dest stderr
            log_type all
            user root

            """, Token);
        await using var receiver = await Receiver.StartAsync(ReceiveAsync);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(Token);
        Process? broker = null;
        ChildProcess? module = null;
        try
        {
            broker = StartBroker();
            module = StartModule(receiver);
            await module.LineAsync("subscribed to its topics");
            var sending = SendAsync(messages, ending.Token);
            for (var kill = 0; kill < kills; kill++)
            {
                // Killed after a random number of further messages.
                var until = Math.Min(messages, (messages * kill / kills) + random.Next(1, Math.Max(2, messages / kills)));
                await Until.True(() => _acknowledged.Count >= until || sending.IsFaulted);
                if (kill % 2 == 1)
                {
                    var signal = kill % 4 == 1 ? "TERM" : "KILL";
                    if (signal == "KILL") _killed.Add(_life);
                    await StopAsync(broker, signal);
                    broker = StartBroker();
                }

                await module.DisposeAsync();
                module = StartModule(receiver);
            }

            await sending;
            await Until.True(() => _acknowledged.All(
                message => IsLostByBroker(message) || (_received.ContainsKey(message.Key) && _taken.ContainsKey(message.Key))));
            var lost = _acknowledged.Count(message => !_received.ContainsKey(message.Key));
            output.WriteLine($"{kills} kills of the module, {_life - 1} of the broker ({_killed.Count} with SIGKILL), {_acknowledged.Count} messages, "
                + $"{_received.Values.Sum()} readings arrived, {lost} lost by Mosquitto");
            Assert.Equal(messages, _acknowledged.Count);
            Assert.All(_taken.Keys, number => Assert.Contains(number, _received));
            Assert.True(module.IsRunning);
        }
        finally
        {
            await ending.CancelAsync();
            if (module is not null) await module.DisposeAsync();
            if (broker is not null) await StopAsync(broker, "KILL");
        }
    }

    /// <summary>Whether Mosquitto may have lost the message: it was killed after it had acknowledged it and before the module had.</summary>
    bool IsLostByBroker(KeyValuePair<int, int> message) => _killed.Contains(message.Value) && !_taken.ContainsKey(message.Key);

    Process StartBroker()
    {
        var start = new ProcessStartInfo(Mosquitto!, ["-c", Path.Combine(_directory, "mosquitto.conf")]) { RedirectStandardError = true };
        start.Environment["TMPDIR"] = _directory;
        _life++;
        var broker = Process.Start(start)!;
        var numbers = new Dictionary<string, int>();
        broker.ErrorDataReceived += (_, line) => Note(line.Data ?? "", numbers);
        broker.BeginErrorReadLine();
        return broker;
    }

    /// <summary>Reads a line of the broker's log.</summary>
    /// <param name="numbers">The numbers that the broker has sent to the module, by message id.</param>
    void Note(string line, Dictionary<string, int> numbers)
    {
        if (SentLine().Match(line) is { Success: true } sent)
            numbers[sent.Groups[1].Value] = int.Parse(sent.Groups[2].Value, CultureInfo.InvariantCulture);
        else if (AcknowledgedLine().Match(line) is { Success: true } acknowledged)
            _taken[numbers[acknowledged.Groups[1].Value]] = true;
    }

    [GeneratedRegex($@"Sending PUBLISH to {ClientId} \(d\d, q1, r\d, m(\d+), 'a/(\d+)'")]
    private static partial Regex SentLine();

    [GeneratedRegex($@"Received PUBACK from {ClientId} \(Mid: (\d+),")]
    private static partial Regex AcknowledgedLine();

    static async Task StopAsync(Process broker, string signal)
    {
        using (var kill = Process.Start("kill", [$"-{signal}", broker.Id.ToString(CultureInfo.InvariantCulture)])) await kill.WaitForExitAsync(CancellationToken.None);
        await broker.WaitForExitAsync(CancellationToken.None);
        broker.Dispose();
    }

    ChildProcess StartModule(Receiver receiver) => ChildProcess.StartModule(
        ("Buffer__Directory", Data), ("Web__Port", "0"), ("Settings__File", Path.Combine(_directory, "settings.json")), ("Device__Id", "device"),
        ("Http__Endpoint", receiver.Url.ToString()), ("Intake__ReadingsPerSecond", "0"));

    /// <summary>Publishes each number until the broker has acknowledged it, a few at a time.</summary>
    async Task SendAsync(int messages, CancellationToken token)
    {
        var next = _acknowledged.Count;
        while (next < messages)
        {
            var life = _life;
            try
            {
                using var client = new MqttClientFactory().CreateMqttClient();
                await client.ConnectAsync(new MqttClientOptionsBuilder().WithTcpServer("127.0.0.1", _port).WithClientId("sender").WithTimeout(Until.Limit).Build(), token);
                while (next < messages)
                {
                    var some = Enumerable.Range(next, Math.Min(20, messages - next)).ToList();
                    await Task.WhenAll(some.Select(async number =>
                    {
                        var answer = await client.PublishStringAsync(
                            $"a/{number}", number.ToString(CultureInfo.InvariantCulture), MqttQualityOfServiceLevel.AtLeastOnce, cancellationToken: token);

                        // Without the module's session the message would have no subscriber and the reason code would differ.
                        Assert.Equal(MqttClientPublishReasonCode.Success, answer.ReasonCode);
                        _acknowledged[number] = life;
                    }));
                    while (_acknowledged.ContainsKey(next)) next++;
                }
            }
            catch (Exception exception) when (!token.IsCancellationRequested && exception is MQTTnet.Exceptions.MqttCommunicationException or OperationCanceledException)
            {
                // The broker was stopped or does not listen yet, so nothing was acknowledged.
                await Task.Delay(TimeSpan.FromMilliseconds(20), TimeProvider.System, token);
                while (_acknowledged.ContainsKey(next)) next++;
            }
        }
    }

    async Task ReceiveAsync(Microsoft.AspNetCore.Http.HttpContext context)
    {
        using var json = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
        foreach (var reading in json.RootElement.GetProperty("batch").EnumerateArray())
        {
            var data = reading.GetProperty("data");
            if (data.GetProperty("sensor").GetString() == "b")
                _received.AddOrUpdate(data.GetProperty("values").GetProperty("value").GetInt32(), 1, (_, times) => times + 1);
        }
    }
}
