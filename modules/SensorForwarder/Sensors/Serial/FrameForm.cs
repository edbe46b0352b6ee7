namespace SensorForwarder.Sensors.Serial;

/// <summary>The form of the frames that a device sends: all begin alike and have the same length.</summary>
/// <param name="Beginning">Their first bytes.</param>
/// <param name="Length">Bytes of a frame.</param>
/// <param name="IsIntact">Whether the checksum of a frame is right, and its end.</param>
internal sealed record FrameForm(byte[] Beginning, int Length, Func<byte[], bool> IsIntact)
{
    /// <summary>The first intact frame in what has come, which may begin and end with parts of others, or hold garbage;
    /// null: there is none.</summary>
    public byte[]? Find(ReadOnlySpan<byte> bytes)
    {
        for (var start = 0; start + Length <= bytes.Length; start++)
        {
            var candidate = bytes.Slice(start, Length);
            if (!candidate.StartsWith(Beginning)) continue;
            var frame = candidate.ToArray();
            if (IsIntact(frame)) return frame;
        }

        return null;
    }

    public static int Sum(ReadOnlySpan<byte> bytes)
    {
        var sum = 0;
        foreach (var value in bytes) sum += value;
        return sum;
    }
}
