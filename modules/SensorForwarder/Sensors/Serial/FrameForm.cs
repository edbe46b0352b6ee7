namespace SensorForwarder.Sensors.Serial;

/// <summary>The frame format of a device: a fixed header and a fixed length.</summary>
/// <param name="Length">The length of a frame, in bytes.</param>
/// <param name="IsIntact">Verifies checksum and trailer of a frame.</param>
internal sealed record FrameForm(byte[] Beginning, int Length, Func<byte[], bool> IsIntact)
{
    /// <summary>Returns the first intact frame among received bytes, which may contain partial frames and garbage; null
    /// if there is none.</summary>
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
