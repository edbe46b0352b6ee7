using System.Globalization;
using System.Text.Json.Nodes;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>Scripts that pass readings to the running module with <c>--enqueue</c>.</summary>
public sealed class EnqueueTests : IAsyncLifetime
{
    readonly string _directory = Directory.CreateTempSubdirectory("enqueue-").FullName;
    ChildProcess _module = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    public async ValueTask InitializeAsync()
    {
        var settings = Path.Combine(_directory, "settings.json");
        await File.WriteAllTextAsync(settings, """{"commitIntervalMs":60000,"sensors":{}}""", Token);
        _module = ChildProcess.StartModule(
            ("Buffer__Directory", Data), ("Web__Port", "0"), ("Settings__File", settings), ("Intake__ReadingsPerSecond", "0"),
            ("Http__Endpoint", "http://127.0.0.1:9/"));
        await Until.True(() => File.Exists(Path.Combine(Data, "enqueue.sock")) || !_module.IsRunning);
    }

    public async ValueTask DisposeAsync()
    {
        await _module.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    static string Line(int number) => string.Create(CultureInfo.InvariantCulture, $$$"""{"sensor":"backup","values":{"number":{{{number}}}}}""");

    List<int> Numbers() => [.. StoredLines.Read(Path.Combine(Data, "telemetry.db")).Select(line => (int?)JsonNode.Parse(line.Json)!["values"]?["number"] ?? -1)];

    [Fact]
    public async Task Enqueued_lines_are_committed_when_the_program_exits_with_0()
    {
        Assert.Equal((0, ""), await EnqueueRun.RunAsync(Data, Line(1)));
        Assert.Equal([1], Numbers());
        Assert.Equal((0, ""), await EnqueueRun.RunAsync(Data, $"\n{Line(2)}\r\n\n{{\"other\":1}}\n\n"));
        Assert.Equal((0, ""), await EnqueueRun.RunAsync(Data, ""));
        Assert.Equal((0, ""), await EnqueueRun.RunAsync(Data, "\n \n"));
        Assert.Equal([1, 2, -1], Numbers());

        // Far more lines than fit into one request, and lines so large that each has its own request.
        var many = Enumerable.Range(3, 20_000).ToList();
        var large = $"\"{new string('x', 200_000)}\"\n";
        Assert.Equal((0, ""), await EnqueueRun.RunAsync(Data, $"{large}{string.Join('\n', many.Select(Line))}\n{large}{large}"));
        Assert.Equal([1, 2, -1, -1, .. many, -1, -1], Numbers());

        // Lines that arrive slowly are stored before the input ends.
        using var slow = EnqueueRun.Start(Data);
        await slow.Input.WriteAsync(Line(30_000) + "\n" + Line(30_001)[..10]);
        await slow.Input.FlushAsync(Token);
        await Until.True(() => Numbers()[^1] == 30_000);
        await slow.Input.WriteAsync(Line(30_001)[10..]);
        Assert.Equal((0, ""), await slow.EndAsync());
        Assert.Equal(30_001, Numbers()[^1]);
    }

    [Fact]
    public async Task An_invalid_line_is_reported_with_its_number_and_the_count_of_lines_stored_before_it()
    {
        var (code, error) = await EnqueueRun.RunAsync(Data, $"{Line(1)}\n{Line(2)}\n{{\"sensor\":\n{Line(4)}\n");
        Assert.Equal(1, code);
        Assert.StartsWith("line 3: it is not JSON: ", error, StringComparison.Ordinal);
        Assert.EndsWith("; nothing was stored", error, StringComparison.Ordinal);
        Assert.Empty(Numbers());

        var lines = Enumerable.Range(1, 12_000).Select(i => i == 11_000 ? "noon" : Line(i));
        (code, error) = await EnqueueRun.RunAsync(Data, string.Join('\n', lines));
        Assert.Equal(1, code);
        Assert.StartsWith("line 11000: it is not JSON: ", error, StringComparison.Ordinal);
        var stored = Numbers();
        Assert.EndsWith($"; only the first {stored.Count} lines were stored", error, StringComparison.Ordinal);
        Assert.Equal(Enumerable.Range(1, stored.Count), stored);

        (code, error) = await EnqueueRun.RunAsync(Data, $"\"{new string('x', 600_000)}\"");
        Assert.Equal(1, code);
        Assert.StartsWith("line 1: it has more than 262144 bytes", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_a_running_module_nothing_is_stored_and_the_exit_code_asks_for_a_retry()
    {
        var elsewhere = Path.Combine(_directory, "elsewhere");
        var (code, error) = await EnqueueRun.RunAsync(elsewhere, Line(1));
        Assert.Equal((75, $"no module that runs on {elsewhere} answers; nothing was stored"), (code, error));
    }
}
