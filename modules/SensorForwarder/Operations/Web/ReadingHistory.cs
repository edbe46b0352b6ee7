using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Time;

namespace SensorForwarder.Operations.Web;

/// <summary>A query for the readings of a sensor.</summary>
/// <param name="From">Start of the time range; null: the time of the oldest reading in the buffer.</param>
/// <param name="Points">Number of equal intervals of the time range, each of which gives at most one point;
/// 1..<see cref="ReadingHistory.MaxPoints"/>.</param>
/// <param name="Value">Only the values of this name; null: all.</param>
internal sealed record HistoryQuery(
    string Sensor, DateTimeOffset? From, DateTimeOffset To, int Points, string? Value = null)
{
    /// <summary>Includes readings later than <see cref="To"/>, recorded while the clock was ahead.</summary>
    public bool WithLater { get; init; }
}

/// <summary>
/// Queries the readings of one sensor in the buffer, waiting or forwarded, reduced to points with the minimum, maximum
/// and last value. <see cref="TimeStretches"/> finds them by time. The work is bounded: of a long time range only the
/// beginning of each piece is read. Uses its own connection; queries run one at a time.
/// </summary>
internal sealed class ReadingHistory(TelemetryBuffer buffer) : IDisposable
{
    public const int MaxPoints = 1000;

    /// <summary>Number of stretches that are searched separately; all older readings are searched as one.</summary>
    public const int MaxStretches = 100;

    // A slow sensor among fast ones takes many rows to find; with few pieces, long times would remain unread.
    const int LeastPieces = 200;
    const int PageRows = 5_000;
    const int LeastPageRows = 100;
    const int PageBytes = 1 << 20;

    readonly SemaphoreSlim _turn = new(1);

    /// <summary>Maximum number of readings, of all sensors, that a query looks at.</summary>
    public int MaxRows { get; init; } = 1_000_000;

    /// <summary>Maximum number of readings of the sensor that a query takes.</summary>
    public int MaxReadings { get; init; } = 50_000;

    /// <summary>Number of readings that the last query looked at.</summary>
    public long RowsOfLastQuery { get; private set; }

    /// <returns>A <see cref="HistoryDocument"/>.</returns>
    public async Task<byte[]> WriteAsync(HistoryQuery query, CancellationToken cancellationToken)
    {
        using var turn = await Turn.TakeAsync(_turn, cancellationToken);
        return await Task.Run(() => Write(query, cancellationToken), cancellationToken);
    }

    public void Dispose() => _turn.Dispose();

    byte[] Write(HistoryQuery query, CancellationToken cancellationToken)
    {
        using var history = buffer.OpenHistory();
        var times = new TimeStretches(history, buffer.LastCommittedId);
        var stretches = times.Find(MaxStretches);
        var to = query.WithLater ? stretches.Select(stretch => stretch.To).Append(query.To).Max() : query.To;
        var from = query.From ?? Oldest(stretches, to);
        var ranges = stretches.Select(stretch => times.Within(stretch, from, to)).OfType<(long First, long Last)>()
            .ToList();
        RowsOfLastQuery = times.Looks;

        var points = new SortedDictionary<long, HistoryPoint>();
        var readings = 0L;
        var unread = new List<(DateTimeOffset From, DateTimeOffset To)>();
        foreach (var piece in Pieces(ranges, query.Points))
        {
            foreach (var reading in Read(history, query.Sensor, piece, unread, cancellationToken))
            {
                if (reading.RecordedAt < from || reading.RecordedAt > to) continue;
                var index = Math.Min(
                    (long)((reading.RecordedAt - from) / (to - from) * query.Points), query.Points - 1);
                if (!points.TryGetValue(index, out var point)) points[index] = point = new(query.Value);
                point.Add(reading);
                readings++;
            }
        }

        var before = from;
        foreach (var point in points.Values) before = point.Follow(before, unread);
        return JsonSerializer.SerializeToUtf8Bytes(
            new HistoryDocument(
                query.Sensor, from.UtcDateTime, to.UtcDateTime, readings, unread.Count > 0, points.Values),
            PageJson.Default.HistoryDocument);
    }

    static DateTimeOffset Oldest(List<TimeStretch> stretches, DateTimeOffset to)
    {
        var oldest = stretches.Select(stretch => stretch.From).DefaultIfEmpty(to).Min();
        return oldest < to ? oldest : to - TimeSpan.FromHours(1);
    }

