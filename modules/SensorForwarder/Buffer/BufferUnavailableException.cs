namespace SensorForwarder.Buffer;

/// <summary>The buffer can't be used now. The message is one line: path, problem, remedy. The cause may be temporary,
/// so the caller should wait and retry.</summary>
internal sealed class BufferUnavailableException(string message, Exception? innerException = null)
    : Exception(message, innerException);
