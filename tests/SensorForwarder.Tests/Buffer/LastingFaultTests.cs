using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;
using SQLitePCL;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A fault that lasts until it is removed: every read fails, or every open, or every read of one block.
/// Afterwards every stored reading is there.</summary>
public sealed class LastingFaultTests : IDisposable
{
    const int Readings = 2_000;
    const long BadBlock = 20 * 1024;

    readonly BufferFixture _fixture = new(inMemory: true);
    readonly FakeTimeProvider _time = new(BufferFixture.Noon);
    readonly Recorder _volume = new() { FailsOn = true };

    public LastingFaultTests() => RecordingVfs.Attach(_fixture.Directory, _volume);

    public void Dispose()
    {
        RecordingVfs.Detach(_fixture.Directory);
        _fixture.Dispose();
    }

    [Theory]
    [InlineData(nameof(FileOperationKind.Read), raw.SQLITE_IOERR_READ)]
    [InlineData(nameof(FileOperationKind.Open), raw.SQLITE_IOERR)]
    [InlineData(nameof(FileOperationKind.Open), raw.SQLITE_CANTOPEN)]
    public async Task While_the_fault_lasts_each_start_fails_with_the_reason_and_the_file_is_not_changed(string kind, int code)
    {
        await FillAsync();
        var before = await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token);
        Break(kind, code);
        for (var attempt = 0; attempt < 3; attempt++)
        {
            var failure = await Assert.ThrowsAsync<BufferUnavailableException>(OpenAsync);
            Assert.Contains("telemetry.db: can't be opened", failure.Message, StringComparison.Ordinal);
        }

