namespace SensorForwarder.Sensors.Serial;

/// <summary>The parity bit of each character.</summary>
internal enum SerialParity
{
    None,
    Even,
    Odd,
}

/// <summary>The format of characters of 8 data bits on a serial line.</summary>
/// <param name="StopBits">1 or 2.</param>
internal sealed record SerialFormat(int Baud, SerialParity Parity = SerialParity.None, int StopBits = 1)
{
    /// <summary>The transmission time of a number of characters, with start, parity and stop bits.</summary>
    public TimeSpan TimeOf(double characters) => TimeSpan.FromSeconds(
        characters * (9 + (Parity == SerialParity.None ? 0 : 1) + StopBits) / Baud);

    public override string ToString() => $"{Baud} baud, parity {Parity}, {StopBits} stop bits".ToLowerInvariant();
}
