using Microsoft.Data.Sqlite;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>
/// Reads segments on its own connection, which sees whole transactions and never blocks the writer. Each call ends its
/// read transaction, so that the WAL can restart. Thread-safe: calls are serialised by a lock.
/// </summary>
internal sealed class Reader : IDisposable
{
    // Segments found by the first query of a read and by a later one, without their bodies. A batch is usually in two
    // segments, with a third to decode in advance.
    const int SegmentsAtFirst = 3;
    const int SegmentsAtOnce = 64;

    readonly Lock _gate = new();
    readonly ReadingClock _clock;
    readonly DatabaseFile _file;
    readonly Func<StoreView> _view;
    readonly Action<Exception, int> _reportDamage;
    readonly Cipher? _cipher;
    SqliteConnection? _connection;
    Segments? _segments;
    Records? _records;
    int _generation;
    (Segment Segment, int Generation, Lazy<StoredReading[]> Readings)? _ahead;
    bool _disposed;

    /// <param name="view">Returns the state as of the last commit.</param>
    /// <param name="reportDamage">Called with the failure and the <see cref="DatabaseFile.Generation"/> of the damaged
    /// file.</param>
    public Reader(ReadingClock clock, DatabaseFile file, Func<StoreView> view, Action<Exception, int> reportDamage)
    {
        (_clock, _file, _view, _reportDamage) = (clock, file, view, reportDamage);
        _cipher = file.NewCipher();
    }

    public static BufferUnavailableException Unavailable(Exception failure) =>
        new($"the buffer can't be read now ({failure.Message}); try again later", failure);

    /// <summary>Closes the connection after the file was replaced; the next call opens the new file.</summary>
    public void Reconnect()
    {
        lock (_gate)
            Disconnect();
    }

    /// <summary>Waiting readings after an id, in order of ids, all of one epoch.</summary>
    /// <param name="maxBytes">Limit of the summed payloads; the first reading is returned whatever its size.</param>
    /// <exception cref="BufferUnavailableException">The file is not readable.</exception>
    public IReadOnlyList<BufferedReading> PeekBatch(long afterId, int maxCount, int maxBytes) => Read(() =>
    {
        var view = _view();
        var (lastId, without) = (view.State.LastId, view.State.NotWaiting);
        var readings = new List<BufferedReading>(Math.Min(maxCount, Segments.MaxReadings));
        var (bytes, epoch) = (0L, "");
        var (isFull, left) = (false, 0);
        using var segments = SegmentsFrom(afterId + 1, lastId, without).GetEnumerator();
        while (!isFull && segments.MoveNext())
        {
            var stored = Unpack(segments.Current);
            left = stored.Length;
            foreach (ref readonly var reading in stored.AsSpan())
            {
                left--;
                if (reading.Id <= afterId || reading.Id > lastId || without.Contains(reading.Id))
                    continue;
                // Repair may add a mark to the payload; a corrected time has the same length.
                var exceedsBytes = bytes + reading.Payload.Length + TimeRepair.MaxAddedBytes > maxBytes;
                var itsEpoch = view.Epochs.Of(reading.Id);
                isFull = readings.Count > 0 && (exceedsBytes || itsEpoch != epoch);
                if (isFull)
                    break;
                epoch = itsEpoch;
                readings.Add(Repair(reading) with { Epoch = epoch });
                bytes += readings[^1].Payload.Length;
                isFull = readings.Count == maxCount;
                if (isFull)
                    break;
            }
        }
        // The next batch is probably as large and then needs the next segment.
        if (isFull && left < readings.Count)
            ReadAhead(segments);
        return readings;
    });

    /// <summary>Readings from an id on in any state, except dead letters. To be enumerated inside <see cref="Read"/>.
    /// </summary>
    public IEnumerable<StoredReading> Any(long fromId)
    {
        var (letters, lastId) = (_records!.ReadDeadLetterIds(fromId), _view().State.LastId);
        return SegmentsFrom(fromId, lastId, letters).SelectMany(Unpack)
            .Where(reading => reading.Id >= fromId && reading.Id <= lastId && !letters.Contains(reading.Id));
    }

    public StoreView View => _view();

    /// <summary>The reading with its time corrected, or marked as unsynchronised.</summary>
    public BufferedReading Repair(StoredReading stored)
    {
        var (recordedAtMs, correctionMs) = (stored.RecordedAtMs, _clock.CorrectionMs(stored.Clock));
        if (correctionMs == 0)
            return new(stored.Id, TimeRepair.Moment(recordedAtMs), stored.Payload);
        var payload = new byte[stored.Payload.Length + TimeRepair.MaxAddedBytes];
        var length = TimeRepair.Copy(stored.Payload.Span, payload, ref recordedAtMs, correctionMs);
        return new(stored.Id, TimeRepair.Moment(recordedAtMs), payload.AsMemory(0, length));
    }

