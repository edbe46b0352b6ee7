namespace SensorForwarder.Buffer;

/// <summary>The volume can't be used now. The message is one line: the path, what is wrong, the remedy.
/// What made it may go away, so the caller waits and tries again.</summary>
internal sealed class BufferUnavailableException(string message, Exception? innerException = null)
    : Exception(message, innerException);

/// <summary>The reading was not stored and will not be: refused (<see cref="WhenFull.RejectNew"/>), given up because
/// the volume took nothing for too long, or larger than <see cref="ReadingEncoder.MaxPayloadBytes"/>.</summary>
internal sealed class BufferRejectedException(string message) : Exception(message);
