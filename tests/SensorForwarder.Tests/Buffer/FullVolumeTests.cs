using System.Diagnostics;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SQLitePCL;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A full or unwritable volume: the newest readings survive, and the buffer recovers without help.</summary>
public sealed class FullVolumeTests : IDisposable
{
    readonly BufferFixture _fixture = new(inMemory: true);
    readonly FakeTimeProvider _time = new(BufferFixture.Noon);

    [Theory]
    [InlineData(raw.SQLITE_FULL, nameof(StorageState.Full))]
    [InlineData(raw.SQLITE_IOERR_WRITE, nameof(StorageState.Failing))]
    [InlineData(raw.SQLITE_READONLY, nameof(StorageState.ReadOnly))]
    public async Task While_the_volume_is_not_writable_the_newest_readings_wait_in_memory_and_the_oldest_are_dropped(
        int code, string state)
    {
        var recorder = new Recorder { FailCode = code, FailsOn = true };
        RecordingVfs.Attach(_fixture.Directory, recorder);
        await using var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce, _time, o => o with
        {
            Vfs = RecordingVfs.Name,
            OnVolumeOperation = recorder.OnVolume,
            RingReadings = 100,
        });
        await buffer.EnqueueAsync(BufferFixture.Reading(0), BufferFixture.Token);
        (recorder.FailKind, recorder.FailAt) = (FileOperationKind.Write, 1);

