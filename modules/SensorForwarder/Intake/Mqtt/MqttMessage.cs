namespace SensorForwarder.Intake.Mqtt;

/// <summary>A message from a broker.</summary>
/// <param name="IsRetained">Whether the broker stored it before the module subscribed (MQTT's retain flag).</param>
/// <param name="ContentType">The content type from the sender; null: none.</param>
/// <param name="ArrivedAt">Wall-clock time of arrival.</param>
/// <param name="Acknowledge">Sends the PUBACK; null: the message has QoS 0.</param>
internal sealed record MqttMessage(
    string Topic, ReadOnlyMemory<byte> Payload, bool IsRetained, string? ContentType, DateTimeOffset ArrivedAt,
    Func<CancellationToken, Task>? Acknowledge)
{
    /// <summary>Monotonic time of arrival.</summary>
    public long ArrivedTimestamp { get; init; }

    /// <summary>Roughly the memory that the message takes until it is acknowledged.</summary>
    public int Bytes { get; init; }
}
