using System.Buffers;
using System.Collections;
using SensorForwarder.Readings;

namespace SensorForwarder.Intake;

/// <summary>The payloads of one request as they are stored, concatenated in rented memory. Valid until disposed. Not
/// thread-safe.</summary>
/// <param name="expectedBytes">The expected total size.</param>
internal sealed class PayloadList(int expectedBytes) : IReadOnlyList<ReadOnlyMemory<byte>>, IDisposable
{
    readonly List<int> _ends = [];
    byte[] _bytes = ArrayPool<byte>.Shared.Rent(Math.Max(256, expectedBytes));
    int _length;

    public int Count => _ends.Count;

    public int Bytes => _length;

    public ReadOnlyMemory<byte> this[int index]
    {
        get
        {
            var start = index == 0 ? 0 : _ends[index - 1];
            return _bytes.AsMemory(start, _ends[index] - start);
        }
    }

    /// <summary>Begins a payload. As with <see cref="ReadingEncoder"/>, the name is the first property.</summary>
    /// <param name="name">The name as JSON text, without quotes.</param>
    public void Begin(ReadOnlySpan<byte> name)
    {
        Write("{\"sensor\":\""u8);
        Write(name);
        Write("\""u8);
    }

    /// <summary>Writes a property.</summary>
    /// <param name="name">The name; contains nothing to escape.</param>
    /// <param name="json">The value.</param>
    public void Property(ReadOnlySpan<byte> name, ReadOnlySpan<byte> json)
    {
        Write(",\""u8);
        Write(name);
        Write("\":"u8);
        Write(json);
    }

    public void Time(DateTimeOffset time)
    {
        Span<byte> text = stackalloc byte[ReadingEncoder.TimeLength + 2];
        text[0] = text[^1] = (byte)'"';
        ReadingEncoder.FormatTime(time, text[1..^1]);
        Property("time"u8, text);
    }

    public void End()
    {
        Write("}"u8);
        _ends.Add(_length);
    }

    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (_length + bytes.Length > _bytes.Length)
        {
            var larger = ArrayPool<byte>.Shared.Rent(Math.Max(_length + bytes.Length, _bytes.Length * 2));
            _bytes.AsSpan(0, _length).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_bytes);
            _bytes = larger;
        }

        bytes.CopyTo(_bytes.AsSpan(_length));
        _length += bytes.Length;
    }

    /// <summary>Removes all payloads.</summary>
    public void Clear()
    {
        _ends.Clear();
        _length = 0;
    }

    public IEnumerator<ReadOnlyMemory<byte>> GetEnumerator()
    {
        for (var i = 0; i < Count; i++) yield return this[i];
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_bytes);
        _bytes = [];
        Clear();
    }
}
