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
internal sealed record HistoryQuery(string Sensor, DateTimeOffset? From, DateTimeOffset To, int Points, string? Value = null);

/// <summary>
/// The readings of one sensor that are in the buffer, waiting or forwarded and not yet deleted, thinned to a number of points with the least, the greatest and the last
/// value of each. Ids go with time nearly always, so the range is found by bisection, and of a long one each piece is read in
/// part: the work is bounded whatever the queue holds. It reads on a connection of its own; one question at a time.
/// </summary>
internal sealed class ReadingHistory(TelemetryBuffer buffer) : IDisposable
{
    public const int MaxPoints = 1000;

    /// <summary>Rows that one question reads at most.</summary>
    public const int MaxRows = 50_000;

    const int PageRows = 500;
    const int PageBytes = 1 << 20;

    // A clock that was set may have put readings out of order by so much.
    static readonly TimeSpan Slack = TimeSpan.FromMinutes(1);

    readonly SemaphoreSlim _turn = new(1);

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
        var from = query.From ?? Oldest(reader, query.To);
        var (first, last) = (FindFirst(reader, from - Slack), FindFirst(reader, query.To + Slack) - 1);
        var buckets = new SortedDictionary<long, Bucket>();
        var readings = 0L;
        var pieces = last - first + 1 <= MaxRows ? 1 : query.Points;
        for (var piece = 0; piece < pieces && first <= last; piece++)
        {
            var (firstOfPiece, lastOfPiece) = (first + ((last - first + 1) * piece / pieces), first + ((last - first + 1) * (piece + 1) / pieces) - 1);
            lastOfPiece = Math.Min(lastOfPiece, firstOfPiece + Math.Max(1, MaxRows / pieces) - 1);
            foreach (var reading in Rows(reader, firstOfPiece, lastOfPiece, cancellationToken))
            {
                if (reading.RecordedAt < from || reading.RecordedAt > query.To || EvictionLedger.SensorOf(reading.Payload.Span) != query.Sensor) continue;
                var index = (long)((reading.RecordedAt - from) / (query.To - from) * query.Points);
                if (!buckets.TryGetValue(index, out var bucket)) buckets[index] = bucket = new(query.Value);
                bucket.Add(reading);
                readings++;
            }
        }

        return Write(query with { From = from }, buckets.Values, readings, isPartlyRead: pieces > 1);
    }

    static DateTimeOffset Oldest(BatchReader reader, DateTimeOffset to)
    {
        var rows = reader.PeekAny(0, 1, PageBytes);
        return rows.Count > 0 && rows[0].RecordedAt < to ? rows[0].RecordedAt : to - TimeSpan.FromHours(1);
    }

    /// <summary>The first id whose reading is of a time or later; behind the last when there is none.</summary>
    long FindFirst(BatchReader reader, DateTimeOffset time)
    {
        var (low, high) = (1L, buffer.LastCommittedId + 1);
        while (low < high)
        {
            var middle = low + ((high - low) / 2);
            var rows = reader.PeekAny(middle - 1, 1, PageBytes);
            if (rows.Count == 0 || rows[0].Id >= high) high = middle;
            else if (rows[0].RecordedAt >= time) high = middle;
            else low = rows[0].Id + 1;
        }

        return low;
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
            _last = reading.RecordedAt;
            using var json = JsonDocument.Parse(reading.Payload);
            if (!json.RootElement.TryGetProperty("values", out var values) || values.ValueKind != JsonValueKind.Object) return;
            foreach (var value in values.EnumerateObject())
            {
                if (value.Value.ValueKind != JsonValueKind.Number || (only is not null && value.Name != only)) continue;
                var number = value.Value.GetDouble();
                _values[value.Name] = _values.TryGetValue(value.Name, out var before)
                    ? (Math.Min(before.Min, number), Math.Max(before.Max, number), number)
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
