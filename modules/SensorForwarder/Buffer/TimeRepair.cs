using System.Globalization;
using System.Text;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>Corrects the time in a payload when it is read, or marks it as unsynchronised. A time that differs from the
/// recorded one comes from another program's clock and is not changed. Pure; any thread.</summary>
internal static class TimeRepair
{
    /// <summary>By how much <see cref="Copy"/> can lengthen a payload.</summary>
    public static int MaxAddedBytes => Mark.Length;

    static readonly long MinMs = DateTimeOffset.MinValue.ToUnixTimeMilliseconds();
    static readonly long MaxMs = DateTimeOffset.MaxValue.ToUnixTimeMilliseconds();

    static ReadOnlySpan<byte> TimeProperty => ",\"time\":\""u8;

    static ReadOnlySpan<byte> Mark => ",\"timeQuality\":\"unsynchronized\""u8;

    /// <summary>Converts a stored time; a damaged one is clamped to the range of
    /// <see cref="DateTimeOffset"/>.</summary>
    public static DateTimeOffset Moment(long unixMs) =>
        DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(unixMs, MinMs, MaxMs));

    /// <summary>The time in a payload; null when there is none where <see cref="ReadingEncoder"/> writes it.</summary>
    public static DateTimeOffset? TimeIn(ReadOnlySpan<byte> payload)
    {
        var property = payload.IndexOf(TimeProperty);
        if (property < 0 || payload.Length < property + TimeProperty.Length + ReadingEncoder.TimeLength)
            return null;
        var text = Encoding.UTF8.GetString(payload.Slice(property + TimeProperty.Length, ReadingEncoder.TimeLength));
        return DateTimeOffset.TryParseExact(
            text, "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal, out var time)
            ? time
            : null;
    }

    /// <summary>Copies a payload and corrects its time.</summary>
    /// <param name="correctionMs">Milliseconds to add to the time; null: add the mark instead.</param>
    /// <returns>The number of bytes written.</returns>
    public static int Copy(
        ReadOnlySpan<byte> payload, Span<byte> destination, ref long recordedAtMs, long? correctionMs)
    {
        // A sensor's name can't contain this sequence: quotes are escaped inside a JSON string.
        var property = payload.IndexOf(TimeProperty);
        var time = property + TimeProperty.Length;
        var afterTime = time + ReadingEncoder.TimeLength + 1;
        Span<byte> own = stackalloc byte[ReadingEncoder.TimeLength];
        ReadingEncoder.FormatTime(Moment(recordedAtMs), own);
        if (property < 0 || afterTime > payload.Length
            || !payload.Slice(time, ReadingEncoder.TimeLength).SequenceEqual(own))
        {
            recordedAtMs += correctionMs ?? 0;
            payload.CopyTo(destination);
            return payload.Length;
        }
        if (correctionMs is { } correction)
        {
            recordedAtMs += correction;
            payload.CopyTo(destination);
            ReadingEncoder.FormatTime(Moment(recordedAtMs), destination.Slice(time, ReadingEncoder.TimeLength));
            return payload.Length;
        }
        payload[..afterTime].CopyTo(destination);
        Mark.CopyTo(destination[afterTime..]);
        payload[afterTime..].CopyTo(destination[(afterTime + Mark.Length)..]);
        return payload.Length + Mark.Length;
    }
}