        Assert.Equal(before, await File.ReadAllBytesAsync(_fixture.DatabasePath, BufferFixture.Token));
        Mend();
        await using var buffer = await OpenAsync();
        Assert.Null(buffer.GetStatus().Salvage);
        CheckAll(buffer, Readings);
    }

    [Theory]
    [InlineData(nameof(FileOperationKind.Read), raw.SQLITE_IOERR_READ)]
    [InlineData(nameof(FileOperationKind.Open), raw.SQLITE_IOERR)]
    public async Task While_the_fault_lasts_reads_fail_and_afterwards_every_reading_is_there(string kind, int code)
    {
        await FillAsync();
        await using var buffer = await OpenAsync();
        Break(kind, code);
        if (kind == nameof(FileOperationKind.Read))
            Assert.Throws<BufferUnavailableException>(() => BufferFixture.ReadAll(buffer));

        // New readings are stored, or wait in memory.
        var stored = Enumerable.Range(1, 100).Select(n =>
            buffer.EnqueueAsync(BufferFixture.Reading(Readings + n), BufferFixture.Token).AsTask()).ToList();
        for (var i = 0; i < 100; i++)
        {
            var turns = buffer.Turns + 1;
            _time.Advance(TimeSpan.FromSeconds(1));
            await Until.True(() =>
            {
                buffer.Nudge();
                return buffer.Turns >= turns;
            });
        }

        Mend();
        var all = Task.WhenAll(stored);
        await Until.True(
            () => all.IsCompleted && buffer.GetStatus().Storage == StorageState.Ok, _time, TimeSpan.FromSeconds(1));
        await all;
        Assert.Null(buffer.GetStatus().Salvage);
        CheckAll(buffer, Readings + 100);
    }

    [Fact]
    public async Task A_block_that_cannot_be_read_does_not_affect_readings_elsewhere()
    {
        await FillAsync();
        await using (var buffer = await OpenAsync())
        {
            Break(nameof(FileOperationKind.Read), raw.SQLITE_IOERR_READ);
            _volume.FailWhere = operation => operation.Number == BadBlock && operation.Path == _fixture.DatabasePath;
            Assert.Throws<BufferUnavailableException>(() => BufferFixture.ReadAll(buffer));

            // New readings are still stored and sent.
            var id = await buffer.EnqueueAsync(BufferFixture.Reading(Readings + 1), BufferFixture.Token);
            Assert.Equal(Readings + 1, id);
            Assert.Equal([Readings + 1L], buffer.PeekBatch(Readings, 10, 1_000).Select(row => row.Id));
            Assert.Equal(StorageState.Ok, buffer.GetStatus().Storage);
        }

        Mend();
        await using var mended = await OpenAsync();
        CheckAll(mended, Readings + 1);
    }

    [Fact]
    public async Task A_file_with_a_block_that_stays_unreadable_is_salvaged()
    {
        await FillAsync();
        await using var buffer = await OpenAsync();
        Break(nameof(FileOperationKind.Read), raw.SQLITE_IOERR_READ);

        // Only for SQLite's reads of this file, so the salvage finds everything.
        _volume.FailWhere = operation => operation.Number == BadBlock && operation.Path == _fixture.DatabasePath
            && buffer.GetStatus().Salvage is null;
        await Until.True(() =>
        {
            try
            {
                return BufferFixture.ReadAll(buffer).Count > 0;
            }
            catch (BufferUnavailableException)
            {
                return false;
            }
        });
        await BufferFixture.RecoveredAsync(buffer);
        Assert.Equal(Readings, buffer.GetStatus().Salvage?.Readings);
        CheckAll(buffer, Readings);
    }

    [Fact(Explicit = true)]
    public async Task A_block_that_the_writer_cannot_read_does_not_block_new_readings_indefinitely()
    {
        // In a file too large to be checked when it is opened.
        const int Many = 160_000, BadAt = 8 << 20;
        await using (var filled = await OpenAsync())
        {
            for (var i = 0; i < Many; i += 1_000)
            {
                await Task.WhenAll(Enumerable.Range(i, 1_000).Select(n =>
                    filled.EnqueueAsync(BufferFixture.Incompressible(n), BufferFixture.Token).AsTask()).ToList());
            }
        }
        Assert.True(new FileInfo(_fixture.DatabasePath).Length > DatabaseFile.CheckedAtOnceBytes);
        await using var buffer = await OpenAsync();
        Break(nameof(FileOperationKind.Read), raw.SQLITE_IOERR_READ);
        _volume.FailWhere = operation => operation.Number == BadAt && operation.Path == _fixture.DatabasePath
            && buffer.GetStatus().Salvage is null;

        // The writer reads the segments of these ids itself; one of them has the bad block.
        var refused = Task.WhenAll(Enumerable.Range(1, Many / 200).Select(n =>
            buffer.DeadLetterAsync(n * 200, "400", null, BufferFixture.Token)).ToList());
        var stored = buffer.EnqueueAsync(BufferFixture.Reading(Many + 1), BufferFixture.Token).AsTask();
        await Until.True(() => stored.IsCompleted && refused.IsCompleted, _time, TimeSpan.FromSeconds(1));
        Assert.Equal(Many + 1, await stored);
        await refused;
        Assert.NotNull(buffer.GetStatus().Salvage);
    }

    void Break(string kind, int code) => (_volume.FailCode, _volume.FailAt, _volume.FailKind, _volume.FailWhere) =
        (code, 1, Enum.Parse<FileOperationKind>(kind), null);

    void Mend() => _volume.FailKind = null;

    static void CheckAll(TelemetryBuffer buffer, int readings) => Assert.Equal(
        Enumerable.Range(1, readings).Select(n => (long)n), BufferFixture.ReadAll(buffer).Select(row => row.Id));

    async Task FillAsync()
    {
        await using var buffer = await OpenAsync();
        await Task.WhenAll(Enumerable.Range(1, Readings).Select(n =>
            buffer.EnqueueAsync(BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList());
    }

    Task<TelemetryBuffer> OpenAsync() => _fixture.OpenAsync(BufferFixture.AtOnce, _time, options => options with
    {
        Vfs = RecordingVfs.Name,
        OnVolumeOperation = _volume.OnVolume,
    });
}
