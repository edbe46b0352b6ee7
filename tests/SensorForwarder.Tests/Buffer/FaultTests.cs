using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;
using SQLitePCL;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Each single operation on the files fails once, in everything that the buffer does.</summary>
public sealed class FaultTests
{
    // Only a guard against hanging; nothing is measured by it.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static TheoryData<string, int> Faults => new()
    {
        { nameof(FileOperationKind.Open), raw.SQLITE_CANTOPEN },
        { nameof(FileOperationKind.Write), raw.SQLITE_IOERR_WRITE },
        { nameof(FileOperationKind.Write), raw.SQLITE_FULL },
        { nameof(FileOperationKind.Sync), raw.SQLITE_IOERR_FSYNC },
        { nameof(FileOperationKind.Sync), raw.SQLITE_FULL },
        { nameof(FileOperationKind.Truncate), raw.SQLITE_IOERR_TRUNCATE },
        { nameof(FileOperationKind.Read), raw.SQLITE_IOERR_READ },
        { nameof(FileOperationKind.Delete), raw.SQLITE_IOERR_DELETE },
        { nameof(FileOperationKind.Delete), raw.SQLITE_FULL },
    };

    public static TheoryData<string, int> SalvageFaults
    {
        get
        {
            var faults = new TheoryData<string, int>();
            foreach (var row in Faults)
                faults.Add(row.Data);
            foreach (var kind in new[] { FileOperationKind.Delete, FileOperationKind.Rename, FileOperationKind.SyncDirectory })
            {
                faults.Add(kind.ToString(), raw.SQLITE_IOERR);
                faults.Add(kind.ToString(), raw.SQLITE_FULL);
            }
            return faults;
        }
    }

    /// <summary>Everything that renames and deletes files: a salvage, at once and in pieces.</summary>
    [Theory]
    [MemberData(nameof(SalvageFaults))]
    public async Task No_single_fault_in_a_salvage_costs_a_reading_or_stops_the_buffer(string kind, int code)
    {
        foreach (var atOnceBytes in new[] { 16L << 20, 0 })
        {
            var places = 0;
            for (var at = 1; await SalvageAsync(Enum.Parse<FileOperationKind>(kind), code, at, atOnceBytes); at = Next(at, quickShare: 2))
                places++;
            TestContext.Current.TestOutputHelper?.WriteLine(
                $"{kind} with {code}, salvage {(atOnceBytes > 0 ? "at once" : "in pieces")}: {places} places, nothing lost");
            Assert.True(places > 0);
        }
    }

