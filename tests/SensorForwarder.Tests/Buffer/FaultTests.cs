using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;
using SQLitePCL;

namespace SensorForwarder.Tests.Buffer;

/// <summary>In each run one file operation fails once: no stored reading is lost, and the buffer continues.</summary>
public sealed class FaultTests
{
    // Only so that a hang fails the test.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static TheoryData<string, int> Faults => new()
    {
        { nameof(FileOperationKind.Open), raw.SQLITE_CANTOPEN },
        { nameof(FileOperationKind.Open), raw.SQLITE_IOERR },
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

    /// <summary>Everything that renames and deletes files: a salvage.</summary>
    [Theory]
    [MemberData(nameof(SalvageFaults))]
    public async Task No_single_fault_during_a_salvage_loses_a_reading_or_stops_the_buffer(string kind, int code)
    {
        var places = 0;
        for (var at = 1; await SalvageAsync(Enum.Parse<FileOperationKind>(kind), code, at); at = Next(at, each: 1))
            places++;
        TestContext.Current.TestOutputHelper?.WriteLine($"{kind} with {code}, salvage: {places} places, nothing lost");
        Assert.True(places > 0);
    }

    // A damaged file of 500 readings, four older ones, of which the oldest is deleted, and an unfinished new file.
    static async Task<bool> SalvageAsync(FileOperationKind kind, int code, int at)
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
                file.Write(new byte[1024]);
            for (var n = 1; n <= 4; n++)
                await File.WriteAllTextAsync(Path.Combine(fixture.Directory, $"telemetry.damaged-{n}.db"), "", BufferFixture.Token);
            await File.WriteAllTextAsync(Path.Combine(fixture.Directory, "telemetry.salvage"), "left over", BufferFixture.Token);

            (recorder.FailCode, recorder.FailAt, recorder.FailKind) = (code, at, kind);
            long id;
            await using (var buffer = await OpenAsync(fixture, BufferFixture.AtOnce, time, recorder))
            {
                id = await EnqueueAsync(buffer, time);
                await Settle(SalvagedAsync(buffer), time);
            }
            var failed = recorder.HasFailed;
            recorder.FailKind = null;
            await using var again = await OpenAsync(fixture, BufferFixture.AtOnce, time, recorder);
            await Settle(SalvagedAsync(again), time);
            Assert.Equal([.. Enumerable.Range(1, 500).Select(n => (long)n), id], BufferFixture.ReadAll(again).Select(r => r.Id));
            Assert.InRange(Directory.GetFiles(fixture.Directory, "telemetry.damaged-*.db").Length, 1, 3);
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

    static async Task SalvagedAsync(TelemetryBuffer buffer)
    {
        while (buffer.GetStatus().Salvage is not { IsComplete: true })
            await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, BufferFixture.Token);
    }

