using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace SensorForwarder.Buffer;

/// <summary>
/// Encryption at rest: AES-256-GCM, a random nonce a text, bound to where it stands: a payload to its reading's id, an
/// answer to the id of its dead letter, a document to its name. Sealed is nonce (12), tag (16), ciphertext. A sealed
/// payload or answer is a BLOB, a plain one TEXT; a sealed document begins with a mark. One thread at a time.
/// </summary>
internal sealed class PayloadCipher(ReadOnlySpan<byte> key) : IDisposable
{
    const int NonceBytes = 12;
    const int TagBytes = 16;

    static ReadOnlySpan<byte> DocumentMark => "SFsealed"u8;

    static ReadOnlySpan<byte> CheckText => "SensorForwarder"u8;

    readonly AesGcm _aes = new(key, TagBytes);

    /// <summary>Whether a stored payload was sealed. The type of the column says it as a rule, but one flipped bit
    /// makes a BLOB of a TEXT of the same length; a sealed payload begins at random.</summary>
    public static bool IsSealed(ReadOnlySpan<byte> stored, bool isBlob) =>
        isBlob && !stored.StartsWith("{\"sensor\":\""u8);

    /// <summary>A sealed text that is known: shows a wrong key before anything is written or given up because of it.
    /// </summary>
    public string MakeCheck() => Convert.ToBase64String(Seal(0, CheckText));

    /// <summary>Whether <see cref="MakeCheck"/> was made with this key.</summary>
    public bool Fits(string check)
    {
        var stored = new byte[check.Length];
        return Convert.TryFromBase64String(check, stored, out var bytes)
            && Unseal(0, stored.AsSpan(0, bytes)) is { } text && CheckText.SequenceEqual(text);
    }

    public byte[] Seal(long id, ReadOnlySpan<byte> payload) => SealBound(Bound(id), payload);

    /// <returns>Null when the payload was not sealed with this key and id, or was changed.</returns>
    public byte[]? Unseal(long id, ReadOnlySpan<byte> stored) => UnsealBound(Bound(id), stored);

    public byte[] SealAnswer(long id, string answer) => SealBound(Bound(~id), Encoding.UTF8.GetBytes(answer));

    /// <returns>Null when it can't be unsealed.</returns>
    public string? UnsealAnswer(long id, ReadOnlySpan<byte> stored) =>
        UnsealBound(Bound(~id), stored) is { } answer ? Encoding.UTF8.GetString(answer) : null;

    public static bool IsSealedDocument(ReadOnlySpan<byte> stored) => stored.StartsWith(DocumentMark);

    public byte[] SealDocument(string name, ReadOnlySpan<byte> content) =>
        [.. DocumentMark, .. SealBound(Encoding.UTF8.GetBytes(name), content)];

    /// <returns>Null when it can't be unsealed.</returns>
    public byte[]? UnsealDocument(string name, ReadOnlySpan<byte> stored) =>
        UnsealBound(Encoding.UTF8.GetBytes(name), stored[DocumentMark.Length..]);

    public void Dispose() => _aes.Dispose();

    static byte[] Bound(long id)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteInt64BigEndian(bytes, id);
        return bytes;
    }

    byte[] SealBound(byte[] bound, ReadOnlySpan<byte> plain)
    {
        var stored = new byte[NonceBytes + TagBytes + plain.Length];
        var nonce = stored.AsSpan(0, NonceBytes);
        RandomNumberGenerator.Fill(nonce);
        _aes.Encrypt(
            nonce, plain, stored.AsSpan(NonceBytes + TagBytes), stored.AsSpan(NonceBytes, TagBytes), bound);
        return stored;
    }

    byte[]? UnsealBound(byte[] bound, ReadOnlySpan<byte> stored)
    {
        if (stored.Length < NonceBytes + TagBytes)
            return null;
        var plain = new byte[stored.Length - NonceBytes - TagBytes];
        try
        {
            _aes.Decrypt(
                stored[..NonceBytes], stored[(NonceBytes + TagBytes)..],
                stored.Slice(NonceBytes, TagBytes), plain, bound);
            return plain;
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }
    }
}
