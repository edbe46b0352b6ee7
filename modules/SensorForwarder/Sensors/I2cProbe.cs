namespace SensorForwarder.Sensors;

/// <summary>How the doctor recognises a chip of a kind, without changing the chip.</summary>
/// <param name="Write">A register or a command that only reads; empty: none.</param>
/// <param name="ReadLength">Bytes of the answer.</param>
/// <param name="Recognises">Whether the answer is typical of this kind.</param>
internal sealed record I2cProbe(byte[] Write, int ReadLength, Func<byte[], bool> Recognises)
{
    /// <summary>The chip has no id register, so other chips could answer in the same way.</summary>
    public bool IsGuess { get; init; }
}
