namespace SensorForwarder.Buffer;

/// <summary>Puts the true time into a payload on its way out, or a mark that it is not known.</summary>
internal static class TimeRepair
{
    /// <summary>The most that <see cref="Copy"/> writes beyond the stored payload.</summary>
    public static int MaxAddedBytes => Mark.Length;

    static ReadOnlySpan<byte> TimeProperty => ",\"time\":\""u8;

    static ReadOnlySpan<byte> Mark => ",\"timeQuality\":\"unsynchronized\""u8;

    /// <summary>A stored time; one that a damaged file made impossible is cut to what .NET can say.</summary>
    public static DateTimeOffset Moment(long unixMs) => DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(
        unixMs, DateTimeOffset.MinValue.ToUnixTimeMilliseconds(), DateTimeOffset.MaxValue.ToUnixTimeMilliseconds()));

    /// <summary>Copies a payload, and corrects its time on the way.</summary>
    /// <param name="correctionMs">What to add to the time, in milliseconds; null marks the time as doubtful.</param>
    /// <returns>The bytes written.</returns>
    public static int Copy(
        ReadOnlySpan<byte> payload, Span<byte> destination, ref long recordedAtMs, long? correctionMs)
    {
        if (correctionMs == 0)
        {
            payload.CopyTo(destination);
            return payload.Length;
        }
        // A sensor's name can't hold this sequence: inside a JSON string its quotes would be escaped.
        var property = payload.IndexOf(TimeProperty);
        var time = property + TimeProperty.Length;
        var afterTime = time + ReadingEncoder.TimeLength + 1;
        if (property < 0 || afterTime > payload.Length)
        {
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
