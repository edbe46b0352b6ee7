using System.Text;
using System.Text.Json;

namespace SensorForwarder.Buffer;

/// <summary>Puts records of a damaged file into the tables of a new one, if they are what they seem to be.</summary>
internal sealed class SalvagedRecords : IDisposable
{
    /// <summary>A record that claims a higher id was hit: this is a reading each
    /// millisecond for 285,000 years.</summary>
    public const long MaxId = 1L << 53;

    /// <summary>The highest segment of the clock; a record that names a higher one was hit.</summary>
    public const int MaxClock = 1_000_000;

    readonly SqliteConnection _connection;
    readonly PayloadCipher? _cipher;
    readonly SqliteStatement _queue;
    readonly SqliteStatement _letter;
    readonly SqliteStatement _clock;
    readonly SqliteStatement _document;
    readonly SqliteStatement _evicted;

    public SalvagedRecords(SqliteConnection connection, PayloadCipher? cipher)
    {
        _connection = connection;
        _cipher = cipher;
        _queue = connection.PrepareOnce(
            "INSERT OR IGNORE INTO queue(id, recorded_at, clock, payload) VALUES(?1, ?2, ?3, ?4)");
        _letter = connection.PrepareOnce("""
            INSERT OR IGNORE INTO dead_letter(id, recorded_at, clock, payload, refused_at, reason, answer)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
            """);
        _clock = connection.PrepareOnce(
            "INSERT OR IGNORE INTO clock(id, boot_id, offset_ms, synchronized) VALUES(?1, ?2, ?3, ?4)");
        _document = connection.PrepareOnce("INSERT OR IGNORE INTO document(name, content) VALUES(?1, ?2)");
        _evicted = connection.PrepareOnce("""
            INSERT OR IGNORE INTO evicted(reason, sensor, total, announced, first_id, last_id)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)
            """);
    }

    /// <summary>What <c>meta</c> of the damaged file said.</summary>
    public Dictionary<string, object?> Meta { get; } = [];

    /// <summary>Rows that were put into the queue.</summary>
    public long Readings { get; private set; }

    public long DeadLetters { get; private set; }

    /// <summary>Rows that are sealed, and those of them that the key does not open.</summary>
    public long Sealed { get; private set; }

    public long Unopened { get; private set; }

    /// <summary>Rows that are not sealed.</summary>
    public long Plain { get; private set; }

    /// <summary>The lowest and the highest id of <see cref="Readings"/>; 0 without any.</summary>
    public long FirstId { get; private set; }

    public long LastId { get; private set; }

    /// <summary>The highest id of all readings and dead letters that were met.</summary>
    public long LastGivenId { get; private set; }

    /// <summary>The highest clock segment that a record names.</summary>
    public int LastClock { get; private set; }

    /// <summary>Records that were skipped because checking them failed in an unexpected way; 0 unless the program has a
    /// fault.</summary>
    public int Faults { get; private set; }

    /// <summary>Takes a record over.</summary>
    /// <param name="withReadings">Whether readings and dead letters are put in, or only counted.</param>
    /// <param name="putReading">Told of each reading first; true when there is nothing left to do about it.</param>
    /// <exception cref="SqliteFailure">The new file can't be written.</exception>
    public void Put(ScannedRecord record, bool withReadings = true, Func<ScannedRecord, bool>? putReading = null)
    {
        try
        {
            PutRecord(record, withReadings, putReading);
        }
        catch (Exception e) when (e is not SqliteFailure)
        {
            // No record may end the salvage of the others.
            Faults++;
        }
    }

    /// <summary>The id up to which rows were delivered, if it is certain; 0 otherwise.</summary>
    public long AcknowledgedThrough() =>
        Meta.GetValueOrDefault(QueueStore.AcknowledgedName) is long acknowledged
            && Meta.GetValueOrDefault(QueueStore.AcknowledgedCheckName) is long check && acknowledged == ~check
            && acknowledged < MaxId
            ? acknowledged
            : 0;

    public void Dispose()
    {
        foreach (var statement in (SqliteStatement[])[_queue, _letter, _clock, _document, _evicted])
            statement.Dispose();
    }

    void PutRecord(ScannedRecord record, bool withReadings, Func<ScannedRecord, bool>? putReading)
    {
        var (id, columns) = record;
        switch (columns)
        {
            case [null, long at, long segment, string or byte[]] when id is > 0 and < MaxId
                && IsPayload(id, columns[3]):
                Name(id, segment);
                if (withReadings && putReading?.Invoke(record) != true
                    && BindAll(_queue, id, at, segment, columns[3]) > 0)
                {
                    Readings++;
                    FirstId = FirstId == 0 ? id : Math.Min(FirstId, id);
                    LastId = Math.Max(LastId, id);
                }
                break;
            case [null, long, long segment, string or byte[], long, string, string or byte[] or null]
                when id is > 0 and < MaxId && IsPayload(id, columns[3]):
                Name(id, segment);
                if (withReadings)
                    DeadLetters += BindAll(_letter, [id, .. columns[1..]]);
                break;
            case [null, string, long, long] when id is > 0 and <= MaxClock:
                Name(0, id);
                BindAll(_clock, [id, .. columns[1..]]);
                break;
            case [string name, byte[] content]:
                BindAll(_document, name, content);
                break;
            case [string name, string or long]:
                Meta[name] = columns[1];
                break;
            case [string, string, >= 0L and < MaxId, >= 0L and < MaxId, long or null, long or null]:
                BindAll(_evicted, columns);
                break;
            default:
                // A schema row, or rubble.
                break;
        }
    }

    void Name(long id, long clock)
    {
        LastGivenId = Math.Max(LastGivenId, id);
        if (clock is > 0 and <= MaxClock)
            LastClock = Math.Max(LastClock, (int)clock);
    }

    // Text is whole JSON or it was hit; what is encrypted proves itself.
    bool IsPayload(long id, object? payload)
    {
        var stored = payload as byte[] ?? Encoding.UTF8.GetBytes((string)payload!);
        if (PayloadCipher.IsSealed(stored, isBlob: payload is byte[]))
        {
            Sealed++;
            if (_cipher?.Unseal(id, stored) is not null)
                return true;
            Unopened++;
            return false;
        }
        Plain++;
        var json = new Utf8JsonReader(stored);
        try
        {
            var isObject = json.Read() && json.TokenType == JsonTokenType.StartObject;
            while (json.Read())
            {
                // To the end: the reader checks as it goes.
            }
            return isObject;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    int BindAll(SqliteStatement statement, params object?[] values)
    {
        for (var i = 0; i < values.Length; i++)
        {
            _ = values[i] switch
            {
                long number => statement.Bind(i + 1, number),
                byte[] bytes => statement.BindBlob(i + 1, bytes),
                var text => statement.Bind(i + 1, text as string),
            };
        }
        statement.Run();
        return _connection.Changes();
    }
}
