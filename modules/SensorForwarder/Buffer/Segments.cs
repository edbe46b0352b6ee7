using System.IO.Compression;
using Microsoft.Data.Sqlite;

namespace SensorForwarder.Buffer;

/// <summary>A row of the table <c>segment</c> without its body.</summary>
/// <param name="Readings">The number of its readings; 1..<see cref="Segments.MaxReadings"/>.</param>
/// <param name="Level">How often it was thinned.</param>
/// <param name="NewestAtMs">The latest time of its readings, uncorrected.</param>
internal readonly record struct Segment(long FirstId, long LastId, int Readings, int Level, long NewestAtMs = 0)
{
    /// <summary>Whether it holds every id from the first to the last.</summary>
    public bool IsDense => LastId - FirstId + 1 == Readings;
}

/// <summary>One segment is damaged; the rest of the file is usable.</summary>
internal sealed class DamagedSegmentException(long firstId)
    : Exception($"the segment of reading {firstId} is damaged")
{
    public long FirstId { get; } = firstId;
}

/// <summary>The table <c>segment</c>, through one connection. Segments never overlap. Not thread-safe.</summary>
/// <param name="cipher">Seals bodies and states; null: unencrypted.</param>
internal sealed class Segments(SqliteConnection connection, Cipher? cipher) : IDisposable
{
    /// <summary>Limit of readings per segment, so that a damaged page affects few.</summary>
    public const int MaxReadings = 512;

    /// <summary>A segment whose text has reached this size gets no further reading.</summary>
    public const int MaxTextBytes = 128 << 10;

    readonly Statement _insert = connection.Prepare("""
        INSERT INTO segment(first_id, last_id, readings, level, oldest_at, newest_at, state, body)
        VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        """);
    readonly Statement _find = connection.Prepare("""
        SELECT first_id, last_id, readings, level, newest_at FROM segment
        WHERE first_id >= coalesce((SELECT max(first_id) FROM segment WHERE first_id <= ?1), 0)
            AND (last_id >= ?1 OR first_id >= ?1) AND first_id <= ?2
        ORDER BY first_id LIMIT ?3
        """);
    readonly Statement _body = connection.Prepare("SELECT body FROM segment WHERE first_id = ?1");
    readonly Statement _newest = connection.Prepare(
        "SELECT first_id, last_id, readings, level, newest_at FROM segment ORDER BY first_id DESC LIMIT 1");

    /// <summary>Inserts a segment, and the state if given.</summary>
    /// <returns>The size of the compressed body.</returns>
    public int Insert(SegmentText text, int level, CompressionLevel compression, QueueState? state)
    {
        var segment = new Segment(text.FirstId, text.LastId, text.Count, level);
        _insert.Bind(1, segment.FirstId).Bind(2, segment.LastId).Bind(3, segment.Readings).Bind(4, level)
            .Bind(5, text.OldestAtMs).Bind(6, text.NewestAtMs);
        if (state is null)
            _insert.Bind(7, null);
        else
            Meta.BindState(_insert, 7, state, cipher);
        var body = text.Compress(compression);
        _insert.BindBlob(8, cipher is null ? body : cipher.SealSegment(segment, body)).Run();
        return body.Length;
    }

    public void Delete(long firstId)
    {
        using var delete = connection.Prepare("DELETE FROM segment WHERE first_id = ?1");
        delete.Bind(1, firstId).Run();
    }

    /// <summary>The segments that overlap a range of ids, in order of ids.</summary>
    public List<Segment> Find(long fromId, long throughId, int most = int.MaxValue)
    {
        var found = new List<Segment>();
        _find.Bind(1, fromId).Bind(2, throughId).Bind(3, most);
        try
        {
            while (_find.Step())
                found.Add(ToSegment(_find));
        }
        finally
        {
            _find.Reset();
        }
        return found;
    }

    public Segment? Newest()
    {
        try
        {
            return _newest.Step() ? ToSegment(_newest) : null;
        }
        finally
        {
            _newest.Reset();
        }
    }

    /// <summary>The readings of a segment; empty when it was deleted.</summary>
    /// <exception cref="DamagedSegmentException">The segment is damaged.</exception>
    public StoredReading[] Read(Segment segment)
    {
        if (ReadBody(segment.FirstId) is not { } stored)
            return [];
        var readings = Unseal(segment, stored) is { } body ? Decode(segment, body) : [];
        return readings.Length > 0 ? readings : throw new DamagedSegmentException(segment.FirstId);
    }

    /// <summary>The body of a segment for <see cref="Decode"/>; null: it was deleted, or can't be unsealed.</summary>
    public byte[]? ReadBody(Segment segment) =>
        ReadBody(segment.FirstId) is { } stored ? Unseal(segment, stored) : null;

    /// <summary>The readings of a damaged segment: all of them if its body is intact, else none.</summary>
    public StoredReading[] ReadDamaged(long firstId)
    {
        if (ReadBody(firstId) is not { } stored || cipher is not null)
            return [];
        return SegmentBody.Read(stored, out var isWhole) is var readings && isWhole && readings[0].Id == firstId
            ? readings
            : [];
    }

    /// <summary>Decodes a body that is not sealed. Any thread.</summary>
    /// <returns>The readings; empty when the body does not match the other columns.</returns>
    public static StoredReading[] Decode(Segment segment, byte[] body)
    {
        var readings = SegmentBody.Read(body, out var isWhole);
        return isWhole && readings.Length == segment.Readings && readings[0].Id == segment.FirstId
            && readings[^1].Id == segment.LastId
            ? readings
            : [];
    }

    public void Dispose()
    {
        foreach (var statement in (Statement[])[_insert, _find, _body, _newest])
            statement.Dispose();
    }

    byte[]? Unseal(Segment segment, byte[] stored) =>
        cipher is null ? stored : cipher.UnsealSegment(segment, stored);

    byte[]? ReadBody(long firstId)
    {
        _body.Bind(1, firstId);
        try
        {
            return _body.Step() ? _body.Bytes(0).ToArray() : null;
        }
        finally
        {
            _body.Reset();
        }
    }

    // A damaged row can hold any numbers; impossible ones are detected when the segment is read.
    static Segment ToSegment(Statement row) => new(
        row.Number(0), Math.Max(row.Number(0), row.Number(1)), (int)Math.Clamp(row.Number(2), 0, int.MaxValue),
        (int)Math.Clamp(row.Number(3), 0, ThinningLevels.MaxLevel), row.Number(4));
}
