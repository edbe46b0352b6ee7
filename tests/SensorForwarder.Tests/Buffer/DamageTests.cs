using System.Buffers.Binary;
using System.Runtime.Versioning;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>After any damage to the files, opening restores every readable reading once, and reports the damage.</summary>
public sealed class DamageTests : IDisposable
{
    const int Readings = 2_000;

    readonly BufferFixture _fixture = new();

    string Database => _fixture.DatabasePath;

    string Wal => Database + "-wal";

    [Fact]
    public async Task A_cleanly_closed_file_is_not_salvaged_and_its_readings_keep_their_epoch()
    {
        var epoch = await MakeAsync();
        await using var buffer = await _fixture.OpenAsync();
        Assert.All(BufferFixture.ReadAll(buffer), row => Assert.Equal(epoch, row.Epoch));
        Assert.NotEqual(epoch, buffer.Epoch);
        Assert.Null(buffer.GetStatus().Salvage);
        Assert.Equal(Readings, buffer.GetStatus().Depth);
    }

    [Fact]
    public async Task The_readings_left_in_a_truncated_file_are_salvaged()
    {
        var epoch = await MakeAsync();
        Change(Database, bytes => bytes[..(bytes.Length / 2)]);
        await using var buffer = await _fixture.OpenAsync();
        Assert.NotEqual(epoch, buffer.Epoch);
        var rows = Check(buffer);
        Assert.InRange(rows.Count, Readings / 3, Readings - 1);
        var salvage = buffer.GetStatus().Salvage!;
        Assert.Equal(rows.Count, salvage.Readings);
        Assert.True(File.Exists(salvage.KeptAs));
    }

    [Fact]
    public async Task A_zeroed_page_loses_only_its_own_readings_and_a_gap_entry_reports_them()
    {
        await MakeAsync();
        Change(Database, bytes =>
        {
            bytes.AsSpan(bytes.Length / 2048 * 1024, 1024).Clear();
            return bytes;
        });
        await using var buffer = await _fixture.OpenAsync();
        var rows = Check(buffer);
        Assert.InRange(rows.Count, Readings - 60, Readings - 1);
        Assert.Equal(Readings - rows.Count, buffer.GetStatus().Salvage!.Missing);
        await buffer.AcknowledgeAsync(rows[0].Id, rows[0].Id, BufferFixture.Token);
        var gap = BufferFixture.Text(BufferFixture.ReadAll(buffer)[^1]);
        Assert.Contains($"\"values\":{{\"count\":{Readings - rows.Count}}}", gap, StringComparison.Ordinal);
        Assert.Contains("\"reason\":\"damaged\"", gap, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(16)]
    [InlineData(100)]
    public async Task A_damaged_first_page_loses_no_reading(int from)
    {
        await MakeAsync();
        Change(Database, bytes =>
        {
            new Random(from).NextBytes(bytes.AsSpan(from, 1024 - from));
            return bytes;
        });
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(Readings, Check(buffer).Count);
        Assert.Equal(Readings + 1, await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token));
    }

    [Fact]
    public async Task A_file_that_is_not_a_database_is_moved_aside_unchanged()
    {
        await File.WriteAllTextAsync(Database, new string('x', 10_000), BufferFixture.Token);
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(0, buffer.GetStatus().Depth);
        var kept = buffer.GetStatus().Salvage!.KeptAs!;
        Assert.Equal(new string('x', 10_000), await File.ReadAllTextAsync(kept, BufferFixture.Token));
    }

    [Fact]
    public async Task The_database_of_another_application_is_moved_aside()
    {
        using (var foreign = Sqlite.Open(Database, SqliteOpenMode.ReadWriteCreate, vfs: null))
            foreign.Execute("CREATE TABLE queue(id INTEGER PRIMARY KEY, other TEXT); INSERT INTO queue VALUES(1, 'x')");
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(0, buffer.GetStatus().Depth);
        Assert.NotNull(buffer.GetStatus().Salvage);
    }

