using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>The reading will not be stored: refused (<see cref="WhenFull.RejectNew"/>), dropped from memory because the
/// volume was not writable for too long, or larger than <see cref="ReadingEncoder.MaxPayloadBytes"/>.</summary>
internal sealed class BufferRejectedException(string message) : Exception(message);
