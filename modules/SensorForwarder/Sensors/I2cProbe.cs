namespace SensorForwarder.Sensors;

/// <summary>How the doctor asks whether a chip is one of a kind. It changes nothing in the chip.</summary>
/// <param name="Write">A register or a command that only reads; empty: none.</param>
/// <param name="ReadLength">Bytes of the answer.</param>
/// <param name="Recognises">The answer is one that this kind gives.</param>
internal sealed record I2cProbe(byte[] Write, int ReadLength, Func<byte[], bool> Recognises)
{
    /// <summary>The chip has no register that says what it is: others would answer as well.</summary>
    public bool IsGuess { get; init; }
}