    // Divides the ranges into pieces, in proportion to their rows; within the limits each range is one piece.
    IEnumerable<Piece> Pieces(List<(long First, long Last)> ranges, int points)
    {
        var all = ranges.Sum(range => range.Last - range.First + 1);
        var most = all <= Math.Min(MaxRows, MaxReadings) ? 1 : Math.Max(points, LeastPieces);
        foreach (var (first, last) in ranges)
        {
            var count = last - first + 1;
            var pieces = Math.Max(1, count * most / all);
            for (var piece = 0L; piece < pieces; piece++)
            {
                var (start, end) = (first + (count * piece / pieces), first + (count * (piece + 1) / pieces) - 1);
                yield return new(start, end, Math.Max(1, MaxRows / most), Math.Max(1, MaxReadings / most));
            }
        }
    }

    // Reads a piece up to its limits, and adds the rest of its time to unread.
    IEnumerable<BufferedReading> Read(
        History history, string sensor, Piece piece, List<(
            DateTimeOffset From, DateTimeOffset To)> unread, CancellationToken cancellationToken)
    {
        var (rowsLeft, readingsLeft) = (piece.MaxRows, piece.MaxReadings);
        for (var after = piece.First - 1; after < piece.Last;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var page =
                Math.Min(piece.Last - after, Math.Min(rowsLeft, Math.Clamp(readingsLeft, LeastPageRows, PageRows)));
            var found = history.PeekSensor(sensor, after, (int)page, PageBytes);
            RowsOfLastQuery += found.Looks;
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

        void LeaveRest(DateTimeOffset from) => unread.Add((from, history.PeekTime(piece.Last - 1)?.RecordedAt ?? from));
    }

    /// <summary>A range of ids, and the limits for reading it.</summary>
    readonly record struct Piece(long First, long Last, int MaxRows, int MaxReadings);
}

/// <summary>The answer to a <see cref="HistoryQuery"/>, as JSON.</summary>
internal sealed record HistoryDocument(
    string Sensor, DateTime From, DateTime To, long Readings, bool IsPartlyRead, IEnumerable<HistoryPoint> Points);

/// <summary>The readings of one interval.</summary>
/// <param name="only">The name of the wanted values; null: all.</param>
internal sealed class HistoryPoint(string? only)
{
    DateTimeOffset _first = DateTimeOffset.MaxValue;
    DateTimeOffset _last;

    /// <summary>When the latest of its readings was recorded.</summary>
    public DateTime Time => _last.UtcDateTime;

    /// <summary>True: there may be readings between the previous point and this one that were not read.</summary>
    public bool? UnreadBefore { get; private set; }

    public Dictionary<string, HistoryRange> Values { get; } = [];

    public void Add(BufferedReading reading)
    {
        // After the clock was set back, a reading may be earlier than those before it.
        var isLast = reading.RecordedAt >= _last;
        if (isLast) _last = reading.RecordedAt;
        if (reading.RecordedAt < _first) _first = reading.RecordedAt;
        using var json = JsonDocument.Parse(reading.Payload);
        if (!json.RootElement.TryGetProperty("values", out var values)
            || values.ValueKind != JsonValueKind.Object) return;
        foreach (var value in values.EnumerateObject())
        {
            if (value.Value.ValueKind != JsonValueKind.Number || (only is not null && value.Name != only)) continue;
            var number = value.Value.GetDouble();
            Values[value.Name] = Values.TryGetValue(value.Name, out var before)
                ? new(Math.Min(before.Min, number), Math.Max(before.Max, number), isLast ? number : before.Last)
                : new(number, number, number);
        }
    }

    /// <summary>Sets <see cref="UnreadBefore"/>.</summary>
    /// <param name="before">The end of the previous point.</param>
    /// <param name="unread">The times that were not read.</param>
    /// <returns>The end of this point.</returns>
    public DateTimeOffset Follow(DateTimeOffset before, List<(DateTimeOffset From, DateTimeOffset To)> unread)
    {
        if (unread.Any(span => span.From < _first && span.To > before)) UnreadBefore = true;
        return _last;
    }
}

internal readonly record struct HistoryRange(double Min, double Max, double Last);
