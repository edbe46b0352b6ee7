using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace SensorForwarder.Buffer;

/// <summary>
/// Encryption at rest: AES-256-GCM with a random nonce per item. The associated data binds an item to its place: a
/// segment to its ids, a dead letter and its answer to the reading's id, a document to its name. Format: nonce (12),
/// tag (16), ciphertext; a document begins with a mark. In a file with a key, unsealed content is treated as damage.
/// Not thread-safe.
/// </summary>
internal sealed class Cipher(ReadOnlySpan<byte> key) : IDisposable
{
    const int NonceBytes = 12;
    const int TagBytes = 16;

    static ReadOnlySpan<byte> DocumentMark => "SFsealed"u8;

    static ReadOnlySpan<byte> CheckText => "SensorForwarder"u8;

    readonly AesGcm _aes = new(key, TagBytes);

    public static Cipher? For(BufferKey? key) => key is null ? null : new(key.Bytes.Span);

    /// <summary>Seals a known text, so that a wrong key is detected before anything is written or treated as
    /// damage.</summary>
    public string MakeCheck() => Convert.ToBase64String(Seal(0, CheckText));

    /// <summary>Whether <see cref="MakeCheck"/> was made with this key.</summary>
    public bool Fits(string check)
    {
        var stored = new byte[check.Length];
        return Convert.TryFromBase64String(check, stored, out var bytes)
            && Unseal(0, stored.AsSpan(0, bytes)) is { } text && CheckText.SequenceEqual(text);
    }

    public byte[] SealSegment(Segment segment, ReadOnlySpan<byte> body) => Seal(AssociatedData(segment), body);

    /// <returns>Null when the body was not sealed with this key and ids, or was modified.</returns>
    public byte[]? UnsealSegment(Segment segment, ReadOnlySpan<byte> stored) => Unseal(AssociatedData(segment), stored);

    public byte[] SealState(QueueState state) => Seal("state"u8.ToArray(), Encoding.UTF8.GetBytes(state.Write()));

    /// <returns>Null when it can't be unsealed.</returns>
    public QueueState? UnsealState(ReadOnlySpan<byte> stored) => Unseal("state"u8.ToArray(), stored) is { } text
        ? QueueState.TryParse(Encoding.UTF8.GetString(text))
        : null;

    public byte[] Seal(long id, ReadOnlySpan<byte> payload) => Seal(AssociatedData(id), payload);

    /// <returns>Null when the payload was not sealed with this key and id, or was modified.</returns>
    public byte[]? Unseal(long id, ReadOnlySpan<byte> stored) => Unseal(AssociatedData(id), stored);

    public byte[] SealAnswer(long id, string answer) => Seal(AssociatedData(~id), Encoding.UTF8.GetBytes(answer));

    /// <returns>Null when it can't be unsealed.</returns>
    public string? UnsealAnswer(long id, ReadOnlySpan<byte> stored) =>
        Unseal(AssociatedData(~id), stored) is { } answer ? Encoding.UTF8.GetString(answer) : null;

    public static bool IsSealedDocument(ReadOnlySpan<byte> stored) => stored.StartsWith(DocumentMark);

    public byte[] SealDocument(string name, ReadOnlySpan<byte> content) =>
        [.. DocumentMark, .. Seal(Encoding.UTF8.GetBytes(name), content)];

    /// <returns>Null when it can't be unsealed.</returns>
    public byte[]? UnsealDocument(string name, ReadOnlySpan<byte> stored) => !IsSealedDocument(stored)
        ? null
        : Unseal(Encoding.UTF8.GetBytes(name), stored[DocumentMark.Length..]);

    public void Dispose() => _aes.Dispose();

    static byte[] AssociatedData(Segment segment) => Encoding.ASCII.GetBytes(string.Create(
        CultureInfo.InvariantCulture, $"segment {segment.FirstId} {segment.LastId} {segment.Readings}"));

    static byte[] AssociatedData(long id)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteInt64BigEndian(bytes, id);
        return bytes;
    }

    byte[] Seal(byte[] associatedData, ReadOnlySpan<byte> plain)
    {
        var stored = new byte[NonceBytes + TagBytes + plain.Length];
        var nonce = stored.AsSpan(0, NonceBytes);
        RandomNumberGenerator.Fill(nonce);
        _aes.Encrypt(
            nonce, plain, stored.AsSpan(NonceBytes + TagBytes), stored.AsSpan(NonceBytes, TagBytes), associatedData);
        return stored;
    }

    byte[]? Unseal(byte[] associatedData, ReadOnlySpan<byte> stored)
    {
        if (stored.Length < NonceBytes + TagBytes)
            return null;
        var plain = new byte[stored.Length - NonceBytes - TagBytes];
        try
        {
            _aes.Decrypt(
                stored[..NonceBytes], stored[(NonceBytes + TagBytes)..],
                stored.Slice(NonceBytes, TagBytes), plain, associatedData);
            return plain;
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }
    }
}
