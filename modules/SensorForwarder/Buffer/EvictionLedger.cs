using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace SensorForwarder.Buffer;

/// <summary>
/// Counts what was evicted, by reason and sensor, in the file itself, and makes the <c>gap</c> entries that announce it
/// downstream. Owned by the writer's thread; <see cref="Note"/> and <see cref="Totals"/> by any.
/// </summary>
internal sealed class EvictionLedger
{
    public const string Thinned = "thinned";
    public const string Dropped = "dropped";
    public const string Expired = "expired";
    public const string Rejected = "rejected";
    public const string Overflow = "overflow";
    public const string Damaged = "damaged";
    public const string Undeliverable = "undeliverable";

    readonly Lock _gate = new();

    // Guarded by _gate: what was counted, what the running transaction writes of it, and the file's own as
    // it was read back.
    Dictionary<(string Reason, string Sensor), long> _noted = [];
    Dictionary<(string Reason, string Sensor), long> _writing = [];
    IReadOnlyList<EvictionTotal> _totals = [];

    sealed record Row(string Sensor, long Count, long? FirstId, long? LastId);

    /// <summary>With what no commit has written yet: in a blackout none may come for long.</summary>
    public IReadOnlyList<EvictionTotal> Totals
    {
        get
        {
            lock (_gate)
                return Sum(_totals, [.. _writing, .. _noted]);
        }
    }

    /// <summary>Whether something was counted that is not in the file.</summary>
    public bool HasNoted
    {
        get
        {
            lock (_gate)
                return _noted.Count + _writing.Count > 0;
        }
    }

    /// <summary>Whether something was evicted that no <c>gap</c> entry names yet.</summary>
    public bool HasUnannounced { get; private set; }

    /// <summary>Counts a reading that never got an id; written with the next transaction.</summary>
    public void Note(string reason, string sensor)
    {
        lock (_gate)
            _noted[(reason, sensor)] = _noted.GetValueOrDefault((reason, sensor)) + 1;
    }

    /// <summary>Counts evicted rows, in the running transaction.</summary>
    /// <param name="isAnnounced">The receiver need not be told.</param>
    public static void Add(
        QueueStore store, string reason, IReadOnlyDictionary<string, long> bySensor, long? firstId, long? lastId,
        bool isAnnounced = false)
    {
        store.HasEvicted = true;
        using var upsert = store.Connection.PrepareOnce("""
            INSERT INTO evicted(reason, sensor, total, announced, first_id, last_id) VALUES(?1, ?2, ?3, ?6, ?4, ?5)
            ON CONFLICT(reason, sensor) DO UPDATE SET
              total = total + excluded.total, announced = announced + excluded.announced,
                first_id = min(coalesce(first_id, excluded.first_id), coalesce(excluded.first_id, first_id)),
                last_id = max(coalesce(last_id, excluded.last_id), coalesce(excluded.last_id, last_id))
            """);
        foreach (var (sensor, count) in bySensor)
        {
            upsert.Bind(1, reason).Bind(2, sensor).Bind(3, count).Bind(6, isAnnounced ? count : 0);
            if (firstId is { } first && lastId is { } last)
                upsert.Bind(4, first).Bind(5, last);
            else
                upsert.Bind(4, null).Bind(5, null);
            upsert.Run();
        }
    }

    /// <summary>Writes what <see cref="Note"/> counted, in the running transaction.</summary>
    /// <returns>Whether there was any.</returns>
    public bool WriteNoted(QueueStore store)
    {
        lock (_gate)
        {
            foreach (var (key, count) in _noted)
                _writing[key] = _writing.GetValueOrDefault(key) + count;
            _noted = [];
        }
        foreach (var ((reason, sensor), count) in _writing)
            Add(store, reason, new Dictionary<string, long> { [sensor] = count }, null, null);
        return _writing.Count > 0;
    }

    /// <summary>The transaction of <see cref="WriteNoted"/> is committed; without it, the counts are written again.
    /// </summary>
    public void NotedWritten()
    {
        lock (_gate)
        {
            // At once: a count never falls.
            _totals = Sum(_totals, [.. _writing]);
            _writing = [];
        }
    }

    /// <summary>Reads the totals back, after a transaction that changed them.</summary>
    public void Reload(QueueStore store)
    {
        var rows = new List<(string Reason, string Sensor, long Total)>();
        var unannounced = false;
        using var query = store.Connection.PrepareOnce(
            "SELECT reason, sensor, total, announced FROM evicted ORDER BY reason, sensor");
        while (query.Step())
        {
            rows.Add((query.Text(0), query.Text(1), query.Number(2)));
            unannounced |= query.Number(3) < query.Number(2);
        }
        HasUnannounced = unannounced;
        lock (_gate)
            _totals = Group(rows);
    }

