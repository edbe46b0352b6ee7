using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>
/// Counts evicted readings by reason and sensor, in the table <c>evicted</c>, and creates the <c>gap</c> entries that
/// announce them to the receiver. Used by the writer's thread; <see cref="Note"/> and <see cref="Totals"/>: any thread.
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

    // Guarded by _gate: counts not written yet, counts in the running transaction, and totals read from the file.
    Dictionary<(string Reason, string Sensor), long> _noted = [];
    Dictionary<(string Reason, string Sensor), long> _writing = [];
    IReadOnlyList<EvictionTotal> _totals = [];

    sealed record Row(string Reason, string Sensor, long Count, long? FirstId, long? LastId);

    /// <summary>Totals, including counts that are not in the file yet: none can be written while the volume is not
    /// writable.</summary>
    public IReadOnlyList<EvictionTotal> Totals
    {
        get
        {
            lock (_gate)
                return Sum(_totals, [.. _writing, .. _noted]);
        }
    }

    /// <summary>Whether there are counts that are not in the file.</summary>
    public bool HasNoted
    {
        get
        {
            lock (_gate)
                return _noted.Count + _writing.Count > 0;
        }
    }

    /// <summary>Whether there are evictions that no <c>gap</c> entry has announced.</summary>
    public bool HasUnannounced { get; private set; }

    /// <summary>Counts a reading without an id (refused or dropped from memory), for the next transaction.</summary>
    public void Note(string reason, string sensor)
    {
        lock (_gate)
            _noted[(reason, sensor)] = _noted.GetValueOrDefault((reason, sensor)) + 1;
    }

    /// <summary>Counts evicted readings, in the running transaction.</summary>
    /// <param name="isAnnounced">Whether they count as announced, so that no <c>gap</c> entry reports them.</param>
    public static void Add(
        Store store, string reason, IReadOnlyDictionary<string, long> bySensor, long? firstId, long? lastId,
        bool isAnnounced = false)
    {
        store.HasEvicted = true;
        using var upsert = store.Connection.Prepare("""
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

    /// <summary>Copies a row of an old file, unless a row for its reason and sensor exists.</summary>
    /// <param name="columns">Reason, sensor, total, announced, first and last id.</param>
    public static void Put(SqliteConnection connection, object?[] columns)
    {
        using var insert = connection.Prepare("""
            INSERT OR IGNORE INTO evicted(reason, sensor, total, announced, first_id, last_id)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)
            """);
        for (var i = 0; i < columns.Length; i++)
            _ = columns[i] is long number ? insert.Bind(i + 1, number) : insert.Bind(i + 1, columns[i] as string);
        insert.Run();
    }

    /// <summary>Writes the counts of <see cref="Note"/>, in the running transaction.</summary>
    public void WriteNoted(Store store)
    {
        lock (_gate)
        {
            foreach (var (key, count) in _noted)
                _writing[key] = _writing.GetValueOrDefault(key) + count;
            _noted = [];
        }
        foreach (var ((reason, sensor), count) in _writing)
            Add(store, reason, new Dictionary<string, long> { [sensor] = count }, null, null);
    }

    /// <summary>Called when the transaction of <see cref="WriteNoted"/> is committed; otherwise the counts are written
    /// again.</summary>
    public void NotedWritten()
    {
        lock (_gate)
        {
            // Both under one lock, so that Totals never decrease.
            _totals = Sum(_totals, [.. _writing]);
            _writing = [];
        }
    }

    /// <summary>Reads the totals from the file, after a transaction that changed them.</summary>
    public void Reload(Store store)
    {
        var rows = new List<(string Reason, string Sensor, long Total)>();
        var unannounced = false;
        using var query = store.Connection.Prepare(
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

    // A damaged record can hold any count, so the sum may overflow.
    static long Total(IEnumerable<long> counts) =>
        (long)decimal.Clamp(counts.Sum(count => (decimal)count), 0, long.MaxValue);

    /// <summary>Adds one <c>gap</c> entry per reason to the queue for evictions not announced yet, in the running
    /// transaction.</summary>
    public static void Announce(Store store, DateTimeOffset now, int clock)
    {
        var rows = new List<Row>();
        using (var query = store.Connection.Prepare("""
            SELECT reason, sensor, total - announced, first_id, last_id FROM evicted
            WHERE total > announced ORDER BY reason, sensor
            """))
        {
            while (query.Step())
            {
                rows.Add(new Row(
                    query.Text(0), query.Text(1), query.Number(2), query.IsNull(3) ? null : query.Number(3),
                    query.IsNull(4) ? null : query.Number(4)));
            }
        }
        if (rows.Count == 0)
            return;
        store.HasEvicted = true;
        store.Connection.Execute("UPDATE evicted SET announced = total, first_id = NULL, last_id = NULL");
        foreach (var reason in rows.GroupBy(r => r.Reason))
            store.Append(now.ToUnixTimeMilliseconds(), clock, GapPayload(store.Epoch, reason.Key, [.. reason], now));
    }

    // Has the form of a reading, so that a receiver that does not know gap entries stores it as one.
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

    /// <summary>The number of readings by sensor.</summary>
    public static Dictionary<string, long> CountBySensor(IEnumerable<StoredReading> readings) => readings
        .GroupBy(reading => SensorOf(reading.Payload.Span))
        .ToDictionary(sensor => sensor.Key, sensor => (long)sensor.Count());

    /// <summary>The sensor's name in a payload; <c>?</c> when the payload does not begin with one.</summary>
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
