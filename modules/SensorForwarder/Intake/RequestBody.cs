using System.Buffers;
using System.Buffers.Binary;
using System.IO.Compression;
using Microsoft.AspNetCore.Http;

namespace SensorForwarder.Intake;

/// <summary>The decompressed body of a request, in rented memory that is returned when the body is disposed. Not
/// thread-safe.</summary>
/// <param name="room">The memory limit of all bodies together.</param>
internal sealed class RequestBody(BodyRoom room) : IDisposable
{
    const int FirstBytes = 16 << 10;

    byte[] _bytes = [];
    int _length;

    public ReadOnlyMemory<byte> Bytes => _bytes.AsMemory(0, _length);

    /// <summary>Reads the whole body.</summary>
    /// <returns>Why the body could not be read; null: it was read.</returns>
    public async Task<IntakeAnswer?> ReadAsync(HttpRequest request, CancellationToken cancellationToken)
    {
        var encoding = request.Headers.ContentEncoding.ToString();
        var isGzip = encoding.Equals("gzip", StringComparison.OrdinalIgnoreCase);
        if (!isGzip && encoding.Length > 0 && !encoding.Equals("identity", StringComparison.OrdinalIgnoreCase))
            return IntakeAnswer.Malformed("its Content-Encoding is neither gzip nor identity");
        if (!Grow((int)Math.Min(request.ContentLength ?? 0, IntakeLimits.MaxRequestBytes) + 1)) return NoRoom();
        if (await ReadAsync(request.Body, cancellationToken) is { } problem)
        {
            // Reads the rest: a client that is disconnected while it sends does not see the answer. Kestrel has a
            // limit.
            if (problem.Outcome != IntakeOutcome.TooLarge) return problem;
            while (await request.Body.ReadAsync(_bytes, cancellationToken) > 0)
            {
                // Discarded.
            }

            return problem;
        }

        return isGzip ? await UnpackAsync(cancellationToken) : null;
    }

    public void Dispose()
    {
        if (_bytes.Length == 0) return;
        ArrayPool<byte>.Shared.Return(_bytes);
        room.Return(_bytes.Length);
        _bytes = [];
    }

    async Task<IntakeAnswer?> ReadAsync(Stream stream, CancellationToken cancellationToken)
    {
        while (await stream.ReadAsync(_bytes.AsMemory(_length), cancellationToken) is > 0 and var read)
        {
            _length += read;
            if (_length > IntakeLimits.MaxRequestBytes) return TooLarge();
            if (_length == _bytes.Length && !Grow(_length * 2)) return NoRoom();
        }

        return null;
    }

    async Task<IntakeAnswer?> UnpackAsync(CancellationToken cancellationToken)
    {
        using var packed = new RequestBody(room) { _bytes = _bytes, _length = _length };
        (_bytes, _length) = ([], 0);
        if (!Grow(Math.Min(packed._length * 4, IntakeLimits.MaxRequestBytes + 1))) return NoRoom();
        try
        {
            using var stream = new MemoryStream(packed._bytes, 0, packed._length);
            await using var gzip = new GZipStream(stream, CompressionMode.Decompress);
            if (await ReadAsync(gzip, cancellationToken) is { } problem) return problem;
        }
        catch (InvalidDataException)
        {
            return NotGzip();
        }

        // The decoder accepts a truncated stream, but then the length in its last four bytes is wrong.
        return packed._length > 18 && BinaryPrimitives.ReadUInt32LittleEndian(
            packed._bytes.AsSpan(packed._length - 4)) == (uint)_length ? null : NotGzip();
    }

    static IntakeAnswer NotGzip() => IntakeAnswer.Malformed("the body is not valid gzip, or is incomplete");

    public static IntakeAnswer TooLarge() =>
        IntakeAnswer.TooLarge($"the body has more than {IntakeLimits.MaxRequestBytes} bytes; send several requests");

    static IntakeAnswer NoRoom() => IntakeAnswer.Wait("too many large requests at once");

    bool Grow(int bytes)
    {
        var larger = ArrayPool<byte>.Shared.Rent(Math.Max(FirstBytes, bytes));
        if (!room.TryTake(larger.Length))
        {
            ArrayPool<byte>.Shared.Return(larger);
            return false;
        }

        Bytes.CopyTo(larger);
        Dispose();
        _bytes = larger;
        return true;
    }
}

/// <summary>A limit for the memory that bodies or messages take together. Thread-safe.</summary>
internal sealed class BodyRoom(long maxBytes)
{
    long _taken;

    public bool TryTake(int bytes)
    {
        if (Interlocked.Add(ref _taken, bytes) <= maxBytes) return true;
        Return(bytes);
        return false;
    }

    public void Return(int bytes) => Interlocked.Add(ref _taken, -bytes);
}
