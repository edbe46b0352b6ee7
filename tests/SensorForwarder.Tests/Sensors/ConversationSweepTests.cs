using System.Collections.Concurrent;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>
/// A reset, a bit error and a stuck line at every byte of a chip's conversation, in the first reading and in the next:
/// each reading is bad, or uncertain, or it has the values that it has without the fault. Faults that no driver can
/// detect are listed here, and in the table of Sensors/README.md.
/// </summary>
public sealed class ConversationSweepTests
{
    const int Readings = 3;

    // Faults that the chip's answers do not show.
    static readonly Dictionary<(string Kind, WireFault Fault), string> Undetectable = new()
    {
        [("bh1750", WireFault.BitInCommand)] = "may be wrong: the chip's commands can't be read back",
        [("mcp3008", WireFault.StuckLow)] = "may be wrong: 0 V looks like a line that is low",
    };

    static readonly ConcurrentDictionary<string, Task<Dictionary<WireFault, List<string>>>> Swept = [];

    public static TheoryData<string> Kinds => [.. SweptChip.All.Select(chip => chip.Kind)];

    [Fact]
    public void Every_kind_on_an_I2C_or_SPI_bus_is_swept()
    {
        var onBuses = Module.SensorKinds.All.Where(kind => kind.Connection is "I2C" or "SPI").Select(kind => kind.Name);
        Assert.Equal(onBuses.Order(), SweptChip.All.Select(chip => chip.Kind).Order());
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task No_wrong_value_is_reported_as_good(string kind)
    {
        foreach (var (fault, wrong) in await SweepAsync(kind))
        {
            if (Undetectable.ContainsKey((kind, fault))) Assert.NotEmpty(wrong);
            else Assert.True(wrong.Count == 0, $"{kind}: {fault}: {wrong.Count} wrong, such as {string.Join("; ", wrong.Take(4))}");
        }
    }

    [Fact]
    public void The_table_of_detected_faults_matches_the_code() => WrittenFile.CheckTable(
        "modules/SensorForwarder/Sensors/README.md",
        "| kind | reset | bit error in an answer | bit error in a command | line low | line high |",
        SweptChip.All.Select(chip => $"| `{chip.Kind}` | {string.Join(
            " | ", Enum.GetValues<WireFault>().Select(fault => Undetectable.GetValueOrDefault((chip.Kind, fault), "never wrong")))} |"));

    static Task<Dictionary<WireFault, List<string>>> SweepAsync(string kind) =>
        Swept.GetOrAdd(kind, name => Task.Run(() => Sweep(SweptChip.All.Single(chip => chip.Kind == name))));

    static Dictionary<WireFault, List<string>> Sweep(SweptChip chip)
    {
        using var world = new SensorFixture();
        var (expected, bytes) = Run(world, chip, null, 0, 0);
        Assert.All(expected, measurement => Assert.True(measurement.Quality == ReadingQuality.Good, $"{chip.Kind}: {measurement}"));
        Assert.Equal(Readings, expected.Select(measurement => measurement.Values[0].Value + measurement.Values[^1].Value).Distinct().Count());
        var wrong = Enum.GetValues<WireFault>().ToDictionary(fault => fault, _ => new ConcurrentBag<string>());
        var tries = from at in Enumerable.Range(0, bytes.Count / chip.Stride).Select(i => i * chip.Stride)
                    from fault in Enum.GetValues<WireFault>()
                    where fault != (bytes[at] ? WireFault.BitInCommand : WireFault.BitInAnswer)
                    from bit in Bits(chip, fault, at)
                    select (at, fault, bit);
        Parallel.ForEach(tries, new ParallelOptions { MaxDegreeOfParallelism = chip.Stride > 1 ? 24 : 2 }, one =>
        {
            var (measured, _) = Run(world, chip, one.fault, one.at, one.bit);
            for (var i = 0; i < Readings; i++)
            {
                if (measured[i].Quality != ReadingQuality.Good || measured[i].Values.Count == 0
                    || measured[i].Values.SequenceEqual(expected[i].Values)) continue;
                wrong[one.fault].Add($"byte {one.at} bit {one.bit}: reading {i} is {string.Join(", ", measured[i].Values)}");
            }
        });
        return wrong.ToDictionary(pair => pair.Key, pair => pair.Value.Order(StringComparer.Ordinal).ToList());
    }

    static IEnumerable<int> Bits(SweptChip chip, WireFault fault, int at) =>
        fault is not (WireFault.BitInAnswer or WireFault.BitInCommand) ? [0]
        : chip.Stride > 1 ? [at * 5 % 8]
        : Enumerable.Range(0, 8);

    static (List<Measurement> Measured, List<bool> Bytes) Run(
        SensorFixture world, SweptChip chip, WireFault? fault, int at, int bit)
    {
        var clock = new WaitingClock();
        var reading = 0;
        var (simulated, spi) = chip.Make(clock, () => reading);
        var wire = new FaultyWire(simulated, chip.Address);
        if (fault is { } planned) wire.Plan(planned, at, bit);
        clock.Advance(TimeSpan.FromSeconds(1));
        var address = chip.Address == 0 ? "" : $"\"address\":{chip.Address}";
        var options = string.Join(',', new[] { address, chip.Options }.Where(option => option.Length > 0));
        using var session = new SensorSession(
            SensorFixture.Settings(chip.Kind, options),
            new SensorWorld(world.Roots, clock) { OpenI2c = (_, place) => wire.OpenI2c(place), OpenSpi = _ => wire.OpenSpi(spi!) },
            null, 0.5, NullLogger.Instance);
        var measured = new List<Measurement>();
        for (; reading < Readings; reading++)
        {
            measured.Add(session.Measure(CancellationToken.None));
            wire.Heal();
            clock.Advance(TimeSpan.FromSeconds(25));
        }

        return (measured, wire.IsAnswer);
    }
}
