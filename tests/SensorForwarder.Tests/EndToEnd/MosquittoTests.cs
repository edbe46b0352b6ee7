using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using MQTTnet;
using MQTTnet.Protocol;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>Kind mqtt against Debian's Mosquitto: a sender that notes what the broker acknowledged, a broker and a module that are killed again and
/// again, and a receiver: in the end it has everything. tests/run installs Mosquitto; without it the test is skipped, unless
/// TEST_MOSQUITTO_REQUIRED is 1.</summary>
public sealed class MosquittoTests(ITestOutputHelper output) : IDisposable
{
    static readonly string? Mosquitto = new[] { "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto" }.FirstOrDefault(File.Exists);

    readonly string _directory = Directory.CreateTempSubdirectory("mosquitto-").FullName;
    readonly ConcurrentDictionary<int, bool> _acknowledged = [];
    readonly ConcurrentDictionary<int, int> _received = [];
    readonly int _port = FreePort.Find();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task Everything_that_the_broker_took_arrives_whenever_broker_and_module_are_killed()
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
            $$$$"""{"batchSize":200,"uploadIntervalSeconds":0.2,"commitIntervalMs":20,"sensors":{"a":{"kind":"mqtt","broker":"mqtt://127.0.0.1:{{{{_port}}}}","topics":["a/+"],"name":"{2}"}}}""",
            Token);

        await File.WriteAllTextAsync(
            Path.Combine(_directory, "mosquitto.conf"),
            $"""
            listener {_port} 127.0.0.1
            allow_anonymous true
            persistence true
            persistence_location {_directory}/
            max_queued_messages 0
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
            await module.LineAsync("its topics are subscribed");
            var sending = SendAsync(messages, ending.Token);
            for (var kill = 0; kill < kills; kill++)
            {
                // So much later than what had been taken at the last kill.
                var until = Math.Min(messages, (messages * kill / kills) + random.Next(1, Math.Max(2, messages / kills)));
                await Until.True(() => _acknowledged.Count >= until || sending.IsFaulted);
                if (kill % 2 == 0)
                {
                    await module.DisposeAsync();
                    module = StartModule(receiver);
                }
                else
                {
                    // Mosquitto writes its messages when it is stopped: killed outright it forgets what it has acknowledged.
                    await StopAsync(broker, "TERM");
                    broker = StartBroker();
                }
            }

            await sending;
            await Until.True(() => _acknowledged.Keys.All(_received.ContainsKey));

            // Now it has nothing to lose but the session.
            var before = module.Lines.Count(line => line.Contains("its topics are subscribed", StringComparison.Ordinal));
            await StopAsync(broker, "KILL");
            broker = StartBroker();
            await Until.True(() => module.Lines.Count(line => line.Contains("its topics are subscribed", StringComparison.Ordinal)) > before);
            messages += 20;
            await SendAsync(messages, ending.Token);
            await Until.True(() => _acknowledged.Keys.All(_received.ContainsKey));
            output.WriteLine($"{kills} kills, {_acknowledged.Count} messages, {_received.Values.Sum()} readings arrived");
            Assert.Equal(messages, _acknowledged.Count);
            Assert.True(module.IsRunning);
        }
        finally
        {
            await ending.CancelAsync();
            if (module is not null) await module.DisposeAsync();
            if (broker is not null) await StopAsync(broker, "KILL");
        }
    }

    Process StartBroker()
    {
        var start = new ProcessStartInfo(Mosquitto!, ["-c", Path.Combine(_directory, "mosquitto.conf")]) { RedirectStandardError = true };
        start.Environment["TMPDIR"] = _directory;
        var broker = Process.Start(start)!;
        broker.ErrorDataReceived += static (_, _) => { };
        broker.BeginErrorReadLine();
        return broker;
    }

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
            try
            {
                using var client = new MqttClientFactory().CreateMqttClient();
                await client.ConnectAsync(new MqttClientOptionsBuilder().WithTcpServer("127.0.0.1", _port).WithClientId("sender").WithTimeout(Until.Limit).Build(), token);
                while (next < messages)
                {
                    var some = Enumerable.Range(next, Math.Min(20, messages - next)).ToList();
                    await Task.WhenAll(some.Select(async number =>
                    {
                        var answer = await client.PublishStringAsync("a/b", number.ToString(CultureInfo.InvariantCulture), MqttQualityOfServiceLevel.AtLeastOnce, cancellationToken: token);
                        if (answer.IsSuccess) _acknowledged[number] = true;
                    }));
                    while (_acknowledged.ContainsKey(next)) next++;
                }
            }
            catch (Exception exception) when (!token.IsCancellationRequested && exception is MQTTnet.Exceptions.MqttCommunicationException or OperationCanceledException)
            {
                // Stopped, or not there yet: not acknowledged.
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