    [Fact]
    public async Task A_failed_first_commit_to_the_file_that_replaces_a_deleted_one_assigns_no_id_twice()
    {
        using var fixture = new BufferFixture(inMemory: true);
        var recorder = new Recorder();
        RecordingVfs.Attach(fixture.Directory, recorder);
        try
        {
            var (time, isDeleted) = (new FakeTimeProvider(BufferFixture.Noon), false);
            await using var buffer = await fixture.OpenAsync(BufferFixture.AtOnce, time, o => o with
            {
                Vfs = RecordingVfs.Name,
                OnVolumeOperation = operation =>
                {
                    // The new file was created: the next write is that of its first commit.
                    if (isDeleted && operation.Kind == VolumeOperationKind.SyncDirectory)
                    {
                        isDeleted = false;
                        (recorder.FailCode, recorder.FailAt, recorder.FailKind) = (raw.SQLITE_IOERR_WRITE, 1, FileOperationKind.Write);
                    }
                    recorder.OnVolume(operation);
                },
            });
            for (var id = 1; id <= 3; id++)
                Assert.Equal(id, await EnqueueAsync(buffer, time));
            isDeleted = true;
            foreach (var file in Directory.GetFiles(fixture.Directory, "telemetry.db*")) File.Delete(file);
            Assert.Equal(4, await EnqueueAsync(buffer, time));
            Assert.True(recorder.HasFailed);
            await Settle(BufferFixture.RecoveredAsync(buffer), time);
            Assert.Equal([1, 2, 3, 4], BufferFixture.ReadAll(buffer).Select(reading => reading.Id));
            // With an id assigned twice, SQLite would refuse the row, and the file would count as damaged.
            Assert.Empty(Directory.GetFiles(fixture.Directory, "telemetry.damaged-*"));
        }
        finally
        {
            RecordingVfs.Detach(fixture.Directory);
        }
    }

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task No_single_fault_loses_a_committed_reading_or_stops_the_buffer(string kind, int code)
    {
        var (small, retained, large) = (0, 0, 0);
        // Every operation of a short run, and of one that retains delivered readings; then, in growing steps, a run with
        // thinning, which has many similar operations.
        for (var at = 1; await RunAsync(Enum.Parse<FileOperationKind>(kind), code, at, groups: 1, size: 40); at = Next(at))
            small++;
        for (var at = 1; await RunAsync(Enum.Parse<FileOperationKind>(kind), code, at, groups: 1, size: 40, retainSeconds: 20); at = Next(at))
            retained++;
        for (var at = 1;
            await RunAsync(Enum.Parse<FileOperationKind>(kind), code, at, groups: 9, size: 700);
            at = Next(at, each: 0, fullPercent: 25))
        {
            large++;
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{kind} with {code}: {small} + {retained} + {large} places, nothing lost");
        Assert.True(small > (kind == nameof(FileOperationKind.Delete) ? 0 : 2));
    }

    /// <summary>The number of the next operation to fail: the next one, or after the first few in growing steps.</summary>
    static int Next(int at, int each = 3, int fullPercent = 0) =>
        at + 1 + (Math.Max(0, at - each) * Tier.Size("TEST_BUFFER_FAULT_PERCENT", quick: 800, fullPercent, deep: 0) / 100);

    /// <returns>Whether there was an operation with that number.</returns>
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
            // Small transactions, an acknowledgement, enough for a checkpoint and for thinning, an idle period.
            for (var i = 0; i < 3; i++)
                completed.Add(await EnqueueAsync(buffer, time));
            await Settle(buffer.AcknowledgeAsync(1, 2, BufferFixture.Token), time);
            for (var i = 0; i < groups; i++)
            {
                var group = Enumerable.Range(0, size).Select(n =>
                    buffer.EnqueueAsync(BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList();
                await Settle(Task.WhenAll(group), time);
                completed.UnionWith(group.Select(t => t.Result));
                // Delivered before older readings.
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
            Assert.Null(again.GetStatus().Salvage);
            var evicted = again.GetStatus().Evicted.Where(e => e.Reason == "thinned").Sum(e => e.Count);
            var rows = BufferFixture.ReadAll(again).Select(r => r.Id).ToHashSet();
            Assert.Equal(completed.Max, again.LastCommittedId);
            // Missing readings were acknowledged, refused, or thinned and counted.
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

    // As a caller does: retries while the volume can't be used.
    static async Task<TelemetryBuffer> OpenAsync(
        BufferFixture fixture, BufferLimits limits, TimeProvider time, Recorder recorder)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return await fixture.OpenAsync(limits, time, o => o with
                {
                    Vfs = RecordingVfs.Name,
                    OnVolumeOperation = recorder.OnVolume,
                }, waits: false).WaitAsync(Patience, TimeProvider.System, BufferFixture.Token);
            }
            catch (BufferUnavailableException) when (attempt < 3)
            {
                // The message is one line; the fault happens once.
            }
        }
    }

    static async Task<long> EnqueueAsync(TelemetryBuffer buffer, FakeTimeProvider time)
    {
        var task = buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token).AsTask();
        await Settle(task, time);
        return await task;
    }

    // Advances the clock, so that the writer retries.
    static async Task Settle(Task task, FakeTimeProvider time)
    {
        var guard = Task.Delay(Patience, TimeProvider.System, BufferFixture.Token);
        while (!task.IsCompleted)
        {
            Assert.False(guard.IsCompleted, "not complete within 60 s");
            await Task.WhenAny(task, Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, BufferFixture.Token));
            if (!task.IsCompleted)
                time.Advance(TimeSpan.FromSeconds(1));
        }
        await task;
    }
}
