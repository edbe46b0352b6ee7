using System.Buffers.Binary;
using System.Text.RegularExpressions;
using Microsoft.Data.Sqlite;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>
/// Damage to one number of the file format: each varint of a record, cell pointers, overflow pages and page headers,
/// with numbers of every length, canonical and not. Opening never throws, and only damaged readings are lost.
/// TEST_BUFFER_RECORD_MUTATIONS=1000000 tries every number in every place.
/// </summary>
public sealed partial class RecordMutationTests
{
    const int Readings = 120;
    const int BigReading = 60;
    const int PageBytes = 1024;

    static readonly long[] Numbers =
    [
        0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 63, 64, 127, 128, 255, 4_000, 16_383, 16_384, 32_767, 65_535,
        2_097_151, 4 << 20, (4 << 20) + 1, int.MaxValue, int.MaxValue + 1L, uint.MaxValue, 1L << 53, long.MaxValue - 1,
        long.MaxValue, long.MinValue, -1,
    ];

    [Fact]
    public async Task Any_number_anywhere_in_the_file_loses_only_the_readings_it_damages()
    {
        var count = Tier.Size("TEST_BUFFER_RECORD_MUTATIONS", quick: 60, full: 1_000, deep: 20_000);
        var seed = Tier.Seed ?? Environment.TickCount;
        using var original = new BufferFixture(inMemory: true);
        await MakeAsync(original);
        var clean = await File.ReadAllBytesAsync(original.DatabasePath, BufferFixture.Token);
        var layout = new FileLayout(clean, Roots(original));
        // Two more became dead letters.
        Assert.Equal(Readings + 2, layout.Readings.Select(r => r.Id).Distinct().Count());
        Assert.Contains(layout.Numbers, n => n.What.StartsWith("overflow", StringComparison.Ordinal));
        var mutations = layout.Numbers.SelectMany(AllFor).ToArray();
        new Random(seed).Shuffle(mutations);
        var taken = mutations.Take(count).ToList();
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"TEST_SEED={seed}; {taken.Count} of {mutations.Length} mutations");
        await Parallel.ForEachAsync(
            taken.Index(), new ParallelOptions { MaxDegreeOfParallelism = 4 }, async (mutation, _) =>
            {
                var (index, (number, _, bytes)) = mutation;
                var inPieces = index % 2 == 0;
                try
                {
                    await CheckAsync(clean, layout, mutation.Item, inPieces);
                }
                catch (Exception e)
                {
                    throw new InvalidOperationException(
                        $"seed {seed}, in pieces: {inPieces}, {number.What} at {number.At}: "
                        + Convert.ToHexString(bytes), e);
                }
            });
    }

    [Theory]
    [InlineData(3)]
    [InlineData(20_000)]
    public async Task A_header_length_that_ends_before_its_own_varint_loses_only_its_own_record(int more)
    {
        // In the larger file only the background salvage reaches the page of the record. Two ids are dead letters.
        using var fixture = new BufferFixture(inMemory: true);
        await MakeAsync(fixture);
        await using (var buffer = await fixture.OpenAsync())
            await Task.WhenAll(Enumerable.Range(Readings + 1, more).Select(n =>
                buffer.EnqueueAsync(BufferFixture.Reading(n), BufferFixture.Token).AsTask()).ToList());
        var bytes = await File.ReadAllBytesAsync(fixture.DatabasePath, BufferFixture.Token);
        var layout = new FileLayout(bytes, Roots(fixture));
        var segments = layout.Segments.Where(segment => segment.Last - segment.First > 2).Order().ToList();
        var (first, last) = segments[segments.Count / 2];
        var place = layout.Numbers.Single(n => n.What == $"header length of segment {first}");
        // A two-byte varint of the value 1: the header would end inside its own length.
        new byte[] { 0x80, 0x01 }.CopyTo(bytes, place.At);
        await File.WriteAllBytesAsync(fixture.DatabasePath, bytes, BufferFixture.Token);

        await using var salvaged = await OpenAsync(fixture, inPieces: more > 3);
        var rows = await ReadAsync(salvaged);
        Assert.Equal(
            Enumerable.Range(1, Readings + 2 + more).Select(i => (long)i)
                .Where(id => id is not (Readings + 1) and not (Readings + 2) && (id < first || id > last)),
            rows.Select(r => r.Id));
        Assert.Equal(last - first + 1, Assert.Single(salvaged.GetStatus().Evicted, e => e.Reason == "damaged").Count);
    }

    static List<int> Roots(BufferFixture fixture)
    {
        using var database = Sqlite.Open(fixture.DatabasePath, SqliteOpenMode.ReadOnly, vfs: null);
        using var query = database.Prepare("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0");
        var roots = new List<int>();
        while (query.Step())
            roots.Add((int)query.Number(0));
        return roots;
    }

    // As one or two big-endian bytes, or as a varint of every possible length.
    static IEnumerable<Mutation> AllFor(Number number)
    {
        foreach (var value in Numbers.Append(number.Value - 1).Append(number.Value).Append(number.Value + 1))
        {
            if (number.FixedBytes > 0)
            {
                var bytes = new byte[8];
                BinaryPrimitives.WriteInt64BigEndian(bytes, value);
                yield return new Mutation(number, value, bytes[^number.FixedBytes..]);
                continue;
            }
            for (var length = 1; length <= 9; length++)
            {
                if (Varint(value, length) is { } bytes)
                    yield return new Mutation(number, value, bytes);
            }
        }
    }

    static byte[]? Varint(long value, int length)
    {
        var bytes = new byte[length];
        var rest = (ulong)value;
        for (var i = length - 1; i >= 0; i--)
        {
            // The ninth byte has eight bits.
            var bits = i == 8 ? 8 : 7;
            bytes[i] = (byte)((rest & ((1u << bits) - 1)) | (i == length - 1 ? 0u : 0x80u));
            rest >>= bits;
        }
        if (length == 9)
            bytes[8] = (byte)value;
        return rest == 0 ? bytes : null;
    }

    static async Task CheckAsync(byte[] clean, FileLayout layout, Mutation mutation, bool inPieces)
    {
        var (number, value, written) = mutation;
        var bytes = (byte[])clean.Clone();
        // No write crosses the end of a page.
        written = written[..Math.Min(written.Length, PageBytes - (number.At % PageBytes))];
        written.CopyTo(bytes, number.At);
        using var fixture = new BufferFixture(inMemory: true);
        await File.WriteAllBytesAsync(fixture.DatabasePath, bytes, CancellationToken.None);
        await using var buffer = await OpenAsync(fixture, inPieces);
        var rows = await ReadAsync(buffer);
        var ids = rows.Select(r => r.Id).ToList();
        Assert.Equal(ids.Order().Distinct(), ids);
        // A number that no reading has, not even a dead letter: if the state is damaged, that one is waiting again.
        const int Added = 10 * Readings;
        await buffer.EnqueueAsync(BufferFixture.Reading(Added), CancellationToken.None);
        var added = $"\"number\":{Added}}}";
        Assert.Single(await ReadAsync(buffer), r => BufferFixture.Text(r).Contains(added, StringComparison.Ordinal));
        buffer.ListDeadLetters(0, 100);
        buffer.LoadDocument("settings");

        var hit = layout.Readings.Where(r => r.From < number.At + written.Length && number.At < r.To).Select(r => r.Id)
            .Concat(number.Hit).ToHashSet();
        // Two records with the same id: which one is right is unknown.
        if (number.What.StartsWith("rowid", StringComparison.Ordinal))
            hit.Add(value);
        var texts = rows.ToDictionary(r => r.Id, r => WithoutTime(BufferFixture.Text(r)));
        var lost = layout.Readings.Select(r => r.Id).Where(id => id <= Readings).Distinct().Except(hit)
            .Where(id => texts.GetValueOrDefault(id) != WithoutTime(Text(id))).ToList();
        Assert.True(
            lost.Count == 0,
            $"{lost.Count} undamaged readings are lost, {lost.FirstOrDefault()} first; "
            + $"{buffer.GetStatus().Salvage}");
    }

    static Task<TelemetryBuffer> OpenAsync(BufferFixture fixture, bool inPieces) =>
        fixture.OpenAsync(waits: !inPieces);

    // Reading may detect the damage; the buffer then repairs itself, a large file step by step.
    static async Task<List<BufferedReading>> ReadAsync(TelemetryBuffer buffer)
    {
        for (var attempt = 0; ; attempt++)
        {
            await Until.True(() => !buffer.IsRecovering);
            try
            {
                var salvage = buffer.GetStatus().Salvage;
                var rows = BufferFixture.ReadAll(buffer);
                // The writer may have found the damage meanwhile, and the salvage may not be complete.
                if (!buffer.IsRecovering && buffer.GetStatus().Salvage == salvage)
                    return rows;
            }
            catch (BufferUnavailableException) when (attempt < 1_000)
            {
                await buffer.CommitAsync(CancellationToken.None);
            }
        }
    }

    // With a damaged clock segment, the time can't be corrected.
    static string WithoutTime(string text) => Time().Replace(text, "");

    [GeneratedRegex(@"""time"":""[^""]*""(,""timeQuality"":""unsynchronized"")?")]
    private static partial Regex Time();

    static string Text(long id) => System.Text.Encoding.UTF8.GetString(ReadingEncoder.Encode(Reading((int)id)));

    // Three pages of incompressible text.
    static readonly string Noise = MakeNoise();

    static string MakeNoise()
    {
        var bytes = new byte[3 * PageBytes];
        new Random(1).NextBytes(bytes);
        return Convert.ToBase64String(bytes);
    }

    static Reading Reading(int number) => number == BigReading
        ? BufferFixture.Reading(number) with { Label = Noise }
        : BufferFixture.Reading(number);

    // Every table gets rows.
    static async Task MakeAsync(BufferFixture fixture)
    {
        await using var buffer = await fixture.OpenAsync();
        foreach (var chunk in Enumerable.Range(1, Readings + 2).Chunk(10))
        {
            await Task.WhenAll(
                chunk.Select(n => buffer.EnqueueAsync(Reading(n), BufferFixture.Token).AsTask()).ToList());
        }

        await Assert.ThrowsAsync<BufferRejectedException>(() => buffer.EnqueueAsync(
            BufferFixture.Reading(1) with { Label = new string('x', 2 << 20) }, BufferFixture.Token).AsTask());
        await buffer.SaveDocumentAsync("settings", "{\"batchSize\":5}"u8.ToArray(), BufferFixture.Token);
        await buffer.DeadLetterAsync(Readings + 1, "400", "refused", BufferFixture.Token);
        await buffer.DeadLetterAsync(Readings + 2, "400", null, BufferFixture.Token);
    }

    /// <summary>A number in the file.</summary>
    /// <param name="FixedBytes">Its size; 0: a varint.</param>
    /// <param name="Hit">Readings that depend on it, besides those whose bytes are overwritten.</param>
    sealed record Number(string What, int At, int FixedBytes, long Value, IReadOnlyList<long> Hit);

    sealed record Mutation(Number Number, long Value, byte[] Bytes);

    /// <summary>The positions of all numbers in an intact database. https://www.sqlite.org/fileformat2.html</summary>
    sealed class FileLayout
    {
        readonly byte[] _bytes;

        public FileLayout(byte[] bytes, IEnumerable<int> roots)
        {
            _bytes = bytes;
            ReadTree(1);
            foreach (var root in roots)
                ReadTree(root);
        }

        public List<Number> Numbers { get; } = [];

        /// <summary>The bytes of each waiting reading: the cell of its segment, and its overflow pages.</summary>
        public List<(long Id, int From, int To)> Readings { get; } = [];

        public List<(long First, long Last)> Segments { get; } = [];

        void ReadTree(int page)
        {
            var header = ((page - 1) * PageBytes) + (page == 1 ? 100 : 0);
            ReadPage(page, header);
            if (_bytes[header] is 0x0D or 0x0A)
                return;
            for (var i = 0; i < ReadUInt16(header + 3); i++)
                ReadTree((int)ReadUInt32(((page - 1) * PageBytes) + ReadUInt16(header + 12 + (2 * i))));
            ReadTree((int)ReadUInt32(header + 8));
        }

        void ReadPage(int page, int header)
        {
            var first = (page - 1) * PageBytes;
            var type = _bytes[header];
            var isLeaf = type is 0x0D or 0x0A;
            var ids = new List<long>();
            var pointers = header + (isLeaf ? 8 : 12);
            var cells = ReadUInt16(header + 3);
            for (var i = 0; i < cells; i++)
            {
                var cell = first + ReadUInt16(pointers + (2 * i));
                var name = $"cell {i} of page {page}";
                if (!isLeaf)
                    Numbers.Add(new Number($"child in {name}", cell, 4, ReadUInt32(cell), []));
                List<long> its = [];
                if (type == 0x05)
                    AddVarint($"key in {name}", cell + 4);
                else
                    its = ReadRecord(name, isLeaf ? cell : cell + 4, isTable: type == 0x0D);
                Numbers.Add(new Number($"pointer to {name}", pointers + (2 * i), 2, cell - first, its));
                ids.AddRange(its);
            }
            Numbers.Add(new Number($"type of page {page}", header, 1, type, ids));
            foreach (var at in (ReadOnlySpan<int>)[1, 3, 5])
                Numbers.Add(new Number($"header of page {page} at {at}", header + at, 2, ReadUInt16(header + at), ids));
            if (!isLeaf)
                Numbers.Add(new Number($"last child of page {page}", header + 8, 4, ReadUInt32(header + 8), []));
        }

        // Returns the ids if the record is a segment, else none.
        List<long> ReadRecord(string name, int cell, bool isTable)
        {
            var (length, at) = Varint(cell);
            long rowId = 0;
            var rowIdAt = at;
            if (isTable)
                (rowId, at) = Varint(at);
            var (headerBytes, typesAt) = Varint(at);
            var types = new List<(int At, long Type)>();
            for (var next = typesAt; next < at + headerBytes;)
            {
                var typeAt = next;
                (var type, next) = Varint(next);
                types.Add((typeAt, type));
            }
            List<long> ids = [];
            if (isTable && types.Count == 8)
            {
                // Serial type 9 is the constant 1, without content.
                var lastId = types[1].Type switch
                {
                    9 => 1,
                    1 => _bytes[at + (int)headerBytes],
                    _ => ReadUInt16(at + (int)headerBytes),
                };
                ids.AddRange(Enumerable.Range((int)rowId, lastId - (int)rowId + 1).Select(id => (long)id));
                name = $"segment {rowId}";
                Segments.Add((rowId, lastId));
            }
            AddVarint($"payload length of {name}", cell);
            if (isTable)
                AddVarint($"rowid of {name}", rowIdAt);
            AddVarint($"header length of {name}", at);
            foreach (var type in types)
                AddVarint($"serial type of {name}", type.At);
            var max = isTable ? PageBytes - 35 : 230;
            var local = (int)length;
            if (length > max)
            {
                const int Min = ((PageBytes - 12) * 32 / 255) - 23;
                local = Min + (((int)length - Min) % (PageBytes - 4));
                local = local <= max ? local : Min;
                var link = at + local;
                for (var left = length - local; left > 0; left -= PageBytes - 4)
                {
                    Numbers.Add(new Number($"overflow page of {name}", link, 4, ReadUInt32(link), ids));
                    link = (int)(ReadUInt32(link) - 1) * PageBytes;
                    Readings.AddRange(ids.Select(id => (id, link, link + PageBytes)));
                }
                Numbers.Add(new Number($"end of the overflow pages of {name}", link, 4, 0, []));
            }
            Readings.AddRange(ids.Select(id => (id, cell, at + local)));
            return ids;
        }

        void AddVarint(string what, int at) => Numbers.Add(new Number(what, at, 0, Varint(at).Value, []));

        ushort ReadUInt16(int at) => BinaryPrimitives.ReadUInt16BigEndian(_bytes.AsSpan(at));

        uint ReadUInt32(int at) => BinaryPrimitives.ReadUInt32BigEndian(_bytes.AsSpan(at));

        (long Value, int End) Varint(int at)
        {
            long value = 0;
            for (var i = 0; ; i++)
            {
                value = i == 8 ? (value << 8) | _bytes[at + i] : (value << 7) | (_bytes[at + i] & 0x7FL);
                if (i == 8 || _bytes[at + i] < 0x80)
                    return (value, at + i + 1);
            }
        }
    }
}
