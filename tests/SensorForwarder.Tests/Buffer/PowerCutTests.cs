using System.Globalization;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>
/// The buffer works over a VFS that records every write, truncation, sync, rename and deletion, and the points at which
/// readings were reported as committed. From that log the directory is rebuilt as it may look after a power cut at each
/// sync and at random points between, and opened: every reported reading must be there.
/// </summary>
public sealed class PowerCutTests
{
    static readonly string[] Settings = ["commit at once", "group commit", "1 MB, thinned", "retained", "salvage"];

    sealed record Outcome(int Images, int Readings, int Lost, int Salvages);

    [Fact]
    public async Task No_power_cut_loses_a_reading_that_was_reported_as_committed()
    {
        var perFault = Tier.Size("TEST_BUFFER_CUTS", quick: 2, full: 50, deep: 1_000);
        var seed = Tier.Seed ?? Environment.TickCount;
        var table = new StringBuilder($"TEST_SEED={seed}\n")
            .AppendLine("| settings | fault | images | reported readings checked | lost | salvaged |")
            .AppendLine("| --- | --- | --- | --- | --- | --- |");
        var images = 0;
        foreach (var setting in Settings)
        {
            using var fixture = new BufferFixture();
            var log = await RecordAsync(fixture, setting, seed);
            foreach (var fault in Enum.GetValues<CutFault>())
            {
                var outcome = await CutAsync(log, fault, perFault, seed);
                images += outcome.Images;
                table.AppendLine(CultureInfo.InvariantCulture,
                    $"| {setting} | {fault} | {outcome.Images} | {outcome.Readings} | {outcome.Lost} | {outcome.Salvages} |");
                Assert.True(outcome.Lost == 0, $"{table}");
                Assert.True(outcome.Salvages == 0 || setting.StartsWith("salvage", StringComparison.Ordinal), $"{table}");
            }
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{table}{images} images");
    }

    [Fact]
    public async Task Each_transaction_is_synced_before_the_next_one_is_written()
    {
        const int FrameHeaderBytes = 24;
        using var fixture = new BufferFixture();
        var (commits, isSynced) = (0, true);
        foreach (var operation in (await RecordAsync(fixture, Settings[0], seed: 1)).Where(o => o.Path.EndsWith("-wal", StringComparison.Ordinal)))
        {
            if (operation.Kind == FileOperationKind.Sync)
                isSynced = true;
            if (operation.Kind != FileOperationKind.Write || operation.Bytes!.Length != FrameHeaderBytes)
                continue;
            Assert.True(isSynced, $"transaction {commits} was not synced before the next one was written");

            // Only the commit frame of a transaction contains the size of the database.
            isSynced = operation.Bytes.AsSpan(4, 4).IndexOfAnyExcept((byte)0) < 0;
            commits += isSynced ? 0 : 1;
        }
        Assert.True(commits > 40);
    }

    [Fact]
    public async Task The_power_cut_test_finds_lost_readings_on_a_disk_that_ignores_syncs()
    {
        using var fixture = new BufferFixture();
        var log = await RecordAsync(fixture, Settings[0], seed: 1);
        // The same log without its syncs, except those that created the file.
        var lied = log.Where((o, i) => o.Kind != FileOperationKind.Sync || i < log.Count / 10).ToList();
        Assert.True((await CutAsync(lied, CutFault.Dropped, 20, seed: 1)).Lost > 0);
    }

    static async Task<List<FileOperation>> RecordAsync(BufferFixture fixture, string setting, int seed)
    {
        var recorder = new Recorder { IsRecording = true };
        RecordingVfs.Attach(fixture.Directory, recorder);
        var random = new Random(seed);
        var time = new FakeTimeProvider(BufferFixture.Noon);
        var limits = setting switch
        {
            "1 MB, thinned" => BufferFixture.AtOnce with { MaxBytes = 1 << 20 },
            "group commit" => new BufferLimits { CommitInterval = TimeSpan.FromSeconds(1), MaxBytes = 4 << 20 },
            "retained" => BufferFixture.AtOnce with { MaxBytes = 1 << 20, RetainForwarded = TimeSpan.FromMinutes(1) },
            _ => BufferFixture.AtOnce with { MaxBytes = 4 << 20 },
        };
        if (setting.StartsWith("salvage", StringComparison.Ordinal))
            await MakeDamagedAsync(fixture, recorder);
        await using (var buffer = await fixture.OpenAsync(limits, time, o => o with
        {
            Vfs = RecordingVfs.Name,
            OnVolumeOperation = recorder.OnVolume,
        }))
        {
            // Raised on the writer's thread, so the mark follows the sync directly in the log.
            buffer.Committed += () =>
                recorder.On(new FileOperation(FileOperationKind.Committed, "", buffer.LastCommittedId));
            recorder.On(new FileOperation(FileOperationKind.Committed, "", buffer.LastCommittedId));
            for (var round = 0; round < (setting == "1 MB, thinned" ? 60 : 40); round++)
            {
                var group = Enumerable.Range(0, random.Next(1, setting == "1 MB, thinned" ? 250 : 40)).Select(n =>
                    buffer.EnqueueAsync(BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList();
                await buffer.CommitAsync(BufferFixture.Token);
                await Task.WhenAll(group);
                if (random.Next(4) == 0 && setting != "1 MB, thinned")
                {
                    var last = random.NextInt64(1, buffer.LastCommittedId + 1);
                    // Deliver newer readings before older ones.
                    var first = setting == "retained" ? random.NextInt64(1, last + 1) : 1;
                    recorder.On(new FileOperation(FileOperationKind.Acknowledging, $"{first}", last));
                    var acknowledged = buffer.AcknowledgeAsync(first, last, BufferFixture.Token);
                    await buffer.CommitAsync(BufferFixture.Token);
                    await acknowledged;
                }
                if (random.Next(8) == 0)
                    time.Advance(TimeSpan.FromSeconds(31));
            }
        }
        RecordingVfs.Detach(fixture.Directory);
        return recorder.Log;
    }

    // A damaged file that is completely on the medium before recording starts.
    static async Task MakeDamagedAsync(BufferFixture fixture, Recorder recorder)
    {
        await using (var buffer = await fixture.OpenAsync())
        {
            for (var i = 0; i < 20; i++)
            {
                await Task.WhenAll(Enumerable.Range(0, 20).Select(n =>
                    buffer.EnqueueAsync(BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList());
            }
        }
        var bytes = await File.ReadAllBytesAsync(fixture.DatabasePath, BufferFixture.Token);
        new Random(1).NextBytes(bytes.AsSpan(0, 1024));
        await File.WriteAllBytesAsync(fixture.DatabasePath, bytes, BufferFixture.Token);
        recorder.On(new FileOperation(FileOperationKind.Open, fixture.DatabasePath));
        recorder.On(new FileOperation(FileOperationKind.Write, fixture.DatabasePath), bytes);
        recorder.On(new FileOperation(FileOperationKind.Sync, fixture.DatabasePath));
        recorder.On(new FileOperation(FileOperationKind.SyncDirectory, fixture.Directory));
        recorder.On(new FileOperation(FileOperationKind.Committed, "", 400));
    }

    static async Task<Outcome> CutAsync(List<FileOperation> log, CutFault fault, int images, int seed)
    {
        // At each sync (right before it takes effect), and at random points.
        var random = new Random(seed + (int)fault);
        var syncs = Enumerable.Range(0, log.Count).Where(i => log[i].Kind == FileOperationKind.Sync).ToArray();
        random.Shuffle(syncs);
        var cuts = syncs.Take(images / 2)
            .Concat(Enumerable.Range(0, images - Math.Min(images / 2, syncs.Length)).Select(_ => random.Next(log.Count)));
        int readings = 0, lost = 0, salvages = 0;
        await Parallel.ForEachAsync(
            cuts.Index(), new ParallelOptions { MaxDegreeOfParallelism = 4 }, async (cut, _) =>
            {
                var (looked, missing, salvaged) = await CutOnceAsync(log, cut.Item, fault, seed + cut.Index);
                Interlocked.Add(ref readings, looked);
                Interlocked.Add(ref lost, missing);
                Interlocked.Add(ref salvages, salvaged ? 1 : 0);
            });
        return new Outcome(images, readings, lost, salvages);
    }

    static async Task<(int Looked, int Missing, bool Salvaged)> CutOnceAsync(
        List<FileOperation> log, int at, CutFault fault, int seed)
    {
        var disk = new CutDisk(new Random(seed));
        var committed = 0L;
        var acknowledged = new HashSet<int>();
        foreach (var operation in log.Take(at))
        {
            if (operation.Kind == FileOperationKind.Committed)
                committed = operation.Number;
            else if (operation.Kind == FileOperationKind.Acknowledging)
                acknowledged.UnionWith(Range(long.Parse(operation.Path, CultureInfo.InvariantCulture), operation.Number));
            else
                disk.Play(operation);
        }
        using var fixture = new BufferFixture(inMemory: true);
        disk.WriteImage(fixture.Directory, fault);
        await using var buffer = await fixture.OpenAsync();
        // An interrupted salvage resumes; wait until it has copied everything.
        await Until.True(() => buffer.GetStatus().Salvage is not { IsComplete: false });
        var status = buffer.GetStatus();
        var thinned = status.Evicted.Where(e => e.Reason == "thinned").Sum(e => e.Count);
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(rows.Select(r => r.Id).Order().Distinct(), rows.Select(r => r.Id));
        var ids = rows.Select(r => r.Id).ToHashSet();
        var waiting = Range(1, committed).Except(acknowledged).ToList();
        var missing = waiting.Count(id => !ids.Contains(id));
        // Thinned readings are counted.
        missing = (int)Math.Max(0, missing - thinned);
        // The next reading gets an id that was not assigned before.
        var next = await buffer.EnqueueAsync(BufferFixture.Reading(1), CancellationToken.None);
        Assert.True(next > committed || missing > 0);
        return (waiting.Count, missing, status.Salvage is not null);
    }

    static IEnumerable<int> Range(long first, long last) => Enumerable.Range((int)first, (int)(last - first + 1));
}