    static IReadOnlyList<EvictionTotal> Sum(
        IReadOnlyList<EvictionTotal> totals, IReadOnlyList<KeyValuePair<(string Reason, string Sensor), long>> more) =>
        more.Count == 0
            ? totals
            : Group(totals.SelectMany(t => t.BySensor, (t, s) => (t.Reason, s.Key, s.Value))
                .Concat(more.Select(m => (m.Key.Reason, m.Key.Sensor, m.Value))));

    static IReadOnlyList<EvictionTotal> Group(IEnumerable<(string Reason, string Sensor, long Count)> rows) =>
    [
        .. rows.GroupBy(r => r.Reason).OrderBy(g => g.Key, StringComparer.Ordinal).Select(g => new EvictionTotal(
            g.Key, Total(g.Select(r => r.Count)),
            g.GroupBy(r => r.Sensor).ToDictionary(s => s.Key, s => Total(s.Select(r => r.Count))))),
    ];

    // A damaged record can hold any count, and the sum of two need not fit.
    static long Total(IEnumerable<long> counts) =>
        (long)decimal.Clamp(counts.Sum(count => (decimal)count), 0, long.MaxValue);

    /// <summary>Adds a <c>gap</c> entry a reason to the queue for what is not announced yet, in the running
    /// transaction.
    /// </summary>
    public static int Announce(QueueStore store, string epoch, DateTimeOffset now, int clock)
    {
        var rows = new List<(string Reason, Row Row)>();
        using (var query = store.Connection.PrepareOnce("""
            SELECT reason, sensor, total - announced, first_id, last_id FROM evicted
            WHERE total > announced ORDER BY reason, sensor
            """))
        {
            while (query.Step())
            {
                rows.Add((query.Text(0), new Row(
                    query.Text(1), query.Number(2), query.IsNull(3) ? null : query.Number(3),
                    query.IsNull(4) ? null : query.Number(4))));
            }
        }
        if (rows.Count == 0)
            return 0;
        store.Connection.Execute("UPDATE evicted SET announced = total, first_id = NULL, last_id = NULL");
        var reasons = rows.GroupBy(r => r.Reason, r => r.Row).ToList();
        foreach (var reason in reasons)
            store.Append(now.ToUnixTimeMilliseconds(), clock, GapPayload(epoch, reason.Key, [.. reason], now));
        return reasons.Count;
    }

    // Shaped like a reading, so that a receiver that knows nothing of gaps stores it like one.
    static byte[] GapPayload(string epoch, string reason, List<Row> rows, DateTimeOffset now)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(
            bytes, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            Span<byte> time = stackalloc byte[ReadingEncoder.TimeLength];
            ReadingEncoder.FormatTime(now, time);
            var count = Total(rows.Select(r => r.Count));
            json.WriteStartObject();
            json.WriteString("sensor"u8, "buffer"u8);
            json.WriteString("kind"u8, "gap"u8);
            json.WriteString("time"u8, time);
            json.WriteString("quality"u8, "good"u8);
            json.WriteString("reason"u8, reason);
            json.WriteStartObject("values"u8);
            json.WriteNumber("count"u8, count);
            json.WriteEndObject();
            json.WriteStartObject("gap"u8);
            json.WriteString("epoch"u8, epoch);
            if (rows.Min(r => r.FirstId) is { } first && rows.Max(r => r.LastId) is { } last)
            {
                json.WriteNumber("firstId"u8, first);
                json.WriteNumber("lastId"u8, last);
            }
            json.WriteNumber("count"u8, count);
            json.WriteString("reason"u8, reason);
            json.WriteStartObject("sensors"u8);
            foreach (var row in rows)
                json.WriteNumber(row.Sensor, row.Count);
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteEndObject();
        }
        return bytes.ToArray();
    }

    /// <summary>The sensor's name out of a payload; <c>?</c> when it is none of ours.</summary>
    public static string SensorOf(ReadOnlySpan<byte> payload)
    {
        var prefix = "{\"sensor\":\""u8;
        if (!payload.StartsWith(prefix))
            return "?";
        var name = payload[prefix.Length..];
        var end = name.IndexOfAny((byte)'"', (byte)'\\');
        if (end < 0)
            return "?";
        if (name[end] == (byte)'"')
            return Encoding.UTF8.GetString(name[..end]);
        try
        {
            var reader = new Utf8JsonReader(payload[10..], isFinalBlock: false, default);
            return reader.Read() ? reader.GetString() ?? "?" : "?";
        }
        catch (JsonException)
        {
            return "?";
        }
    }
}
