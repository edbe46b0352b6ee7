namespace SensorForwarder.Buffer;

/// <summary>The volume can't be used now. The message is one line: the path, what is wrong, the remedy.
/// What made it may go away, so the caller waits and tries again.</summary>
internal sealed class BufferUnavailableException(string message, Exception? innerException = null)
    : Exception(message, innerException);
