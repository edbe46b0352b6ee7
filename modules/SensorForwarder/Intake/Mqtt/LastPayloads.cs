using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>The last payload of each topic, to ignore a retained message that the broker sends again. Keeps hashes, of
/// a bounded number of topics. Not thread-safe: used by one connection at a time.</summary>
internal sealed class LastPayloads
{
    const int MaxTopics = 10_000;

    readonly Dictionary<ulong, ulong> _byTopic = [];

    public void Note(MqttMessage message)
    {
        var topic = Hash(Encoding.UTF8.GetBytes(message.Topic));
        if (_byTopic.Count < MaxTopics || _byTopic.ContainsKey(topic)) _byTopic[topic] = Hash(message.Payload.Span);
    }

    /// <summary>Whether the payload is the last one of its topic.</summary>
    public bool IsKnown(MqttMessage message) =>
        _byTopic.TryGetValue(Hash(Encoding.UTF8.GetBytes(message.Topic)), out var last)
        && last == Hash(message.Payload.Span);

    static ulong Hash(ReadOnlySpan<byte> bytes)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(bytes, hash);
        return BinaryPrimitives.ReadUInt64LittleEndian(hash);
    }
}
