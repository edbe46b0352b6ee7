namespace SensorForwarder.Net;

/// <summary>No TCP connection could be opened. The message is one line for people: the name that could not be resolved,
/// or the addresses that were tried and what came of each.</summary>
internal sealed class NotConnectedException(string message, Exception? inner = null) : Exception(message, inner);
