using System.Net;
using MQTTnet.Adapter;
using MQTTnet.Packets;

namespace EdgeSimulator.Hub;

/// <summary>What is to become of a PUBACK.</summary>
internal enum PubackFate
{
    Send,
    Lose,
    SwapWithNext,
}

/// <summary>One accepted connection of the module, from CONNACK to its end. Its members are called by the two loops of MQTTnet's
/// connection, and by whoever sends; it locks itself.</summary>
internal sealed class ModuleConnection(EndPoint remote, IMqttChannelAdapter channel, DateTimeOffset tokenExpiry)
{
    readonly Lock _lock = new();
    readonly Queue<(PubackFate Fate, Action? Acknowledged)> _pubacks = new();
    readonly HashSet<string> _announced = new(StringComparer.Ordinal);

    public EndPoint Remote { get; } = remote;

    public IMqttChannelAdapter Channel { get; } = channel;

    public DateTimeOffset TokenExpiry { get; } = tokenExpiry;

    /// <summary>Why it ended, if that was the simulator's doing.</summary>
    public string? EndCause { get; set; }

    /// <summary>A PUBACK held back, to be sent after the next one.</summary>
    public MqttPubAckPacket? HeldPuback { get; set; }

    /// <summary>Says what shall become of the PUBACK of the QoS 1 message being handled. MQTTnet sends PUBACKs in the order of the
    /// PUBLISHes, so a queue is enough.</summary>
    public void ExpectPuback(PubackFate fate, Action? acknowledged)
    {
        lock (_lock)
        {
            _pubacks.Enqueue((fate, acknowledged));
        }
    }

    public (PubackFate Fate, Action? Acknowledged) NextPuback()
    {
        lock (_lock)
        {
            return _pubacks.TryDequeue(out var next) ? next : (PubackFate.Send, null);
        }
    }

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
