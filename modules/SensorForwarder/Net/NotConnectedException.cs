namespace SensorForwarder.Net;

/// <summary>No TCP connection could be opened. The message is one line: the name that could not be resolved,
/// or each address that was tried, with its error.</summary>
internal sealed class NotConnectedException(string message, Exception? inner = null) : Exception(message, inner);