    public ReadingTime TimeOf(StoredReading stored) => new(
        stored.Id, TimeRepair.Moment(stored.RecordedAtMs + (_clock.CorrectionMs(stored.Clock) ?? 0)), stored.Clock);

    public IReadOnlyList<DeadLetter> ListDeadLetters(long afterId, int maxCount) => Read(() =>
        _records!.ReadDeadLetters(afterId, maxCount, long.MaxValue).Select(letter =>
        {
            var reading = Repair(letter.Reading);
            return new DeadLetter(
                reading.Id, reading.RecordedAt, reading.Payload, letter.Reason, letter.Answer);
        }).ToList());

    public ReadOnlyMemory<byte>? LoadDocument(string name) => Read(() =>
        _records!.LoadDocument(name) is { } document ? document : (ReadOnlyMemory<byte>?)null);

    public IReadOnlyList<string> DocumentNames(string prefix) => Read(() => _records!.DocumentNames(prefix));

    /// <summary>Opens the connection if necessary and runs <paramref name="read"/>, under the lock.</summary>
    /// <exception cref="BufferUnavailableException">The file is not readable.</exception>
    public T Read<T>(Func<T> read)
    {
        lock (_gate)
        {
            try
            {
                Connect();
                return read();
            }
            catch (Exception failure) when (failure is SqliteException or DamagedSegmentException)
            {
                var (generation, isOpen) = (_generation, _segments is not null);
                Disconnect();
                if (failure is not SqliteException sqlite || sqlite.IsDamage()
                    || (isOpen && _file.IsLastingBadBlock(sqlite)))
                {
                    _reportDamage(failure, generation);
                }
                throw Unavailable(failure);
            }
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            Disconnect();
            _cipher?.Dispose();
        }
    }

    // The segments that overlap a range of ids, apart from those that begin with excluded ids only.
    IEnumerable<Segment> SegmentsFrom(long id, long throughId, IdSet without)
    {
        var most = SegmentsAtFirst;
        for (id = without.FirstMissingFrom(Math.Max(1, id)); id <= throughId; most = SegmentsAtOnce)
        {
            var segments = _segments!.Find(id, throughId, most);
            if (segments.Count == 0)
                yield break;
            foreach (var segment in segments)
            {
                if (segment.LastId < id)
                    continue;
                yield return segment;
                id = without.FirstMissingFrom(segment.LastId + 1);
            }
        }
    }

    StoredReading[] Unpack(Segment segment)
    {
        if (_file.Decoded.Find(segment) is { } known)
            return known;
        var generation = _file.Decoded.Generation;
        StoredReading[] readings = [];
        if (_ahead is { } ahead && ahead.Segment == segment && ahead.Generation == generation)
        {
            _ahead = null;
            readings = ahead.Readings.Value;
        }
        if (readings.Length == 0)
            readings = _segments!.Read(segment);
        _file.Decoded.Add(segment.FirstId, readings, generation);
        return readings;
    }

    // Decodes the next segment on a thread of the pool while the caller sends the readings before it. If no thread has
    // begun when the readings are needed, the caller decodes them itself.
    void ReadAhead(IEnumerator<Segment> segments)
    {
        try
        {
            if (!segments.MoveNext())
                return;
            var (segment, generation) = (segments.Current, _file.Decoded.Generation);
            if (_ahead?.Segment == segment || _file.Decoded.Find(segment) is not null
                || _segments!.ReadBody(segment) is not { } body)
            {
                return;
            }
            var readings = new Lazy<StoredReading[]>(() => Segments.Decode(segment, body));
            _ahead = (segment, generation, readings);
            _ = Task.Run(() => readings.Value);
        }
        catch (SqliteException)
        {
            // The batch that needs the segment reports the failure.
        }
    }

    void Connect()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_connection is not null)
            return;
        _generation = _file.Generation;
        _connection = _file.OpenReader();
        // A view or trigger in place of a table could run foreign SQL.
        if (!Schema.IsIntact(_connection))
            throw Sqlite.Damage("the tables are not those of this module");
        _segments = new Segments(_connection, _cipher);
        _records = new Records(_connection, _cipher);
    }

    void Disconnect()
    {
        _segments?.Dispose();
        _connection?.Dispose();
        (_connection, _segments, _records, _ahead) = (null, null, null, null);
    }
}
