using System.Buffers;
using System.Text.Json;
using SensorForwarder.Buffer;

namespace SensorForwarder.Operations;

/// <summary>What a question about the past asks for.</summary>
/// <param name="Sensor">Whose readings.</param>
/// <param name="From">From this time on; null: from the oldest reading of the buffer on.</param>
/// <param name="To">Up to this time.</param>
/// <param name="Points">Pieces of equal length, of which each has one answer at most; 1..<see cref="ReadingHistory.MaxPoints"/>.</param>
/// <param name="Value">Only the values of this name; null: all.</param>
internal sealed record HistoryQuery(string Sensor, DateTimeOffset? From, DateTimeOffset To, int Points, string? Value = null)
{
    /// <summary>Also what was recorded by a clock that was ahead of the one at <see cref="To"/>.</summary>
    public bool WithLater { get; init; }
}

/// <summary>
/// The readings of one sensor that are in the buffer, waiting or forwarded and not yet deleted, thinned to a number of points with the least, the greatest and the last
/// value of each. <see cref="TimeStretches"/> find them, and of a long time each piece is read in
/// part: the work is bounded whatever the queue holds. It reads on a connection of its own; one question at a time.
/// </summary>
internal sealed class ReadingHistory(TelemetryBuffer buffer) : IDisposable
{
    public const int MaxPoints = 1000;

    /// <summary>Rows that one question reads at most.</summary>
    public const int MaxRows = 50_000;

    /// <summary>Changes of a wrong clock that are told apart, the newest.</summary>
    public const int MaxStretches = 100;

    const int PageRows = 500;
    const int PageBytes = 1 << 20;

    readonly SemaphoreSlim _turn = new(1);

    /// <summary>How many times the last question looked at a row.</summary>
    public long RowsOfLastQuestion { get; private set; }

    /// <returns>JSON: <c>{"sensor","from","to","readings","isPartlyRead","points":[{"time","values":{"temperature":{"min","max","last"}}}]}</c>.</returns>
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
        var ranges = stretches.Select(stretch => times.Within(stretch, from, to)).OfType<(long First, long Last)>().ToList();
        RowsOfLastQuestion = times.Looks;

        var buckets = new SortedDictionary<long, Bucket>();
        var readings = 0L;
        var isPartlyRead = ranges.Sum(range => range.Last - range.First + 1) > MaxRows;
        foreach (var (first, last) in isPartlyRead ? Pieces(ranges, query.Points) : ranges)
        {
            foreach (var reading in Rows(reader, first, last, cancellationToken))
            {
                RowsOfLastQuestion++;
                if (reading.RecordedAt < from || reading.RecordedAt > to || EvictionLedger.SensorOf(reading.Payload.Span) != query.Sensor) continue;
                var index = Math.Min((long)((reading.RecordedAt - from) / (to - from) * query.Points), query.Points - 1);
                if (!buckets.TryGetValue(index, out var bucket)) buckets[index] = bucket = new(query.Value);
                bucket.Add(reading);
                readings++;
            }
        }

        return Write(query with { From = from, To = to }, buckets.Values, readings, isPartlyRead);
    }

    static DateTimeOffset Oldest(List<TimeStretch> stretches, DateTimeOffset to)
    {
        var oldest = stretches.Select(stretch => stretch.From).DefaultIfEmpty(to).Min();
        return oldest < to ? oldest : to - TimeSpan.FromHours(1);
    }

    // As many pieces of each range as its share in all readings is.
    static IEnumerable<(long First, long Last)> Pieces(List<(long First, long Last)> ranges, int points)
    {
        var all = ranges.Sum(range => range.Last - range.First + 1);
        foreach (var (first, last) in ranges)
        {
            var count = last - first + 1;
            var pieces = Math.Max(1, count * points / all);
            for (var piece = 0L; piece < pieces; piece++)
            {
                var start = first + (count * piece / pieces);
                yield return (start, Math.Min(first + (count * (piece + 1) / pieces), start + Math.Max(1, MaxRows / points)) - 1);
            }
        }
    }

    static IEnumerable<BufferedReading> Rows(BatchReader reader, long from, long to, CancellationToken cancellationToken)
    {
        for (var after = from - 1; after < to;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var rows = reader.PeekAny(after, (int)Math.Min(PageRows, to - after), PageBytes);
            if (rows.Count == 0) yield break;
            foreach (var row in rows)
            {
                if (row.Id > to) yield break;
                yield return row;
            }

            after = rows[^1].Id;
        }
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

    sealed class Bucket(string? only)
    {
        readonly Dictionary<string, (double Min, double Max, double Last)> _values = [];
        DateTimeOffset _last;

        public void Add(BufferedReading reading)
        {
            // Of a clock that was set back the later times come first.
            var isLast = reading.RecordedAt >= _last;
            if (isLast) _last = reading.RecordedAt;
            using var json = JsonDocument.Parse(reading.Payload);
            if (!json.RootElement.TryGetProperty("values", out var values) || values.ValueKind != JsonValueKind.Object) return;
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
            json.WriteString("time", _last.UtcDateTime);
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
