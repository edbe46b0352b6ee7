using System.Buffers;
using System.Text.Json;
using SensorForwarder.Buffer;

namespace SensorForwarder.Operations;

/// <summary>What a question about the past asks for.</summary>
/// <param name="Sensor">Whose readings.</param>
/// <param name="From">From this time on; null: from the oldest reading of the buffer on.</param>
/// <param name="To">Up to this time.</param>
/// <param name="Points">Pieces of equal length, of which each has one answer at most;
/// 1..<see cref="ReadingHistory.MaxPoints"/>.</param>
/// <param name="Value">Only the values of this name; null: all.</param>
internal sealed record HistoryQuery(
    string Sensor, DateTimeOffset? From, DateTimeOffset To, int Points, string? Value = null)
{
    /// <summary>Also what was recorded by a clock that was ahead of the one at <see cref="To"/>.</summary>
    public bool WithLater { get; init; }
}

/// <summary>
/// The readings of one sensor that are in the buffer, waiting or forwarded and not yet deleted, thinned to a number of
/// points with the least, the greatest and the last value of each. <see cref="TimeStretches"/> find them, and of a very
/// long time each piece is read in part: the work is bounded whatever the queue holds. It reads on a connection of its
/// own; one question at a time.
/// </summary>
internal sealed class ReadingHistory(TelemetryBuffer buffer) : IDisposable
{
    public const int MaxPoints = 1000;

    /// <summary>Changes of a wrong clock that are told apart, the newest.</summary>
    public const int MaxStretches = 100;

    // A sensor that is seldom read among fast ones is found by looking at many rows; few pieces would
    // leave out long times.
    const int LeastPieces = 200;
    const int PageRows = 5_000;
    const int LeastPageRows = 100;
    const int PageBytes = 1 << 20;

    // What it costs to look at a row that has to be unsealed, in rows that have not.
    const int SealedCost = 10;

    readonly SemaphoreSlim _turn = new(1);

    /// <summary>Rows of all sensors that one question looks at at most; a tenth of them where each
    /// has to be unsealed.</summary>
    public int MaxRows { get; init; } = 1_000_000;

    /// <summary>Readings of the sensor that one question takes at most.</summary>
    public int MaxReadings { get; init; } = 50_000;

    /// <summary>How many times the last question looked at a row.</summary>
    public long RowsOfLastQuestion { get; private set; }

