namespace SensorForwarder.Buffer;

/// <summary>The reading was not stored and will not be: refused (<see cref="WhenFull.RejectNew"/>), given up because
/// the volume took nothing for too long, or larger than <see cref="ReadingEncoder.MaxPayloadBytes"/>.</summary>
internal sealed class BufferRejectedException(string message) : Exception(message);
