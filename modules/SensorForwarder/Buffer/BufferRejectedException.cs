using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>The reading will not be stored: the buffer is full (<see cref="WhenFull.RejectNew"/>), the volume was not
/// writable for so long that newer readings filled the memory, the payload is larger than
/// <see cref="ReadingEncoder.MaxPayloadBytes"/>, or a request found no room or a volume that is not writable.</summary>
internal sealed class BufferRejectedException(string message) : Exception(message);
