using Microsoft.Data.Sqlite;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>The small tables, through one connection: dead letters, documents, clock segments, epochs. Not thread-safe.
/// </summary>
/// <param name="cipher">Seals dead letters and documents; null: unencrypted.</param>
internal sealed class Records(SqliteConnection connection, Cipher? cipher)
{
    const int MaxAnswerLength = 4_096;

    /// <summary>The highest valid clock segment; a record with a higher one is damaged.</summary>
    public const int MaxClock = 1_000_000;

    public long CountDeadLetters() => connection.Number("SELECT count(*) FROM dead_letter") ?? 0;

    public long LastDeadLetterId() => connection.Number("SELECT max(id) FROM dead_letter") ?? 0;

    /// <summary>The summed size of the payloads of all dead letters, as stored.</summary>
    public long DeadLetterBytes() => connection.Number("SELECT sum(octet_length(payload)) FROM dead_letter") ?? 0;

    public void AddDeadLetter(StoredReading reading, string reason, string? answer, long refusedAtMs)
    {
        using var insert = connection.Prepare("""
            INSERT OR REPLACE INTO dead_letter(id, recorded_at, clock, payload, refused_at, reason, answer)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
            """);
        insert.Bind(1, reading.Id).Bind(2, reading.RecordedAtMs).Bind(3, reading.Clock).Bind(5, refusedAtMs)
            .Bind(6, reason);
        var kept = answer?.Length > MaxAnswerLength ? answer[..MaxAnswerLength] : answer;
        if (cipher is null)
            insert.BindText(4, reading.Payload.Span).Bind(7, kept);
        else
            insert.BindBlob(4, cipher.Seal(reading.Id, reading.Payload.Span));
        if (cipher is not null && kept is not null)
            insert.BindBlob(7, cipher.SealAnswer(reading.Id, kept));
        insert.Run();
    }

    /// <summary>Dead letters after an id, in order of ids, except those that can't be unsealed.</summary>
    /// <param name="maxBytes">Limit of the summed payloads; the first is returned whatever its size.</param>
    public List<(StoredReading Reading, string Reason, string? Answer)> ReadDeadLetters(
        long afterId, int maxCount, long maxBytes)
    {
        var letters = new List<(StoredReading Reading, string Reason, string? Answer)>();
        using var query = connection.Prepare("""
            SELECT id, recorded_at, clock, payload, reason, answer FROM dead_letter
            WHERE id > ?1 ORDER BY id LIMIT ?2
            """);
        query.Bind(1, afterId).Bind(2, maxCount);
        var bytes = 0L;
        while (query.Step())
        {
            var id = query.Number(0);
            var payload = cipher is null ? query.Bytes(3).ToArray() : cipher.Unseal(id, query.Bytes(3));
            if (payload is null)
                continue;
            bytes += payload.Length;
            if (letters.Count > 0 && bytes > maxBytes)
                break;
            var answer = query.IsNull(5) ? null
                : cipher is null ? query.Text(5)
                : cipher.UnsealAnswer(id, query.Bytes(5));
            letters.Add((
                new(id, query.Number(1), (int)query.Number(2), payload), query.Text(4), answer));
        }
        return letters;
    }

    /// <summary>The ids of the dead letters from <paramref name="fromId"/> on.</summary>
    public IdSet ReadDeadLetterIds(long fromId)
    {
        var ids = new List<long>();
        using var query = connection.Prepare("SELECT id FROM dead_letter WHERE id >= ?1 ORDER BY id");
        query.Bind(1, fromId);
        while (query.Step())
            ids.Add(query.Number(0));
        return IdSet.Of(ids);
    }

    /// <summary>Deletes the dead letters up to and including an id.</summary>
    /// <returns>The number deleted.</returns>
    public int RemoveDeadLetters(long throughId)
    {
        using var delete = connection.Prepare("DELETE FROM dead_letter WHERE id <= ?1");
        delete.Bind(1, throughId).Run();
        return connection.Changes();
    }

    /// <summary>The highest id of the <paramref name="count"/> oldest dead letters; 0 when there are none.</summary>
    public long DeadLetterAt(int count)
    {
        using var query = connection.Prepare(
            "SELECT max(id) FROM (SELECT id FROM dead_letter ORDER BY id LIMIT ?1)");
        return query.Bind(1, count).Step() ? query.Number(0) : 0;
    }

    public void SaveDocument(string name, ReadOnlySpan<byte> content)
    {
        using var insert = connection.Prepare("INSERT OR REPLACE INTO document(name, content) VALUES(?1, ?2)");
        insert.Bind(1, name).BindBlob(2, cipher is null ? content : cipher.SealDocument(name, content)).Run();
    }

    /// <returns>Null when the document does not exist or can't be unsealed; the caller then uses its default.</returns>
    public byte[]? LoadDocument(string name)
    {
        using var query = connection.Prepare("SELECT content FROM document WHERE name = ?1");
        if (!query.Bind(1, name).Step())
            return null;
        var stored = query.Bytes(0);
        return cipher is not null ? cipher.UnsealDocument(name, stored)
            : Cipher.IsSealedDocument(stored) ? null
            : stored.ToArray();
    }

    public List<string> DocumentNames(string prefix)
    {
        using var query = connection.Prepare("SELECT name FROM document WHERE substr(name, 1, length(?1)) = ?1");
        query.Bind(1, prefix);
        var names = new List<string>();
        while (query.Step())
            names.Add(query.Text(0));
        return names;
    }

    public void SaveClock(ClockSegment segment)
    {
        using var insert = connection.Prepare(
            "INSERT OR IGNORE INTO clock(id, boot_id, offset_ms, synchronized) VALUES(?1, ?2, ?3, ?4)");
        insert.Bind(1, segment.Id).Bind(2, segment.BootId).Bind(3, segment.OffsetMs)
            .Bind(4, segment.Synchronized ? 1 : 0).Run();
    }

    public List<ClockSegment> LoadClocks()
    {
        var segments = new List<ClockSegment>();
        using var query = connection.Prepare(
            "SELECT id, boot_id, offset_ms, synchronized FROM clock WHERE id BETWEEN 1 AND ?1 ORDER BY id");
        query.Bind(1, MaxClock);
        while (query.Step())
        {
            segments.Add(new ClockSegment(
                (int)query.Number(0), query.Text(1), query.Number(2), query.Number(3) != 0));
        }
        return segments;
    }

    public void SaveEpoch(long firstId, string epoch)
    {
        using var insert = connection.Prepare("INSERT OR REPLACE INTO epoch(first_id, epoch) VALUES(?1, ?2)");
        insert.Bind(1, firstId).Bind(2, epoch).Run();
    }

    public Epochs LoadEpochs(string current)
    {
        var rows = new List<(long FirstId, string Epoch)>();
        using var query = connection.Prepare("SELECT first_id, epoch FROM epoch ORDER BY first_id");
        while (query.Step())
            rows.Add((query.Number(0), query.Text(1)));
        return new(rows, current);
    }

    /// <summary>Deletes the epochs that have no id from <paramref name="firstId"/> on.</summary>
    public void PruneEpochs(long firstId)
    {
        using var delete = connection.Prepare(
            "DELETE FROM epoch WHERE first_id < (SELECT max(first_id) FROM epoch WHERE first_id <= ?1)");
        delete.Bind(1, firstId).Run();
    }
}