    [Fact]
    public async Task A_file_of_a_newer_format_is_refused_and_not_changed()
    {
        await MakeAsync();
        using (var newer = Sqlite.Open(Database, SqliteOpenMode.ReadWrite, vfs: null))
            newer.Execute("ALTER TABLE meta ADD COLUMN newer; PRAGMA user_version=3");
        var before = await File.ReadAllBytesAsync(Database, BufferFixture.Token);
        var failure = await Assert.ThrowsAsync<BufferUnavailableException>(() => _fixture.OpenAsync());
        Assert.Contains("newer version", failure.Message, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(Database, BufferFixture.Token));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(258)]
    [InlineData(int.MaxValue)]
    public async Task A_damaged_format_number_loses_no_reading(int number)
    {
        await MakeAsync();
        using (var damaged = Sqlite.Open(Database, SqliteOpenMode.ReadWrite, vfs: null))
            damaged.Execute($"PRAGMA user_version={number}");
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(Readings, Check(buffer).Count);
    }

    [Fact]
    public async Task A_damaged_frame_in_the_WAL_of_a_crash_does_not_lose_the_readings_behind_it()
    {
        await MakeCrashedAsync();
        Change(Wal, bytes =>
        {
            bytes[32 + (10 * 1048) + 500] ^= 0x10;
            return bytes;
        });
        await using var buffer = await _fixture.OpenAsync();
        var rows = Check(buffer);
        // One page image is damaged; a later image of the same page may replace it.
        Assert.InRange(rows.Count, Readings - 60, Readings);
        Assert.NotNull(buffer.GetStatus().Salvage);
    }

