using System.Diagnostics;
using System.Globalization;
using System.IO.Pipes;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A child process uses the buffer, reports committed readings and is killed at random points; every reported
/// reading must be stored.</summary>
public sealed class KillTests
{
    const int Lanes = 4;

    [Fact]
    public async Task Every_reading_reported_as_committed_is_stored_once_and_in_order_after_each_kill()
    {
        var kills = Tier.Size("TEST_BUFFER_KILLS", quick: 4, full: 60, deep: 200);
        var seed = Tier.Seed ?? Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"TEST_SEED={seed}");
        var reported = await Task.WhenAll(Enumerable.Range(0, Lanes).Select(async lane =>
        {
            using var killer = new Killer(seed + lane);
            return await killer.RunAsync((kills + Lanes - 1) / Lanes);
        }));
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{kills} kills, {reported.Sum()} reported readings, none lost");
    }
}

/// <summary>One directory, and the child processes that use it one after another.</summary>
internal sealed class Killer(int seed) : IDisposable
{
    readonly BufferFixture _fixture = new();
    readonly Random _random = new(seed);

    // Reported by the children: numbers by id, and the ids that may be gone.
    readonly Dictionary<long, long> _reported = [];
    readonly HashSet<long> _mayBeGone = [];
    readonly HashSet<long> _deadLetters = [];
    long _lastNumber;

    /// <returns>The number of readings reported.</returns>
    public async Task<int> RunAsync(int kills)
    {
        var epochs = new HashSet<string>();
        for (var kill = 1; kill <= kills; kill++)
        {
            await RunAndKillAsync(_random.Next(), _random.Next(1, 150));
            await using var buffer = await _fixture.OpenAsync(new BufferLimits { MaxBytes = 2 << 20 });
            Assert.True(epochs.Add(buffer.Epoch), "an epoch was used twice");
            Assert.Null(buffer.GetStatus().Salvage);
            Check(buffer, kill);
        }
        return _reported.Count;
    }

    public void Dispose() => _fixture.Dispose();

    async Task RunAndKillAsync(int childSeed, int linesToLive)
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.In, HandleInheritability.Inheritable);
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "SensorForwarder.Tests.Victim"))
        {
            RedirectStandardError = true,

            // A killed process would leave the runtime's diagnostic files behind.
            Environment = { ["DOTNET_EnableDiagnostics"] = "0" },
            ArgumentList =
            {
                _fixture.Directory, pipe.GetClientHandleAsString(), childSeed.ToString(CultureInfo.InvariantCulture),
                _lastNumber.ToString(CultureInfo.InvariantCulture),
            },
        };
        using var victim = Process.Start(start)!;
        pipe.DisposeLocalCopyOfClientHandle();
        using var reader = new StreamReader(pipe);
        // The time of the kill depends on the child's progress, not on a clock. What the child reports between the
        // decision and its death counts as well.
        for (var lines = 1; await reader.ReadLineAsync(BufferFixture.Token) is { } line; lines++)
        {
            Note(line);
            if (lines == linesToLive)
                victim.Kill();
        }
        await victim.WaitForExitAsync(BufferFixture.Token);
        var errors = await victim.StandardError.ReadToEndAsync(BufferFixture.Token);
        Assert.True(victim.ExitCode == 137, $"the child was not killed but ended: {errors}");
    }

    void Note(string line)
    {
        var words = line.Split(' ');
        // The last line may be incomplete.
        if (words.Length < 2 || (words[0] != "d" && words.Length < 3)
            || !long.TryParse(words[1], CultureInfo.InvariantCulture, out var first))
        {
            return;
        }
        switch (words[0])
        {
            case "n":
                var number = long.Parse(words[2], CultureInfo.InvariantCulture);
                Assert.True(_reported.TryAdd(first, number), $"id {first} was assigned twice");
                _lastNumber = Math.Max(_lastNumber, number);
                break;
            case "a":
                var last = long.Parse(words[2], CultureInfo.InvariantCulture);
                for (var id = first; id <= last; id++)
                    _mayBeGone.Add(id);
                break;
            case "d":
                _deadLetters.Add(first);
                break;
            default:
                Assert.Fail(line);
                break;
        }
    }

    void Check(TelemetryBuffer buffer, int kill)
    {
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(rows.Select(r => r.Id).Order().Distinct(), rows.Select(r => r.Id));
        var stored = new Dictionary<long, long>();
        foreach (var row in rows)
        {
            using var json = JsonDocument.Parse(row.Payload);
            if (json.RootElement.GetProperty("values").TryGetProperty("number", out var number))
                stored.Add(row.Id, number.GetInt64());
        }
        foreach (var letter in buffer.ListDeadLetters(0, int.MaxValue))
        {
            Assert.Contains(letter.Id, _deadLetters);
            using var json = JsonDocument.Parse(letter.Payload);
            Assert.True(stored.TryAdd(letter.Id, json.RootElement.GetProperty("values").GetProperty("number").GetInt64()));
        }
        var evicted = buffer.GetStatus().Evicted.Sum(e => e.Count);
        foreach (var (id, number) in _reported)
        {
            if (stored.TryGetValue(id, out var found))
                Assert.Equal(number, found);
            else if (evicted == 0)
                Assert.True(_mayBeGone.Contains(id), $"reading {id} is lost after kill {kill} of seed {seed}");
        }
        Assert.True(buffer.LastCommittedId >= _reported.Keys.DefaultIfEmpty().Max());
        // Readings that the child did not report may be stored too; from now on they must stay.
        foreach (var (id, number) in stored)
            _reported[id] = number;
        _lastNumber = Math.Max(_lastNumber, stored.Values.DefaultIfEmpty().Max());
        Assert.Equal(0, evicted);
    }
}
