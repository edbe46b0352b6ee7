using Microsoft.Data.Sqlite;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Random damage to a valid file, closed or crashed: it opens, and every undamaged reading is there.</summary>
public sealed class MutationTests
{
    [Fact]
    public async Task A_randomly_mutated_file_opens_without_an_exception_and_keeps_every_undamaged_page()
    {
        var count = Tier.Size("TEST_BUFFER_MUTATIONS", quick: 45, full: 1_000, deep: 2_000);
        var seed = Tier.Seed ?? Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"TEST_SEED={seed}");
        using var closed = new BufferFixture();
        await DamageTests.MakeAsync(closed, readings: 300);
        var clean = await File.ReadAllBytesAsync(closed.DatabasePath, BufferFixture.Token);
        var bodies = ReadBodies(closed);
        using var crashed = new BufferFixture();
        await DamageTests.MakeCrashedAsync(crashed, readings: 300);
        var (crashedDatabase, crashedWal) = (
            await File.ReadAllBytesAsync(crashed.DatabasePath, BufferFixture.Token),
            await File.ReadAllBytesAsync(crashed.DatabasePath + "-wal", BufferFixture.Token));
        var crashedBodies = ReadBodies(crashed);
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
                // Damage in the last transaction of a WAL looks like a power cut. If the commit frame of the transaction
                // before it is damaged, the last two look like one.
                var lost = (i % 3 != 0
                    ? Untouched(bodies, 300, (clean, database, 0, 1024))
                    : Untouched(crashedBodies, HasAllCommits(crashedWal, log) ? 280 : 0,
                        (crashedDatabase, database, 0, 1024), (crashedWal, log, 32, 24 + 1024)))
                    .Where(id => !ids.Contains(id)).ToList();
                Assert.True(lost.Count == 0, $"{lost.Count} undamaged readings are lost, {lost.FirstOrDefault()} first; "
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

    // Reading may detect the damage; the buffer then repairs itself, and reading is retried.
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
            var length = Math.Min(random.Next(1, 2_000), bytes.Length - at);
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
                    // In the header of a page.
                    bytes[Math.Min(bytes.Length - 1, (at / 1024 * 1024) + random.Next(12))] = (byte)random.Next(256);
                    break;
            }
        }
        return bytes;
    }

    // Each segment is small enough to be in one page.
    static List<(long First, long Last, byte[] Body)> ReadBodies(BufferFixture fixture)
    {
        var bodies = new List<(long First, long Last, byte[] Body)>();
        using var copy = new BufferFixture();
        foreach (var file in Directory.GetFiles(fixture.Directory, "telemetry.db*"))
            File.Copy(file, Path.Combine(copy.Directory, Path.GetFileName(file)));
        using var database = new SqliteConnection($"Data Source={copy.DatabasePath};Pooling=False");
        database.Open();
        using var query = database.CreateCommand();
        query.CommandText = "SELECT first_id, last_id, body FROM segment";
        using var rows = query.ExecuteReader();
        while (rows.Read())
            bodies.Add((rows.GetInt64(0), rows.GetInt64(1), rows.GetFieldValue<byte[]>(2)));
        return bodies;
    }

    // The readings whose page (or WAL frame) is undamaged: found by the bytes of their segment, without the buffer's code.
    // The same bytes may also be where the row was before its page was split or rewritten; then all copies must be
    // undamaged.
    static IEnumerable<long> Untouched(
        List<(long First, long Last, byte[] Body)> bodies, int through,
        params (byte[] Before, byte[] After, int From, int Size)[] files) => bodies
        .Where(segment => files.All(file => IsUntouched(segment.Body, file.Before, file.After, file.From, file.Size)))
        .SelectMany(segment => Enumerable.Range((int)segment.First, (int)(segment.Last - segment.First + 1)))
        .Where(id => id <= through).Select(id => (long)id);

    static bool HasAllCommits(byte[] before, byte[] after)
    {
        for (var at = 32; at + 24 <= before.Length; at += 24 + 1024)
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

    // The first changed byte, for the message.
    static string First(byte[] before, byte[] after) => before.AsSpan().CommonPrefixLength(after) is var at && at == before.Length
        ? "unchanged"
        : $"changed from byte {at}, {after.Length} of {before.Length} bytes";

    static void InterlockedMin(ref int target, int value)
    {
        int seen;
        while (value < (seen = Volatile.Read(ref target)) && Interlocked.CompareExchange(ref target, value, seen) != seen)
        {
            // Another thread was faster; retry.
        }
    }
}