    [Fact]
    public async Task A_transaction_torn_by_a_power_cut_is_not_damage_even_if_it_exposes_an_older_frame()
    {
        // A sector boundary (512 bytes) lies after the first 8 bytes of this frame's header.
        const int Torn = 32 + (41 * 1048);
        Assert.Equal(504, Torn % 512);
        using var left = new BufferFixture();
        var whole = 0L;
        await using (var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce with { CommitInterval = TimeSpan.FromMinutes(1) }))
        {
            for (var log = 0L; log < Torn + 1048; log = LastFrameEnd())
            {
                whole = buffer.LastCommittedId;
                var group = Enumerable.Range(0, 100).Select(n =>
                    buffer.EnqueueAsync(BufferFixture.Incompressible(n), BufferFixture.Token).AsTask()).ToList();
                await buffer.CommitAsync(BufferFixture.Token);
                await Task.WhenAll(group);
            }
            foreach (var file in Directory.GetFiles(_fixture.Directory, "telemetry.db*"))
                File.Copy(file, Path.Combine(left.Directory, Path.GetFileName(file)));
        }
        var wal = left.DatabasePath + "-wal";
        var bytes = await File.ReadAllBytesAsync(wal, BufferFixture.Token);
        // The content of an older frame: another page, and a commit mark.
        BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(Torn), (7L << 32) + 40);
        await File.WriteAllBytesAsync(wal, bytes, BufferFixture.Token);
        await using var again = await left.OpenAsync();
        Assert.Null(again.GetStatus().Salvage);
        Assert.Equal(whole, BufferFixture.ReadAll(again).Count);

        // The WAL has zeros after its last frame.
        long LastFrameEnd()
        {
            using var file = new FileStream(Wal, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var log = new byte[file.Length];
            file.ReadExactly(log);
            return log.AsSpan().LastIndexOfAnyExcept((byte)0) + 1;
        }
    }

    [Theory]
    [InlineData(29, 40, 0x00)]
    [InlineData(2, 60, 0x00)]
    [InlineData(0, 4500, 0x00)]
    [InlineData(0, 4500, 0xff)]
    public async Task A_WAL_whose_beginning_is_erased_keeps_the_readings_behind_it(int at, int length, byte by)
    {
        await MakeCrashedAsync();
        Change(Wal, bytes =>
        {
            bytes.AsSpan(at, length).Fill(by);
            return bytes;
        });
        await using var buffer = await _fixture.OpenAsync();
        Assert.InRange(Check(buffer).Count, Readings - 60, Readings);
        Assert.NotNull(buffer.GetStatus().Salvage);
    }

    [Fact]
    public async Task A_deleted_database_is_rebuilt_from_its_WAL()
    {
        await MakeCrashedAsync();
        File.Delete(Database);
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(Readings, Check(buffer).Count);
    }

    [Fact]
    public async Task Without_the_WAL_of_a_crash_the_buffer_opens_with_the_checkpointed_readings()
    {
        await MakeCrashedAsync();
        File.Delete(Wal);
        await using var buffer = await _fixture.OpenAsync();
        Check(buffer);
        await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
    }

    [Fact(Explicit = true)]
    public async Task A_salvage_interrupted_at_any_step_is_completed_at_the_next_start()
    {
        for (var steps = 1; ; steps++)
        {
            using var fixture = new BufferFixture();
            await MakeAsync(fixture);
            Change(fixture.DatabasePath, bytes => bytes[..(bytes.Length / 2)]);
            var left = steps;
            var interrupted = false;
            try
            {
                await using var first = await fixture.OpenAsync(with: o => o with
                {
                    OnVolumeOperation = _ => interrupted |= --left < 0 ? throw new IOException("cut") : false,
                });
            }
            catch (BufferUnavailableException)
            {
                interrupted = true;
            }
            await using var buffer = await fixture.OpenAsync();
            Assert.InRange(Check(buffer).Count, Readings / 3, Readings - 1);
            Assert.False(File.Exists(Path.Combine(fixture.Directory, "telemetry.salvage")));
            if (!interrupted)
            {
                Assert.True(steps > 4);
                return;
            }
        }
    }

    [Fact]
    public async Task A_failed_salvage_is_logged_and_does_not_change_the_damaged_file()
    {
        await MakeAsync();
        Change(Database, bytes => bytes[..(bytes.Length / 2)]);
        var before = await File.ReadAllBytesAsync(Database, BufferFixture.Token);
        var log = new LogLines();
        await Assert.ThrowsAsync<BufferUnavailableException>(() => _fixture.OpenAsync(
            logger: log.For<TelemetryBuffer>(),
            with: o => o with
            {
                OnVolumeOperation = operation =>
                {
                    var isSalvage = operation.Path.EndsWith("salvage", StringComparison.Ordinal);
                    if (isSalvage && operation.Kind == VolumeOperationKind.Write)
                        throw new IOException("no room for it");
                },
            }));
        const string Failed = "copying its readings to a new file failed: no room for it";
        var line = Assert.Single(log.All, line => line.Contains(Failed, StringComparison.Ordinal));
        Assert.Contains(Database, line, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(Database, BufferFixture.Token));
        await using var buffer = await _fixture.OpenAsync();
        Assert.InRange(Check(buffer).Count, Readings / 3, Readings - 1);
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public async Task Symbolic_links_in_place_of_the_files_of_the_buffer_are_replaced_and_not_followed()
    {
        await MakeAsync();
        string In(string name) => Path.Combine(_fixture.Directory, name);
        var (other, nothing, reserve) = (In("other"), In("nothing"), In("telemetry.reserve"));
        await File.WriteAllTextAsync(other, "other", BufferFixture.Token);
        File.Delete(reserve);
        File.CreateSymbolicLink(reserve, other);
        File.CreateSymbolicLink(In("telemetry.salvage"), nothing);
        File.CreateSymbolicLink(In("telemetry.key.new"), other);
        Change(Database, bytes => bytes[..(bytes.Length / 2)]);
        await using (var buffer = await _fixture.OpenAsync())
        {
            Check(buffer);
            await Until.True(() => new FileInfo(reserve) is { Exists: true, LinkTarget: null, Length: > 10_000 });
        }

        new VolumeFiles(_fixture.Directory, null).WritePrivate(In("telemetry.key"), "key"u8);
        Assert.Equal("other", await File.ReadAllTextAsync(other, BufferFixture.Token));
        Assert.False(File.Exists(nothing));
        foreach (var file in (string[])["telemetry.db", "telemetry.key"])
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(In(file)));
    }

    [Fact]
    public async Task At_most_three_damaged_files_are_kept()
    {
        for (var i = 0; i < 6; i++)
        {
            await MakeAsync();
            Change(Database, bytes => bytes[..(bytes.Length / 2)]);
        }
        await using var buffer = await _fixture.OpenAsync();
        var kept = Directory.GetFiles(_fixture.Directory, "telemetry.damaged-*.db").Select(Path.GetFileName).Order();
        Assert.Equal(["telemetry.damaged-4.db", "telemetry.damaged-5.db", "telemetry.damaged-6.db"], kept);
    }

    [Fact]
    public async Task Damage_detected_while_the_buffer_is_open_is_salvaged_without_losing_undamaged_readings()
    {
        await MakeAsync();
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(timeProvider: time);
        var epoch = buffer.Epoch;
        var replaced = new TaskCompletionSource();
        buffer.ReadingsReturned += () => replaced.TrySetResult();
        // Changes the open file in place, so that the connections see the change.
        using (var file = new FileStream(Database, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            file.Position = file.Length / 2048 * 1024;
            file.Write(Enumerable.Repeat((byte)0x77, 1024).ToArray());
        }
        try
        {
            BufferFixture.ReadAll(buffer);
            Assert.Fail("the damage was not detected");
        }
        catch (BufferUnavailableException)
        {
            // Reported once; the writer then replaces the file.
        }
        while (!replaced.Task.IsCompleted)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }
        Assert.NotEqual(epoch, buffer.Epoch);
        await BufferFixture.RecoveredAsync(buffer);
        Assert.Equal(Readings + 1, await buffer.EnqueueAsync(BufferFixture.Reading(2), BufferFixture.Token));
        var rows = BufferFixture.ReadAll(buffer);
        Assert.InRange(rows.Count, Readings - 60, Readings);
        Assert.Equal(Readings + 1, rows[^1].Id);
    }

    [Fact]
    public async Task A_flipped_bit_in_a_value_loses_only_its_segment_and_the_file_stays_in_use()
    {
        await MakeAsync();
        FlipBit();
        var log = new LogLines();
        await using var buffer = await _fixture.OpenAsync(logger: log.For<TelemetryBuffer>());
        Assert.Throws<BufferUnavailableException>(() => BufferFixture.ReadAll(buffer));
        await buffer.CommitAsync(BufferFixture.Token);
        var rows = Check(buffer);
        var lost = Readings - rows.Count;
        Assert.InRange(lost, 1, 20);
        var status = buffer.GetStatus();
        Assert.Null(status.Salvage);
        Assert.Equal(lost, Assert.Single(status.Evicted, e => e.Reason == "damaged").Count);
        Assert.Equal(rows.Count, status.Depth);
        Assert.Single(log.All, line => line.Contains($"is damaged: {lost} of them are lost", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_readings_before_a_damaged_segment_are_still_returned_when_it_is_decoded_in_advance()
    {
        await MakeAsync();
        FlipBit();
        await using var buffer = await _fixture.OpenAsync();
        var last = 0L;
        Assert.Throws<BufferUnavailableException>(() =>
        {
            while (buffer.PeekBatch(last, 1, 1) is { Count: 1 } one) last = one[0].Id;
        });
        await buffer.CommitAsync(BufferFixture.Token);
        var rows = Check(buffer).Select(row => row.Id).ToHashSet();
        Assert.Equal(Enumerable.Range(1, Readings).First(id => !rows.Contains(id)) - 1, last);
    }

    [Theory]
    [InlineData("last_id = 0, readings = 0, level = 0, oldest_at = 0, newest_at = 0, state = 0")]
    [InlineData("last_id = first_id - 1, state = NULL")]
    [InlineData("last_id = first_id, state = NULL")]
    [InlineData("last_id = last_id - 1, state = NULL")]
    public async Task A_newest_segment_with_damaged_columns_loses_no_reading_and_causes_no_id_to_be_reused(string change)
    {
        await MakeAsync();
        using (var file = Sqlite.Open(Database, SqliteOpenMode.ReadWrite, vfs: null))
        {
            file.Execute($"UPDATE segment SET {change} WHERE first_id = (SELECT max(first_id) FROM segment)");
            file.Execute("DELETE FROM meta WHERE name = 'state'");
        }

        await using var buffer = await _fixture.OpenAsync();
        var id = await buffer.EnqueueAsync(BufferFixture.Reading(Readings + 1), BufferFixture.Token).AsTask()
            .WaitAsync(Until.Limit, TimeProvider.System, BufferFixture.Token);
        Assert.True(id > Readings, $"{id}");
        // The first reader to find the damage reports it.
        _ = Record.Exception(() => BufferFixture.ReadAll(buffer));
        await buffer.CommitAsync(BufferFixture.Token);
        Assert.Equal([.. Enumerable.Range(1, Readings), id], Check(buffer).Select(reading => reading.Id));
        Assert.Equal(Readings + 1, buffer.GetStatus().Depth);
    }

    [Theory]
    [InlineData("DROP TABLE document; CREATE VIEW document AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS name, i AS content FROM n")]
    [InlineData("CREATE TRIGGER t AFTER INSERT ON segment BEGIN DELETE FROM segment; END")]
    public async Task Foreign_views_and_triggers_are_treated_as_damage_and_not_executed(string sql)
    {
        await MakeAsync();
        using (var file = Sqlite.Open(Database, SqliteOpenMode.ReadWrite, vfs: null))
            file.Execute(sql);
        Assert.Throws<BufferUnavailableException>(() => BufferFile.Open(new() { Directory = _fixture.Directory }, TimeProvider.System));
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(Readings, Check(buffer).Count);
        Assert.NotNull(buffer.GetStatus().Salvage);
    }

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public async Task After_damage_to_the_oldest_segment_the_next_reading_is_reported_as_the_oldest()
    {
        await MakeAsync();
        FlipBit();
        var damaged = await File.ReadAllBytesAsync(Database, BufferFixture.Token);
        var before = 0L;
        await using (var first = await _fixture.OpenAsync())
        {
            Assert.Throws<BufferUnavailableException>(() =>
            {
                while (first.PeekBatch(before, 1, 1) is { Count: 1 } one) before = one[0].Id;
            });
        }
        await File.WriteAllBytesAsync(Database, damaged, BufferFixture.Token);

        await using var buffer = await _fixture.OpenAsync();
        await buffer.AcknowledgeAsync(1, before, BufferFixture.Token);
        Assert.Throws<BufferUnavailableException>(() => BufferFixture.ReadAll(buffer));
        await buffer.CommitAsync(BufferFixture.Token);
        Assert.Equal(Check(buffer)[0].RecordedAt, buffer.GetStatus().OldestRecordedAt);
    }

    // In the middle of the body of a segment, so that gzip's CRC fails.
    void FlipBit() => Change(Database, bytes =>
    {
        var middle = bytes.Length / 2;
        var body = middle + bytes.AsSpan(middle).IndexOf((ReadOnlySpan<byte>)[0x1f, 0x8b, 0x08]);
        bytes[body + 60] ^= 0x04;
        return bytes;
    });

    // The ids are ascending, and each payload belongs to its id.
    static List<BufferedReading> Check(TelemetryBuffer buffer)
    {
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(rows.Select(r => r.Id).Order().Distinct(), rows.Select(r => r.Id));
        foreach (var row in rows.Where(r => r.Id <= Readings))
        {
            Assert.Equal(
                System.Text.Encoding.UTF8.GetString(ReadingEncoder.Encode(BufferFixture.Reading((int)row.Id))),
                BufferFixture.Text(row));
        }
        return rows;
    }

    static void Change(string path, Func<byte[], byte[]> change) =>
        File.WriteAllBytes(path, change(File.ReadAllBytes(path)));

    Task<string> MakeAsync(int readings = Readings) => MakeAsync(_fixture, readings);

    Task MakeCrashedAsync() => MakeCrashedAsync(_fixture, Readings);

    internal static async Task<string> MakeAsync(BufferFixture fixture, int readings = Readings)
    {
        await using var buffer = await fixture.OpenAsync();
        await FillAsync(buffer, readings);
        return buffer.Epoch;
    }

    // As after a crash, without a checkpoint: the files are copied while the buffer is open.
    internal static async Task MakeCrashedAsync(BufferFixture fixture, int readings)
    {
        using var original = new BufferFixture();
        await using var buffer = await original.OpenAsync();
        await FillAsync(buffer, readings);
        foreach (var file in new[] { "telemetry.db", "telemetry.db-wal" })
            File.Copy(Path.Combine(original.Directory, file), Path.Combine(fixture.Directory, file));
    }

    // In many small transactions, so that the WAL is long.
    static async Task FillAsync(TelemetryBuffer buffer, int readings)
    {
        var last = buffer.LastCommittedId;
        for (var i = 1; i <= readings; i += 20)
        {
            var tasks = Enumerable.Range(i, 20).Select(n =>
                buffer.EnqueueAsync(BufferFixture.Reading((int)last + n), BufferFixture.Token).AsTask());
            await Task.WhenAll(tasks.ToList());
        }
    }
}
