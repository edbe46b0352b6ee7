using System.Text;
using System.Text.Json;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>A recognised record of an old file.</summary>
internal abstract record OldRecord
{
    /// <param name="AreDelivered">The row marks them as delivered (format 1).</param>
    /// <param name="StoredBytes">Their size in the old file.</param>
    public sealed record Readings(IReadOnlyList<StoredReading> All, bool AreDelivered, int StoredBytes) : OldRecord;

    public sealed record Letter(StoredReading Reading, string Reason, string? Answer, long RefusedAtMs) : OldRecord;

    public sealed record Clock(ClockSegment Segment) : OldRecord;

    public sealed record Epoch(long FirstId, string Name) : OldRecord;

    public sealed record Document(string Name, byte[] Content) : OldRecord;

    public sealed record Evicted(object?[] Columns) : OldRecord;
}

/// <summary>Recognises the records of an old file of format 1 or 2 by their columns alone, and collects what they say
/// about the file as a whole. No record makes it throw. Not thread-safe.</summary>
/// <param name="cipher">The cipher of the current key; null without one.</param>
/// <param name="isPlain">Whether the file is known to be unencrypted.</param>
internal sealed class OldRecords(Cipher? cipher, bool isPlain)
{
    static ReadOnlySpan<byte> GzipMagic => [0x1f, 0x8b];

    /// <summary>The values of <c>meta</c> found so far.</summary>
    public Dictionary<string, object?> MetaValues { get; } = [];

    /// <summary>The newest state found so far; null when none.</summary>
    public QueueState? State { get; private set; }

    /// <summary>The number of sealed rows.</summary>
    public long Sealed { get; private set; }

    /// <summary>The number of sealed rows that the key does not open.</summary>
    public long Unopened { get; private set; }

    /// <summary>The number of rows that are not sealed.</summary>
    public long Plain { get; private set; }

    /// <summary>The highest id of the readings and dead letters found so far.</summary>
    public long LastGivenId { get; private set; }

    /// <summary>The highest clock segment that a record refers to.</summary>
    public int LastClock { get; private set; }

    /// <summary>The number of records skipped because of an unexpected exception, which is a bug.</summary>
    public int Faults { get; private set; }

    // In an encrypted file, plain content may be forged.
    bool TakesPlain => cipher is null || isPlain;

    /// <returns>Null when the record is not recognised or describes the file as a whole.</returns>
    public OldRecord? Read(ScannedRecord record)
    {
        try
        {
            return Parse(record);
        }
        catch (Exception)
        {
            // One record must not stop the salvage of the others.
            Faults++;
            return null;
        }
    }

    /// <summary>The highest id assigned, according to the records found so far.</summary>
    public long LastId()
    {
        var noted = MetaValues.GetValueOrDefault("last_id") is long id and > 0 and < Store.MaxId ? id : 0;
        return Math.Max(Math.Max(noted, Delivered().IsEmpty ? 0 : Delivered().Last), Math.Max(
            LastGivenId, State?.LastId ?? 0));
    }

    /// <summary>The delivered ids; empty when they are not known for certain.</summary>
    public IdSet Delivered()
    {
        if (State is { } state)
            return state.Delivered;
        return MetaValues.GetValueOrDefault("acknowledged_through") is long through and > 0 and < Store.MaxId
            && MetaValues.GetValueOrDefault("acknowledged_check") is long check && through == ~check
            ? IdSet.Of(1, through)
            : IdSet.Empty;
    }

    OldRecord? Parse(ScannedRecord record)
    {
        var (id, columns) = (record.RowId, record.Columns);
        switch (columns)
        {
            case [null, long last, long readings, long level, long, long, var state, byte[] body]
                when id is > 0 and < Store.MaxId && readings is > 0 and <= Segments.MaxReadings:
                return ReadSegment(
                    new(id, last, (int)readings, (int)Math.Clamp(level, 0, ThinningLevels.MaxLevel)), state, body,
                    record.IsCut);
            case [null, long at, long clock, string or byte[]]
                when id is (> 0 and < Store.MaxId) or (< 0 and > -Store.MaxId):
                return ReadRow(id, at, clock, columns[3]!);
            case [null, long at, long clock, string or byte[], long refusedAt, string reason, string or byte[] or null]
                when id is > 0 and < Store.MaxId:
                return Payload(id, columns[3]!) is { } payload
                    ? new OldRecord.Letter(ToReading(id, at, clock, payload), reason, Answer(id, columns[6]), refusedAt)
                    : null;
            case [null, string boot, long offset, long synchronized] when id is > 0 and <= Records.MaxClock:
                LastClock = Math.Max(LastClock, (int)id);
                return new OldRecord.Clock(new((int)id, boot, offset, synchronized != 0));
            case [null, string epoch] when id is > 0 and < Store.MaxId && Guid.TryParse(epoch, out _):
                return new OldRecord.Epoch(id, epoch);
            case [string name, byte[] content]:
                return ReadNamedBlob(name, content);
            case [string name, string or long]:
                MetaValues[name] = columns[1];
                if (name == "state" && TakesPlain)
                    NoteState(QueueState.TryParse(columns[1] as string));
                return null;
            case [string, string, >= 0L and < Store.MaxId, >= 0L and < Store.MaxId, long or null, long or null]:
                return new OldRecord.Evicted(columns);
            default:
                // A row of sqlite_schema, or damaged.
                return null;
        }
    }

