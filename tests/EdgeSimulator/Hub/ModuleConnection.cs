using System.Net;
using MQTTnet.Adapter;

namespace EdgeSimulator.Hub;

/// <summary>One accepted connection of the module, from CONNACK to its end. Its members are called by the two loops of MQTTnet's
/// connection, and by whoever sends; it locks itself.</summary>
internal sealed class ModuleConnection(EndPoint remote, IMqttChannelAdapter channel, DateTimeOffset tokenExpiry)
{
    readonly Lock _lock = new();
    readonly HashSet<string> _announced = new(StringComparer.Ordinal);

    public EndPoint Remote { get; } = remote;

    public PubackLine Pubacks { get; } = new(channel);

    public DateTimeOffset TokenExpiry { get; } = tokenExpiry;

    /// <summary>Why it ended, if that was the simulator's doing.</summary>
    public string? EndCause { get; set; }

    /// <summary>Notes a message meant for this connection. MQTTnet would deliver one of an earlier connection again; edgeHub forgets it.</summary>
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
