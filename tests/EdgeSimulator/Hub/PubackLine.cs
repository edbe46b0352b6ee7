using MQTTnet.Adapter;
using MQTTnet.Packets;
using MQTTnet.Server;

namespace EdgeSimulator.Hub;

/// <summary>What is to become of a PUBACK.</summary>
internal enum PubackFate
{
    Send,
    Lose,
    SwapWithNext,
}

/// <summary>
/// The PUBACKs of one connection on their way out. MQTTnet sends them in the order of the PUBLISHes, so a queue is enough to know
/// which message each belongs to. Written by the receiving loop of MQTTnet's connection, read by its sending one.
/// </summary>
internal sealed class PubackLine(IMqttChannelAdapter channel)
{
    readonly Lock _lock = new();
    readonly Queue<(PubackFate Fate, Action? Acknowledged)> _expected = new();

    // Held back, to be sent after the next one. Sending loop only.
    MqttPubAckPacket? _held;

    /// <summary>Says what shall become of the PUBACK of the QoS 1 message being handled.</summary>
    public void Expect(PubackFate fate, Action? acknowledged)
    {
        lock (_lock)
        {
            _expected.Enqueue((fate, acknowledged));
        }
    }

    /// <summary>A PUBACK is about to go out: lets it pass, drops it, or changes places with the next one.</summary>
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