        var waiting = Enumerable.Range(1, 250).Select(i =>
            buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token).AsTask()).ToList();
        while (buffer.GetStatus().Storage == StorageState.Ok || buffer.GetStatus().InMemory > 100)
            await Task.Yield();
        Assert.Equal(state, buffer.GetStatus().Storage.ToString());
        Assert.Contains("telemetry.db", buffer.GetStatus().StorageReason, StringComparison.Ordinal);
        foreach (var given in waiting.Take(150))
            await Assert.ThrowsAsync<BufferRejectedException>(() => given);
        Assert.All(waiting.Skip(150), task => Assert.False(task.IsCompleted));

        recorder.FailKind = null;
        var all = Task.WhenAll(waiting.Skip(150));
        while (!all.IsCompleted)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }
        Assert.Equal(Enumerable.Range(2, 100).Select(i => (long)i), await all);
        Assert.Equal(StorageState.Ok, buffer.GetStatus().Storage);
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Contains("\"number\":250", BufferFixture.Text(rows[^1]), StringComparison.Ordinal);
        await buffer.CommitAsync(BufferFixture.Token);
        Assert.Equal(150, buffer.GetStatus().Evicted.Single(e => e.Reason == "overflow").Count);
        RecordingVfs.Detach(_fixture.Directory);
    }

    [Fact]
    public async Task The_reserve_file_is_deleted_when_the_volume_is_full_and_created_again_when_it_has_room()
    {
        var recorder = new Recorder { FailCode = raw.SQLITE_FULL, FailsOn = true };
        RecordingVfs.Attach(_fixture.Directory, recorder);
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce, _time, o => o with { Vfs = RecordingVfs.Name });
        await buffer.EnqueueAsync(BufferFixture.Reading(0), BufferFixture.Token);
        var reserve = Path.Combine(_fixture.Directory, "telemetry.reserve");
        await Until(() => File.Exists(reserve));
        (recorder.FailKind, recorder.FailAt) = (FileOperationKind.Write, 1);
        var waiting = buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token).AsTask();
        await Until(() => !File.Exists(reserve));
        recorder.FailKind = null;
        await Until(() => waiting.IsCompleted && File.Exists(reserve));
        Assert.Equal(2, await waiting);
        RecordingVfs.Detach(_fixture.Directory);
    }

    [Fact]
    public async Task On_a_full_volume_acknowledgements_are_stored_and_new_readings_too_once_it_has_room()
    {
        using var volume = TmpfsVolume.TryMount(_fixture.Directory, megabytes: 4, out var refusal);
        Assert.SkipWhen(volume is null, $"this user can't mount a tmpfs; run as root: {refusal}");
        // The limit exceeds the volume, and a file fills the rest.
        var ballast = Path.Combine(_fixture.Directory, "ballast");
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { MaxBytes = 16 << 20 }, _time, o => o with { RingReadings = 500 });
        await Until(() => File.Exists(Path.Combine(_fixture.Directory, "telemetry.reserve")));
        for (var round = 0; round < 10; round++)
            await FillAsync(buffer, 300);
        FillUp(ballast);
        var waiting = new List<Task<long>>();
        for (var i = 0; buffer.GetStatus().Storage == StorageState.Ok; i++)
        {
            waiting.Add(buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token).AsTask());
            if (i % 50 == 0)
                await Task.WhenAny(waiting[^1], Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, BufferFixture.Token));
        }
        Assert.Equal(StorageState.Full, buffer.GetStatus().Storage);
        // Delivery continues.
        var acknowledged = buffer.AcknowledgeAsync(1, 2_500, BufferFixture.Token);
        await Until(() => acknowledged.IsCompleted);
        await acknowledged;
        File.Delete(ballast);
        var newest = buffer.EnqueueAsync(BufferFixture.Reading(7), BufferFixture.Token).AsTask();
        await Until(() => newest.IsCompleted && buffer.GetStatus().Storage == StorageState.Ok);
        var rows = BufferFixture.ReadAll(buffer).Select(r => r.Id).ToHashSet();
        Assert.Contains(await newest, rows);
        foreach (var task in waiting.Where(t => t.IsCompletedSuccessfully))
            Assert.Contains(await task, rows);
        await buffer.DisposeAsync();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1_000)]
    public async Task Delivered_readings_make_room_on_a_volume_filled_by_another_program(int retainHours)
    {
        using var volume = TmpfsVolume.TryMount(_fixture.Directory, megabytes: 8, out var refusal);
        Assert.SkipWhen(volume is null, $"this user can't mount a tmpfs; run as root: {refusal}");
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { MaxBytes = 16 << 20, RetainForwarded = TimeSpan.FromHours(retainHours) }, _time);
        await Until(() => File.Exists(Path.Combine(_fixture.Directory, "telemetry.reserve")));
        for (var round = 0; round < 20; round++)
            await FillAsync(buffer, 300);
        // More readings remain waiting than are cheap to rewrite.
        await buffer.AcknowledgeAsync(1, 4_000, BufferFixture.Token);
        FillUp(Path.Combine(_fixture.Directory, "ballast"));
        for (var round = 0; round < 8; round++)
        {
            var filled = FillAsync(buffer, 300);
            await Until(() => filled.IsCompleted);
            await filled;
        }
        Assert.Equal(StorageState.Ok, buffer.GetStatus().Storage);
        Assert.Empty(buffer.GetStatus().Evicted);
        Assert.Equal(Enumerable.Range(4_001, 4_400).Select(i => (long)i), BufferFixture.ReadAll(buffer).Select(r => r.Id));
    }

    [Fact(Explicit = true)]
    public async Task The_space_to_keep_free_stays_free_and_the_buffer_shrinks_when_other_programs_use_it()
    {
        using var volume = TmpfsVolume.TryMount(_fixture.Directory, megabytes: 16, out var refusal);
        Assert.SkipWhen(volume is null, $"this user can't mount a tmpfs; run as root: {refusal}");
        const long KeepFree = 6 << 20;
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { KeepFreeBytes = KeepFree, WhenFull = WhenFull.DropOldest }, _time);
        while (buffer.GetStatus().Evicted.Count == 0)
            await StoreAsync();
        Assert.Contains("6 MB to keep free on the volume (bufferKeepFreeMegabytes)", buffer.GetStatus().StorageReason, StringComparison.Ordinal);
        Assert.InRange(Free(), KeepFree - (512 << 10), KeepFree + (2 << 20));
        var ballast = new byte[3 << 20];
        System.Security.Cryptography.RandomNumberGenerator.Fill(ballast);
        await File.WriteAllBytesAsync(Path.Combine(_fixture.Directory, "ballast"), ballast, BufferFixture.Token);
        var (free, files) = (Free(), buffer.GetStatus().FileBytes);
        for (var round = 0; round < 5; round++)
            await StoreAsync();
        Assert.InRange(Free(), free - (512 << 10), long.MaxValue);
        Assert.InRange(buffer.GetStatus().UsedBytes, 0, files - (2 << 20));
        Assert.Equal(StorageState.Ok, buffer.GetStatus().Storage);

        Task StoreAsync() => Task.WhenAll(Enumerable.Range(0, 500).Select(i =>
            buffer.EnqueueAsync(BufferFixture.Incompressible(i), BufferFixture.Token).AsTask()));

        long Free() => new DriveInfo(_fixture.Directory).AvailableFreeSpace;
    }

    [Fact]
    public async Task However_long_a_volume_stays_full_acknowledgements_are_stored_and_make_room()
    {
        using var volume = TmpfsVolume.TryMount(_fixture.Directory, megabytes: 8, out var refusal);
        Assert.SkipWhen(volume is null, $"this user can't mount a tmpfs; run as root: {refusal}");
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { MaxBytes = 16 << 20 }, _time, o => o with { RingReadings = 500 });
        await Until(() => File.Exists(Path.Combine(_fixture.Directory, "telemetry.reserve")));
        for (var round = 0; round < 20; round++)
            await FillAsync(buffer, 300);
        FillUp(Path.Combine(_fixture.Directory, "ballast"));
        var waiting = new List<Task<long>>();

        // New readings first use the free pages of the file.
        while (buffer.GetStatus().Storage != StorageState.Full)
        {
            Store();
            await Until(() => buffer.GetStatus().Storage == StorageState.Full || waiting.TrueForAll(task => task.IsCompleted));
        }

        for (var round = 0; round < 100; round++)
        {
            Store();
            var turns = buffer.Turns + 2;
            await Until(() => buffer.Turns >= turns);
            Assert.Equal(StorageState.Full, buffer.GetStatus().Storage);
        }

        for (var id = 1; id <= 5_000; id += 500)
        {
            var acknowledged = buffer.AcknowledgeAsync(id, id + 499, BufferFixture.Token);
            await Until(() => acknowledged.IsCompleted);
            await acknowledged;
        }
        await Until(() => waiting.All(task => task.IsCompleted) && buffer.GetStatus().Storage == StorageState.Ok);
        var rows = BufferFixture.ReadAll(buffer).Select(r => r.Id).ToHashSet();
        foreach (var task in waiting.Where(t => t.IsCompletedSuccessfully))
            Assert.Contains(await task, rows);

        void Store() => waiting.AddRange(Enumerable.Range(0, 100).Select(i =>
            buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token).AsTask()));
    }

    [Fact]
    public async Task A_volume_filled_by_the_buffer_has_room_for_new_readings_when_the_old_ones_are_delivered()
    {
        using var volume = TmpfsVolume.TryMount(_fixture.Directory, megabytes: 4, out var refusal);
        Assert.SkipWhen(volume is null, $"this user can't mount a tmpfs; run as root: {refusal}");
        // The default limit, far larger than the volume.
        await using var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce, _time, o => o with { RingReadings = 500 });
        var waiting = new List<Task<long>>();
        for (var i = 0; i < 40_000 && buffer.GetStatus().Storage == StorageState.Ok; i++)
        {
            waiting.Add(buffer.EnqueueAsync(BufferFixture.Reading(i), BufferFixture.Token).AsTask());
            if (i % 50 == 0)
                await Task.WhenAny(waiting[^1], Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, BufferFixture.Token));
        }
        await Until(() =>
        {
            _ = buffer.AcknowledgeAsync(1, buffer.LastCommittedId, BufferFixture.Token);
            return waiting.All(task => task.IsCompleted) && buffer.GetStatus().Storage == StorageState.Ok;
        });
        await buffer.EnqueueAsync(BufferFixture.Reading(7), BufferFixture.Token);
    }

    [Fact]
    public async Task A_slow_reader_does_not_block_the_writer_and_the_WAL_shrinks_when_it_is_done()
    {
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { MaxBytes = 16 << 20 }, _time);
        await buffer.EnqueueAsync(BufferFixture.Reading(0), BufferFixture.Token);
        // Like a sqlite3 shell with an open transaction.
        using (var slow = Sqlite.Open(_fixture.DatabasePath, SqliteOpenMode.ReadOnly, vfs: null))
        {
            slow.Execute("BEGIN");
            Assert.Equal(1, slow.Number("SELECT count(*) FROM segment"));
            for (var round = 0; round < 20; round++)
                await FillAsync(buffer, 500);
            Assert.Equal(1, slow.Number("SELECT count(*) FROM segment"));
            slow.Execute("COMMIT");
        }
        for (var round = 0; round < 10; round++)
            await FillAsync(buffer, 500);
        await Until(() => buffer.GetStatus().WalBytes <= 1 << 20);
        Assert.Equal(15_001, BufferFixture.ReadAll(buffer).Count);
    }

    [Fact]
    public async Task The_WAL_stays_within_its_limit_while_readings_are_stored_and_delivered()
    {
        await using var buffer = await _fixture.OpenAsync(
            BufferFixture.AtOnce with { MaxBytes = 4 << 20 }, _time);
        long most = 0;
        for (var round = 0; round < 40; round++)
        {
            await FillAsync(buffer, 500);
            _ = buffer.AcknowledgeAsync(1, buffer.LastCommittedId, BufferFixture.Token);
            // Between two batches of the reader; each batch ends its snapshot.
            _ = buffer.PeekBatch(0, 100, 100_000);
            most = Math.Max(most, buffer.GetStatus().WalBytes);
        }
        Assert.InRange(most, 1, 512 << 10);
    }

    public void Dispose() => _fixture.Dispose();

    static Task<long[]> FillAsync(TelemetryBuffer buffer, int readings) => Task.WhenAll(Enumerable.Range(0, readings).Select(i =>
        buffer.EnqueueAsync(BufferFixture.Incompressible(i), BufferFixture.Token).AsTask()).ToList());

    // Advances the clock, so that the writer retries.
    async Task Until(Func<bool> condition)
    {
        var started = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(started) > TimeSpan.FromMinutes(2))
                Assert.Fail($"The condition was not reached:{string.Join(' ', Directory.GetFiles(_fixture.Directory).Select(f => $" {Path.GetFileName(f)} {new FileInfo(f).Length}"))}");
            _time.Advance(TimeSpan.FromSeconds(5));
            await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, BufferFixture.Token);
        }
    }

    static void FillUp(string path)
    {
        using var file = File.Create(path, bufferSize: 1);
        var block = new byte[4_096];
        try
        {
            while (true)
                file.Write(block);
        }
        catch (IOException)
        {
            // Full, as intended.
        }
    }
}

/// <summary>A small tmpfs mounted on a directory.</summary>
internal sealed class TmpfsVolume : IDisposable
{
    readonly string _directory;

    TmpfsVolume(string directory) => _directory = directory;

    /// <returns>Null when this user may not mount.</returns>
    public static TmpfsVolume? TryMount(string directory, int megabytes, out string refusal)
    {
        refusal = Run("mount", "-t", "tmpfs", "-o", $"size={megabytes}m,mode=0700", "tmpfs", directory);
        return refusal.Length == 0 ? new TmpfsVolume(directory) : null;
    }

    public void Dispose() => Run("umount", "-l", _directory);

    // Returns the error; empty on success.
    static string Run(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            var errors = process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? "" : $"{program} ended with {process.ExitCode}: {errors.Trim()}";
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return e.Message;
        }
    }
}
