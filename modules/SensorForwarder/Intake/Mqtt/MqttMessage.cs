namespace SensorForwarder.Intake.Mqtt;

/// <summary>A message of a broker.</summary>
/// <param name="Topic">Its topic.</param>
/// <param name="Payload">What it holds.</param>
/// <param name="IsRetained">The broker kept it from before we asked for its topic.</param>
/// <param name="ContentType">What the sender says that it is; null: nothing.</param>
/// <param name="ArrivedAt">When it came.</param>
/// <param name="Acknowledge">Acknowledges it to the broker; null: the broker does not wait for that.</param>
internal sealed record MqttMessage(
    string Topic, ReadOnlyMemory<byte> Payload, bool IsRetained, string? ContentType, DateTimeOffset ArrivedAt,
    Func<CancellationToken, Task>? Acknowledge)
{
    /// <summary><see cref="ArrivedAt"/> by the clock that never steps.</summary>
    public long ArrivedTimestamp { get; init; }

    /// <summary>About how much memory it takes until it is acknowledged.</summary>
    public int Bytes { get; init; }
}
