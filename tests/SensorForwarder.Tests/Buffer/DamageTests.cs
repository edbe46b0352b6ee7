using System.Globalization;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Whatever was done to the files: opening brings back what reads, once, and says so.</summary>
public sealed class DamageTests : IDisposable
{
    const int Readings = 2_000;

    readonly BufferFixture _fixture = new();

    string Database => _fixture.DatabasePath;

    string Wal => Database + "-wal";

    [Fact]
    public async Task A_cleanly_closed_file_keeps_its_epoch_and_is_not_salvaged()
    {
        var epoch = await MakeAsync();
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(epoch, buffer.Epoch);
        Assert.Null(buffer.GetStatus().Salvage);
        Assert.Equal(Readings, buffer.GetStatus().Depth);
    }

    [Fact]
    public async Task A_truncated_file_gives_what_is_left()
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
    public async Task A_zeroed_page_costs_its_own_rows_and_the_gap_is_announced()
    {
        await MakeAsync();
        Change(Database, bytes =>
        {
            bytes.AsSpan(20 * 4096, 4096).Clear();
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
    public async Task A_spoiled_first_page_costs_no_reading(int from)
    {
        await MakeAsync();
        Change(Database, bytes =>
        {
            new Random(from).NextBytes(bytes.AsSpan(from, 4096 - from));
            return bytes;
        });
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(Readings, Check(buffer).Count);
        Assert.Equal(Readings + 1, await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token));
    }

    [Fact]
    public async Task A_foreign_database_is_put_aside_untouched()
    {
        await File.WriteAllTextAsync(Database, new string('x', 10_000), BufferFixture.Token);
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(0, buffer.GetStatus().Depth);
        var kept = buffer.GetStatus().Salvage!.KeptAs!;
        Assert.Equal(new string('x', 10_000), await File.ReadAllTextAsync(kept, BufferFixture.Token));
    }

    [Fact]
    public async Task The_database_of_another_application_is_put_aside()
    {
        using (var foreign = SqliteConnection.Open(Database, create: true, readOnly: false, vfs: null))
            foreign.Execute("CREATE TABLE queue(id INTEGER PRIMARY KEY, other TEXT); INSERT INTO queue VALUES(1, 'x')");
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(0, buffer.GetStatus().Depth);
        Assert.NotNull(buffer.GetStatus().Salvage);
    }

    [Fact]
    public async Task A_newer_format_is_left_alone()
    {
        await MakeAsync();
        using (var newer = SqliteConnection.Open(Database, create: false, readOnly: false, vfs: null))
            newer.Execute("PRAGMA user_version=2");
        var before = await File.ReadAllBytesAsync(Database, BufferFixture.Token);
        var failure = await Assert.ThrowsAsync<BufferUnavailableException>(() => _fixture.OpenAsync());
        Assert.Contains("newer version", failure.Message, StringComparison.Ordinal);
        Assert.Equal(before, await File.ReadAllBytesAsync(Database, BufferFixture.Token));
    }

    [Fact]
    public async Task A_hole_in_a_crashed_log_does_not_cost_what_stands_behind_it()
    {
        await MakeCrashedAsync();
        Change(Wal, bytes =>
        {
            bytes[32 + (10 * 4120) + 1_000] ^= 0x10;
            return bytes;
        });
        await using var buffer = await _fixture.OpenAsync();
        var rows = Check(buffer);
        // One page image is spoiled; a later image of the same page may replace it.
        Assert.InRange(rows.Count, Readings - 60, Readings);
        Assert.NotNull(buffer.GetStatus().Salvage);
    }

    [Fact]
    public async Task A_lost_database_is_rebuilt_from_its_log()
    {
        await MakeCrashedAsync();
        File.Delete(Database);
        await using var buffer = await _fixture.OpenAsync();
        Assert.Equal(Readings, Check(buffer).Count);
    }

    [Fact]
    public async Task A_missing_log_leaves_what_was_copied_back()
    {
        await MakeCrashedAsync();
        File.Delete(Wal);
        await using var buffer = await _fixture.OpenAsync();
        Check(buffer);
        await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
    }

    [Fact]
    public async Task An_interrupted_salvage_is_begun_again_or_ended_at_every_step()
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
    public async Task Three_damaged_files_are_kept_at_most()
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
    public async Task Damage_that_shows_while_the_buffer_is_open_is_salvaged_without_losing_what_waits()
    {
        await MakeAsync();
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(timeProvider: time);
        var epoch = buffer.Epoch;
        var replaced = new TaskCompletionSource();
        buffer.ReadingsReturned += replaced.SetResult;
        await buffer.EnqueueAsync(BufferFixture.Reading(1), BufferFixture.Token);
        // Not the file that the connections hold: the same file, changed under them.
        using (var file = new FileStream(Database, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            file.Position = 20 * 4096;
            file.Write(Enumerable.Repeat((byte)0x77, 4096).ToArray());
        }
        try
        {
            BufferFixture.ReadAll(buffer);
            Assert.Fail("the damage went unnoticed");
        }
        catch (BufferUnavailableException)
        {
            // Said once; the writer mends it.
        }
        while (!replaced.Task.IsCompleted)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }
        Assert.NotEqual(epoch, buffer.Epoch);
        Assert.Equal(Readings + 2, await buffer.EnqueueAsync(BufferFixture.Reading(2), BufferFixture.Token));
        var rows = BufferFixture.ReadAll(buffer);
        Assert.InRange(rows.Count, Readings - 60, Readings + 1);
        Assert.Equal([Readings + 1, Readings + 2], rows.TakeLast(2).Select(r => r.Id));
    }

    [Fact]
    public async Task Random_mutations_open_without_an_exception_and_keep_every_page_that_was_not_hit()
    {
        var count = int.Parse(
            Environment.GetEnvironmentVariable("TEST_BUFFER_MUTATIONS") ?? "2000", CultureInfo.InvariantCulture);
        var seed = int.Parse(
            Environment.GetEnvironmentVariable("TEST_SEED") ?? $"{Environment.TickCount}", CultureInfo.InvariantCulture);
        TestContext.Current.TestOutputHelper?.WriteLine($"TEST_SEED={seed}");
        await MakeAsync(readings: 300);
        var clean = await File.ReadAllBytesAsync(Database, BufferFixture.Token);
        using var crashed = new BufferFixture();
        await MakeCrashedAsync(crashed, readings: 300);
        var (crashedDatabase, crashedWal) = (
            await File.ReadAllBytesAsync(crashed.DatabasePath, BufferFixture.Token),
            await File.ReadAllBytesAsync(crashed.DatabasePath + "-wal", BufferFixture.Token));
        var fewest = int.MaxValue;
        await Parallel.ForAsync(0, count, new ParallelOptions { MaxDegreeOfParallelism = 4 }, async (i, _) =>
        {
            var random = new Random(seed + i);
            using var fixture = new BufferFixture(inMemory: true);
            var database = (byte[])clean.Clone();
            byte[] log = [];
            if (i % 3 == 0)
            {
                database = (byte[])crashedDatabase.Clone();
                log = Mutate((byte[])crashedWal.Clone(), random);
                await File.WriteAllBytesAsync(fixture.DatabasePath + "-wal", log, CancellationToken.None);
            }
            if (i % 3 != 0 || random.Next(2) == 0)
                database = Mutate(database, random);
            await File.WriteAllBytesAsync(fixture.DatabasePath, database, CancellationToken.None);
            try
            {
                await using var buffer = await fixture.OpenAsync();
                var rows = ReadPatiently(buffer);
                Assert.Equal(rows.Select(r => r.Id).Order().Distinct(), rows.Select(r => r.Id));
                await buffer.EnqueueAsync(BufferFixture.Reading(1), CancellationToken.None);
                var ids = rows.Select(r => r.Id).ToHashSet();
                // Of the last transaction in a log nobody can tell damage from a power cut. Where the end of another one was
                // hit, it and the last are one to everybody.
                var lost = (i % 3 != 0
                    ? Untouched(300, (clean, database, 0, 4096))
                    : Untouched(HasAllCommits(crashedWal, log) ? 200 : 0,
                        (crashedDatabase, database, 0, 4096), (crashedWal, log, 32, 24 + 4096)))
                    .Where(id => !ids.Contains(id)).ToList();
                Assert.True(lost.Count == 0, $"{lost.Count} readings that were not hit are lost, {lost.FirstOrDefault()} first; "
                    + $"{buffer.GetStatus().Salvage}");
                if (i % 3 != 0)
                    InterlockedMin(ref fewest, rows.Count);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"mutation {i} of seed {seed}: database {First(i % 3 == 0 ? crashedDatabase : clean, database)}, log {(i % 3 == 0 ? First(crashedWal, log) : "")}", e);
            }
        });
        TestContext.Current.TestOutputHelper?.WriteLine($"{count} mutations; the worst left {fewest} of 300 readings");
    }

    public void Dispose() => _fixture.Dispose();

    // Reading may be what finds the damage; then the buffer mends itself, and reading is tried again.
    static List<BufferedReading> ReadPatiently(TelemetryBuffer buffer)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return BufferFixture.ReadAll(buffer);
            }
            catch (BufferUnavailableException) when (attempt < 1_000)
            {
                Thread.Yield();
                buffer.CommitAsync(CancellationToken.None).GetAwaiter().GetResult();
            }
        }
    }

    static byte[] Mutate(byte[] bytes, Random random)
    {
        for (var n = random.Next(1, 4); n > 0; n--)
        {
            var at = random.Next(bytes.Length);
            var length = Math.Min(random.Next(1, 5_000), bytes.Length - at);
            switch (random.Next(6))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    random.NextBytes(bytes.AsSpan(at, Math.Min(length, 16)));
                    break;
                case 2:
                    bytes.AsSpan(at, length).Clear();
                    break;
                case 3:
                    bytes.AsSpan(random.Next(bytes.Length - length + 1), length).CopyTo(bytes.AsSpan(at));
                    break;
                case 4:
                    bytes = bytes[..Math.Max(1, at)];
                    break;
                default:
                    // Where it hurts: the headers of pages.
                    bytes[Math.Min(bytes.Length - 1, (at / 4096 * 4096) + random.Next(12))] = (byte)random.Next(256);
                    break;
            }
        }
        return bytes;
    }

    // The readings whose page (or frame of the log) is as it was: found by their text, not by anything that the buffer
    // knows of pages. The text may also stand where the row was before its page was split or written again; then all of
    // them must be as they were.
    static IEnumerable<long> Untouched(int readings, params (byte[] Before, byte[] After, int From, int Size)[] files)
    {
        for (var id = 1; id <= readings; id++)
        {
            var text = ReadingEncoder.Encode(BufferFixture.Reading(id)).ToArray();
            if (files.All(file => IsUntouched(text, file.Before, file.After, file.From, file.Size)))
                yield return id;
        }
    }

    static bool HasAllCommits(byte[] before, byte[] after)
    {
        for (var at = 32; at + 24 <= before.Length; at += 24 + 4096)
        {
            var isCommit = before.AsSpan(at + 4, 4).ContainsAnyExcept((byte)0);
            if (isCommit && (at + 24 > after.Length || !before.AsSpan(at, 24).SequenceEqual(after.AsSpan(at, 24))))
                return false;
        }
        return true;
    }

    static bool IsUntouched(byte[] text, byte[] before, byte[] after, int from, int size)
    {
        for (int at = 0, next; (next = before.AsSpan(at).IndexOf(text)) >= 0; at += next + 1)
        {
            var page = ((at + next - from) / size * size) + from;
            if (page + size > after.Length || !before.AsSpan(page, size).SequenceEqual(after.AsSpan(page, size)))
                return false;
        }
        return true;
    }

    // Where a mutation begins, for the message.
    static string First(byte[] before, byte[] after) => before.AsSpan().CommonPrefixLength(after) is var at && at == before.Length
        ? "as it was"
        : $"hit from {at}, {after.Length} of {before.Length} bytes";

    static void InterlockedMin(ref int target, int value)
    {
        int seen;
        while (value < (seen = Volatile.Read(ref target)) && Interlocked.CompareExchange(ref target, value, seen) != seen)
        {
            // Somebody else was faster; look again.
        }
    }

    // Ids in order, and each payload the one that belongs to its id.
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

    static async Task<string> MakeAsync(BufferFixture fixture, int readings = Readings)
    {
        await using var buffer = await fixture.OpenAsync();
        await FillAsync(buffer, readings);
        return buffer.Epoch;
    }

    // As a crash leaves it: the log is not copied back. The files are copied while the buffer is open.
    static async Task MakeCrashedAsync(BufferFixture fixture, int readings)
    {
        using var original = new BufferFixture();
        await using var buffer = await original.OpenAsync();
        await FillAsync(buffer, readings);
        foreach (var file in new[] { "telemetry.db", "telemetry.db-wal" })
            File.Copy(Path.Combine(original.Directory, file), Path.Combine(fixture.Directory, file));
    }

    // In many small transactions, so that the log is long.
    static async Task FillAsync(TelemetryBuffer buffer, int readings)
    {
        var last = buffer.LastCommittedId;
        for (var i = 1; i <= readings; i += 100)
        {
            var tasks = Enumerable.Range(i, 100).Select(n =>
                buffer.EnqueueAsync(BufferFixture.Reading((int)last + n), BufferFixture.Token).AsTask());
            await Task.WhenAll(tasks.ToList());
        }
    }
}
