using MQTTnet.Adapter;
using MQTTnet.Packets;
using MQTTnet.Server;

namespace EdgeSimulator.Hub;

/// <summary>What to do with a PUBACK.</summary>
internal enum PubackFate
{
    Send,
    Lose,
    SwapWithNext,
}

/// <summary>
/// Applies faults to the outgoing PUBACKs of one connection. MQTTnet sends them in the order of the PUBLISH packets, so
/// a queue matches them to messages. Written by the receiving loop of MQTTnet's connection, read by its sending loop.
/// </summary>
internal sealed class PubackLine(IMqttChannelAdapter channel)
{
    readonly Lock _lock = new();
    readonly Queue<(PubackFate Fate, Action? Acknowledged)> _expected = new();

    // Delayed, to be sent after the next PUBACK. Used only by the sending loop.
    MqttPubAckPacket? _held;

    /// <summary>Enqueues the fate of the PUBACK of the QoS 1 message being processed, and the action to run when it is
    /// sent.</summary>
    public void Expect(PubackFate fate, Action? acknowledged)
    {
        lock (_lock)
        {
            _expected.Enqueue((fate, acknowledged));
        }
    }

    /// <summary>Called before a PUBACK is sent: sends it, drops it, or swaps it with the next one.</summary>
    public async Task PassAsync(MqttPubAckPacket puback, InterceptingPacketEventArgs e)
    {
        var (fate, acknowledged) = Next();
        if (fate == PubackFate.Lose)
        {
            e.ProcessPacket = false;
            return;
        }

        acknowledged?.Invoke();
        if (fate == PubackFate.SwapWithNext && _held is null)
        {
            _held = puback;
            e.ProcessPacket = false;
        }
        else if (_held is { } held)
        {
            _held = null;
            await channel.SendPacketAsync(puback, e.CancellationToken).ConfigureAwait(false);
            e.Packet = held;
        }
    }

    (PubackFate Fate, Action? Acknowledged) Next()
    {
        lock (_lock)
        {
            return _expected.TryDequeue(out var next) ? next : (PubackFate.Send, null);
        }
    }
}
