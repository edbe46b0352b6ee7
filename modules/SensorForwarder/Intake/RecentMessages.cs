using System.Security.Cryptography;
using System.Text;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Intake;

/// <summary>
/// The last stored messages of one sender, to recognise messages that edgeHub redelivers (it delivers at least once). A
/// message is identified by its id together with its content, because some senders count from 1 again after a restart.
/// Not thread-safe.
/// </summary>
internal sealed class RecentMessages
{
    /// <summary>How many messages are remembered.</summary>
    public const int Max = 1_000;

    readonly HashSet<UInt128> _marks = [];
    readonly Queue<UInt128> _inOrder = new();

    /// <summary>A hash of input, properties (which include the id) and body.</summary>
    public static UInt128 MarkOf(InputMessage message)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(message.Input);
        foreach (var (name, value) in message.Properties)
        {
            Add(name);
            Add(value);
        }

        hash.AppendData(message.Body.Span);
        Span<byte> result = stackalloc byte[SHA256.HashSizeInBytes];
        hash.GetHashAndReset(result);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt128LittleEndian(result);

        // With the length, so that the boundary between two texts counts.
        void Add(string? text)
        {
            Span<byte> length = stackalloc byte[sizeof(int)];
            System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(length, text?.Length ?? -1);
            hash.AppendData(length);
            if (text is not null) hash.AppendData(Encoding.UTF8.GetBytes(text));
        }
    }

    public bool Contains(UInt128 mark) => _marks.Contains(mark);

    public void Add(UInt128 mark)
    {
        if (!_marks.Add(mark)) return;
        _inOrder.Enqueue(mark);
        if (_inOrder.Count > Max) _marks.Remove(_inOrder.Dequeue());
    }
}
