namespace SensorForwarder.Intake.Mqtt;

/// <summary>
/// A stream that fails when the broker announces a packet above the limit: MQTTnet would allocate up to 256 MB before
/// the first byte of the packet arrives. Parses only the lengths of packets. Reading and writing may overlap; otherwise
/// not thread-safe.
/// </summary>
internal sealed class PacketLimit(Stream inner, int maxBytes) : Stream
{
    // The position of the next byte: -1: the first byte of a packet; otherwise the number of length digits read.
    int _lengthDigits = -1;
    int _length;
    int _bodyLeft;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <exception cref="IOException">The connection failed, or a packet is too large.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await inner.ReadAsync(buffer, cancellationToken);
        Follow(buffer.Span[..count]);
        return count;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count)
    {
        var read = inner.Read(buffer, offset, count);
        Follow(buffer.AsSpan(offset, read));
        return read;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.WriteAsync(buffer, cancellationToken);

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        inner.WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Write(byte[] buffer, int offset, int count) => inner.Write(buffer, offset, count);

    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    public override void Flush() => inner.Flush();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    // MQTT 5, section 2.1.4: the length follows the first byte, seven bits a byte, lowest first, at most four bytes.
    void Follow(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            if (_bodyLeft > 0)
            {
                var here = Math.Min(_bodyLeft, bytes.Length);
                _bodyLeft -= here;
                bytes = bytes[here..];
                continue;
            }

            var next = bytes[0];
            bytes = bytes[1..];
            if (_lengthDigits < 0)
            {
                (_lengthDigits, _length) = (0, 0);
                continue;
            }

            // MQTTnet refuses a length of more than four bytes.
            if (_lengthDigits < 4) _length |= (next & 0x7F) << (7 * _lengthDigits);
            _lengthDigits++;
            if (_length > maxBytes)
                throw new IOException($"it sends a packet of at least {_length} bytes; the limit is {maxBytes}");
            if ((next & 0x80) != 0) continue;
            (_bodyLeft, _lengthDigits) = (_length, -1);
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing) inner.Dispose();
        base.Dispose(disposing);
    }
}