    /// <returns>JSON:
    /// <c>{"sensor","from","to","readings","isPartlyRead","points":[{"time","unreadBefore","values":
    /// {"temperature":{"min","max","last"}}}]}</c>; where <c>unreadBefore</c> is true, readings between this point and
    /// the one before it were not read.</returns>
    public async Task<byte[]> WriteAsync(HistoryQuery query, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            return await Task.Run(() => Write(query, cancellationToken), cancellationToken);
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Dispose() => _turn.Dispose();

    byte[] Write(HistoryQuery query, CancellationToken cancellationToken)
    {
        using var reader = buffer.NewReader();
        var times = new TimeStretches(reader, buffer.LastCommittedId);
        var stretches = times.Find(MaxStretches);
        var to = query.WithLater ? stretches.Select(stretch => stretch.To).Append(query.To).Max() : query.To;
        var from = query.From ?? Oldest(stretches, to);
        var ranges = stretches.Select(stretch => times.Within(stretch, from, to)).OfType<(long First, long Last)>()
            .ToList();
        RowsOfLastQuestion = times.Looks;

        var buckets = new SortedDictionary<long, Bucket>();
        var readings = 0L;
        var unread = new List<(DateTimeOffset From, DateTimeOffset To)>();
        foreach (var piece in Pieces(ranges, reader.IsSealed ? MaxRows / SealedCost : MaxRows, query.Points))
        {
            foreach (var reading in Read(reader, query.Sensor, piece, unread, cancellationToken))
            {
                if (reading.RecordedAt < from || reading.RecordedAt > to) continue;
                var index = Math.Min(
                    (long)((reading.RecordedAt - from) / (to - from) * query.Points), query.Points - 1);
                if (!buckets.TryGetValue(index, out var bucket)) buckets[index] = bucket = new(query.Value);
                bucket.Add(reading);
                readings++;
            }
        }

        var before = from;
        foreach (var bucket in buckets.Values)
        {
            bucket.IsUnreadBefore = unread.Any(span => span.From < bucket.First && span.To > before);
            before = bucket.Last;
        }

        return Write(query with { From = from, To = to }, buckets.Values, readings, isPartlyRead: unread.Count > 0);
    }

    static DateTimeOffset Oldest(List<TimeStretch> stretches, DateTimeOffset to)
    {
        var oldest = stretches.Select(stretch => stretch.From).DefaultIfEmpty(to).Min();
        return oldest < to ? oldest : to - TimeSpan.FromHours(1);
    }

    // As many pieces of each range as its share in all rows is; what is not too much stays whole.
    IEnumerable<Piece> Pieces(List<(long First, long Last)> ranges, int maxRows, int points)
    {
        var all = ranges.Sum(range => range.Last - range.First + 1);
        var most = all <= Math.Min(maxRows, MaxReadings) ? 1 : Math.Max(points, LeastPieces);
        foreach (var (first, last) in ranges)
        {
            var count = last - first + 1;
            var pieces = Math.Max(1, count * most / all);
            for (var piece = 0L; piece < pieces; piece++)
            {
                var (start, end) = (first + (count * piece / pieces), first + (count * (piece + 1) / pieces) - 1);
                yield return new(start, end, Math.Max(1, maxRows / most), Math.Max(1, MaxReadings / most));
            }
        }
    }

    // What is left of a piece is unread.
    IEnumerable<BufferedReading> Read(
        BatchReader reader, string sensor, Piece piece, List<(
            DateTimeOffset From, DateTimeOffset To)> unread, CancellationToken cancellationToken)
    {
        var (rowsLeft, readingsLeft) = (piece.MaxRows, piece.MaxReadings);
        for (var after = piece.First - 1; after < piece.Last;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var page =
                Math.Min(piece.Last - after, Math.Min(rowsLeft, Math.Clamp(readingsLeft, LeastPageRows, PageRows)));
            var found = reader.PeekSensor(sensor, after, (int)page, PageBytes);
            RowsOfLastQuestion += found.Looks;
            if (found.Last is not { } last) yield break;
            foreach (var reading in found.Readings)
            {
                if (reading.Id > piece.Last) yield break;
                yield return reading;
                if (--readingsLeft > 0 || reading.Id == piece.Last) continue;
                LeaveRest(reading.RecordedAt);
                yield break;
            }

            after = last.Id;
            rowsLeft -= found.Looks;
            if (rowsLeft > 0 || after >= piece.Last) continue;
            LeaveRest(last.RecordedAt);
            yield break;
        }

        void LeaveRest(DateTimeOffset from) => unread.Add((from, reader.PeekTime(piece.Last - 1)?.RecordedAt ?? from));
    }

    static byte[] Write(HistoryQuery query, IEnumerable<Bucket> buckets, long readings, bool isPartlyRead)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteString("sensor", query.Sensor);
            json.WriteString("from", query.From!.Value.UtcDateTime);
            json.WriteString("to", query.To.UtcDateTime);
            json.WriteNumber("readings", readings);
            json.WriteBoolean("isPartlyRead", isPartlyRead);
            json.WriteStartArray("points");
            foreach (var bucket in buckets) bucket.WriteTo(json);
            json.WriteEndArray();
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>Some ids, and how much of them is read at most.</summary>
    readonly record struct Piece(long First, long Last, int MaxRows, int MaxReadings);

    sealed class Bucket(string? only)
    {
        readonly Dictionary<string, (double Min, double Max, double Last)> _values = [];

        /// <summary>When the first of its readings was recorded.</summary>
        public DateTimeOffset First { get; private set; } = DateTimeOffset.MaxValue;

        /// <summary>When the last of its readings was recorded.</summary>
        public DateTimeOffset Last { get; private set; }

        /// <summary>Whether something between this and the bucket before was not read.</summary>
        public bool IsUnreadBefore { get; set; }

        public void Add(BufferedReading reading)
        {
            // Of a clock that was set back the later times come first.
            var isLast = reading.RecordedAt >= Last;
            if (isLast) Last = reading.RecordedAt;
            if (reading.RecordedAt < First) First = reading.RecordedAt;
            using var json = JsonDocument.Parse(reading.Payload);
            if (!json.RootElement.TryGetProperty("values", out var values)
                || values.ValueKind != JsonValueKind.Object) return;
            foreach (var value in values.EnumerateObject())
            {
                if (value.Value.ValueKind != JsonValueKind.Number || (only is not null && value.Name != only)) continue;
                var number = value.Value.GetDouble();
                _values[value.Name] = _values.TryGetValue(value.Name, out var before)
                    ? (Math.Min(before.Min, number), Math.Max(before.Max, number), isLast ? number : before.Last)
                    : (number, number, number);
            }
        }

        public void WriteTo(Utf8JsonWriter json)
        {
            json.WriteStartObject();
            json.WriteString("time", Last.UtcDateTime);
            if (IsUnreadBefore) json.WriteBoolean("unreadBefore", true);
            json.WriteStartObject("values");
            foreach (var (name, (min, max, last)) in _values)
            {
                json.WriteStartObject(name);
                json.WriteNumber("min", min);
                json.WriteNumber("max", max);
                json.WriteNumber("last", last);
                json.WriteEndObject();
            }

            json.WriteEndObject();
            json.WriteEndObject();
        }
    }
}