    OldRecord.Readings? ReadSegment(Segment segment, object? stored, byte[] body, bool isCut)
    {
        var state = stored switch
        {
            string text when TakesPlain => QueueState.TryParse(text),
            byte[] blob when cipher is not null => cipher.UnsealState(blob),
            _ => null,
        };
        NoteState(state);
        var isGzip = body.AsSpan().StartsWith(GzipMagic);
        StoredReading[] readings = [];
        if (isGzip && TakesPlain)
        {
            Plain++;
            readings = Segments.Decode(segment, body);
            // Perhaps only the other columns are damaged.
            if (readings.Length == 0 && SegmentBody.Read(body, out var isWhole) is var all && isWhole)
                readings = all;
            if (readings.Length == 0 && isCut)
                readings = SegmentBody.ReadBeginning(body);
        }
        else if (!isGzip || cipher is not null)
        {
            Sealed++;
            readings = cipher?.UnsealSegment(segment, body) is { } text ? Segments.Decode(segment, text) : [];
            Unopened += readings.Length == 0 ? 1 : 0;
        }
        LastGivenId = Math.Max(LastGivenId, readings.Length > 0 ? readings[^1].Id : 0);
        foreach (var reading in readings)
            LastClock = Math.Max(LastClock, reading.Clock <= Records.MaxClock ? reading.Clock : 0);
        return readings.Length > 0 && readings[0].Id > 0 && readings[^1].Id < Store.MaxId
            ? new(readings, AreDelivered: false, body.Length)
            : null;
    }

    // Format 1 has a row per reading. The row of a delivered reading that is kept while older ones wait has the id of
    // the reading minus 2^53.
    OldRecord.Readings? ReadRow(long id, long at, long clock, object stored)
    {
        var isDelivered = id < 0;
        if (isDelivered)
            id += Store.MaxId;
        return Payload(id, stored) is { } payload
            ? new([ToReading(id, at, clock, payload)], isDelivered, payload.Length)
            : null;
    }

    OldRecord.Document? ReadNamedBlob(string name, byte[] content)
    {
        if (name == "state" && cipher?.UnsealState(content) is { } state)
        {
            NoteState(state);
            return null;
        }
        if (Cipher.IsSealedDocument(content))
            return cipher?.UnsealDocument(name, content) is { } plain ? new(name, plain) : null;
        return TakesPlain ? new(name, content) : null;
    }

    StoredReading ToReading(long id, long at, long clock, byte[] payload)
    {
        LastGivenId = Math.Max(LastGivenId, id);
        var known = clock is > 0 and <= Records.MaxClock ? (int)clock : 0;
        LastClock = Math.Max(LastClock, known);
        return new(id, at, known, payload);
    }

    // Plain text must be valid JSON; a sealed payload is authenticated. One flipped bit can turn a TEXT into a BLOB of
    // the same length, so a BLOB that begins like a reading counts as plain.
    byte[]? Payload(long id, object stored)
    {
        var bytes = stored as byte[] ?? Encoding.UTF8.GetBytes((string)stored);
        if (stored is byte[] && !bytes.AsSpan().StartsWith("{\"sensor\":\""u8))
        {
            Sealed++;
            var payload = cipher?.Unseal(id, bytes);
            Unopened += payload is null ? 1 : 0;
            return payload;
        }
        if (!TakesPlain)
            return null;
        Plain++;
        return IsObject(bytes) ? bytes : null;
    }

    string? Answer(long id, object? stored) => stored switch
    {
        string text when TakesPlain => text,
        byte[] blob when cipher is not null => cipher.UnsealAnswer(id, blob),
        _ => null,
    };

    void NoteState(QueueState? state)
    {
        if (state is not null && state.Sequence >= (State?.Sequence ?? -1) && state.LastId < Store.MaxId)
            State = state;
    }

    static bool IsObject(byte[] bytes)
    {
        var json = new Utf8JsonReader(bytes);
        try
        {
            var isObject = json.Read() && json.TokenType == JsonTokenType.StartObject;
            while (json.Read())
            {
                // Read to the end, which validates all of it.
            }
            return isObject;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