    // A damaged file of 500 readings, four damaged ones before it so that the oldest is deleted, and a leftover.
    static async Task<bool> SalvageAsync(FileOperationKind kind, int code, int at, long atOnceBytes)
    {
        using var fixture = new BufferFixture(inMemory: true);
        var recorder = new Recorder();
        RecordingVfs.Attach(fixture.Directory, recorder);
        var time = new FakeTimeProvider(BufferFixture.Noon);
        try
        {
            await using (var buffer = await fixture.OpenAsync())
            {
                await Task.WhenAll(Enumerable.Range(1, 500).Select(n =>
                    buffer.EnqueueAsync(BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList());
            }
            using (var file = new FileStream(fixture.DatabasePath, FileMode.Open))
                file.Write(new byte[4096]);
            for (var n = 1; n <= 4; n++)
                await File.WriteAllTextAsync(Path.Combine(fixture.Directory, $"telemetry.damaged-{n}.db"), "", BufferFixture.Token);
            await File.WriteAllTextAsync(Path.Combine(fixture.Directory, "telemetry.salvage"), "left over", BufferFixture.Token);

            (recorder.FailCode, recorder.FailAt, recorder.FailKind) = (code, at, kind);
            long id;
            await using (var buffer = await OpenAsync(fixture, BufferFixture.AtOnce, time, recorder, atOnceBytes))
            {
                id = await EnqueueAsync(buffer, time);
                await Settle(SalvagedAsync(buffer), time);
            }
            var failed = recorder.HasFailed;
            recorder.FailKind = null;
            await using var again = await OpenAsync(fixture, BufferFixture.AtOnce, time, recorder, atOnceBytes);
            await Settle(SalvagedAsync(again), time);
            Assert.Equal([.. Enumerable.Range(1, 500).Select(n => (long)n), id], BufferFixture.ReadAll(again).Select(r => r.Id));
            Assert.InRange(Directory.GetFiles(fixture.Directory, "telemetry.damaged-*.db").Length, 1, 3);
            return failed;
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{kind} {at} failed with {code}, up to {atOnceBytes} bytes at once", e);
        }
        finally
        {
            RecordingVfs.Detach(fixture.Directory);
        }
    }

    static async Task SalvagedAsync(TelemetryBuffer buffer)
    {
        while (buffer.GetStatus().Salvage is not { IsComplete: true })
            await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, BufferFixture.Token);
    }

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task No_single_fault_costs_a_completed_reading_or_stops_the_buffer(string kind, int code)
    {
        var (small, retained, large) = (0, 0, 0);
        // Each place of a short life, and of one that keeps what was delivered for a while; then one with thinning, whose
        // places are many and alike, in growing steps.
        for (var at = 1; await RunAsync(Enum.Parse<FileOperationKind>(kind), code, at, groups: 1, size: 40); at = Next(at, quickShare: 4))
            small++;
        for (var at = 1; await RunAsync(Enum.Parse<FileOperationKind>(kind), code, at, groups: 1, size: 40, retainSeconds: 20); at = Next(at, quickShare: 2))
            retained++;
        for (var at = 1;
            await RunAsync(Enum.Parse<FileOperationKind>(kind), code, at, groups: 9, size: 700);
            at = Next(at, quickShare: 1, fullShare: 4))
        {
            large++;
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{kind} with {code}: {small} + {retained} + {large} places, nothing lost");
        Assert.True(small > (kind == nameof(FileOperationKind.Delete) ? 0 : 2));
    }

    /// <summary>The next place: each of them, or in steps that grow by a share of what is behind.</summary>
    static int Next(int at, int quickShare, int fullShare = int.MaxValue) =>
        at + 1 + (at / Tier.Size("TEST_BUFFER_FAULT_SHARE", quickShare, fullShare, deep: int.MaxValue));

    /// <returns>Whether there was an operation of that number.</returns>
    static async Task<bool> RunAsync(FileOperationKind kind, int code, int at, int groups, int size, int retainSeconds = 0)
    {
        using var fixture = new BufferFixture(inMemory: true);
        var recorder = new Recorder { FailKind = kind, FailAt = at, FailCode = code };
        RecordingVfs.Attach(fixture.Directory, recorder);
        var time = new FakeTimeProvider(BufferFixture.Noon);
        var limits = BufferFixture.AtOnce with { MaxBytes = 1 << 20, RetainForwarded = TimeSpan.FromSeconds(retainSeconds) };
        try
        {
            var completed = new SortedSet<long>();
            var buffer = await OpenAsync(fixture, limits, time, recorder);
            var epoch = buffer.Epoch;
            // Small transactions, an acknowledgement, enough for the log to be copied back and for thinning, an idle time.
            for (var i = 0; i < 3; i++)
                completed.Add(await EnqueueAsync(buffer, time));
            await Settle(buffer.AcknowledgeAsync(1, 2, BufferFixture.Token), time);
            for (var i = 0; i < groups; i++)
            {
                var group = Enumerable.Range(0, size).Select(n =>
                    buffer.EnqueueAsync(BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList();
                await Settle(Task.WhenAll(group), time);
                completed.UnionWith(group.Select(t => t.Result));
                // These overtake others.
                if (i == 0)
                    await Settle(buffer.AcknowledgeAsync(10, 19, BufferFixture.Token), time);
            }
            await Settle(buffer.DeadLetterAsync(completed.Max, "400", null, BufferFixture.Token), time);
            await Settle(buffer.SaveDocumentAsync("d", "x"u8.ToArray(), BufferFixture.Token), time);
            time.Advance(TimeSpan.FromSeconds(31));
            completed.Add(await EnqueueAsync(buffer, time));
            await buffer.DisposeAsync().AsTask().WaitAsync(Patience, TimeProvider.System, BufferFixture.Token);
            var failed = recorder.HasFailed;
            recorder.FailKind = null;

            await using var again = await OpenAsync(fixture, limits, time, recorder);
            Assert.Equal(epoch, again.Epoch);
            var evicted = again.GetStatus().Evicted.Where(e => e.Reason == "thinned").Sum(e => e.Count);
            var rows = BufferFixture.ReadAll(again).Select(r => r.Id).ToHashSet();
            Assert.Equal(completed.Max, again.LastCommittedId);
            // What is not there was acknowledged, refused, or thinned and counted.
            Assert.Equal(2 + 10 + 1 + evicted, completed.Count(id => !rows.Contains(id)));
            Assert.Equal(completed.Max - 1, Assert.Single(again.ListDeadLetters(0, 10)).Id);
            Assert.NotNull(again.LoadDocument("d"));
            return failed;
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{kind} {at} failed with {code}", e);
        }
        finally
        {
            RecordingVfs.Detach(fixture.Directory);
        }
    }

    // A caller tries again when the volume can't be used.
    static async Task<TelemetryBuffer> OpenAsync(
        BufferFixture fixture, BufferLimits limits, TimeProvider time, Recorder recorder, long atOnceBytes = 16L << 20)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return await fixture.OpenAsync(limits, time, o => o with
                {
                    Vfs = RecordingVfs.Name,
                    OnVolumeOperation = recorder.OnVolume,
                    SalvagedAtOnceBytes = atOnceBytes,
                }).WaitAsync(Patience, TimeProvider.System, BufferFixture.Token);
            }
            catch (BufferUnavailableException) when (attempt < 3)
            {
                // Said in one line; the fault happens once.
            }
        }
    }

    static async Task<long> EnqueueAsync(TelemetryBuffer buffer, FakeTimeProvider time)
    {
        var task = buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token).AsTask();
        await Settle(task, time);
        return await task;
    }

    // The writer tries again after a while of the clock's time.
    static async Task Settle(Task task, FakeTimeProvider time)
    {
        var guard = Task.Delay(Patience, TimeProvider.System, BufferFixture.Token);
        while (!task.IsCompleted)
        {
            Assert.False(guard.IsCompleted, "hangs");
            await Task.WhenAny(task, Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, BufferFixture.Token));
            if (!task.IsCompleted)
                time.Advance(TimeSpan.FromSeconds(1));
        }
        await task;
    }
}
