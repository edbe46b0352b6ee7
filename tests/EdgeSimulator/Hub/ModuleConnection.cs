using System.Net;
using MQTTnet.Adapter;

namespace EdgeSimulator.Hub;

/// <summary>One accepted connection of the module. Called by the receiving and sending loops of MQTTnet's connection
/// and by all senders. Thread-safe.</summary>
internal sealed class ModuleConnection(EndPoint remote, IMqttChannelAdapter channel, DateTimeOffset tokenExpiry)
{
    readonly Lock _lock = new();
    readonly HashSet<string> _announced = new(StringComparer.Ordinal);

    public EndPoint Remote { get; } = remote;

    public PubackLine Pubacks { get; } = new(channel);

    public DateTimeOffset TokenExpiry { get; } = tokenExpiry;

    /// <summary>Why the simulator ended the connection. Null if it did not.</summary>
    public string? EndCause { get; set; }

    /// <summary>Registers a message sent on this connection. MQTTnet also redelivers messages of earlier connections,
    /// which edgeHub does not; these are suppressed.</summary>
    public void Announce(string topic)
    {
        lock (_lock)
        {
            _announced.Add(topic);
        }
    }

    public bool IsAnnounced(string topic)
    {
        lock (_lock)
        {
            return _announced.Remove(topic);
        }
    }
}
