using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace SensorForwarder.Buffer;

/// <summary>
/// Encryption at rest: AES-256-GCM, a random nonce a payload, bound to the reading's id. A sealed payload is nonce (12),
/// tag (16), ciphertext, and stored as a BLOB; a plain one is TEXT. One thread at a time.
/// </summary>
internal sealed class PayloadCipher(byte[] key) : IDisposable
{
    const int NonceBytes = 12;
    const int TagBytes = 16;
    const int KeyBytes = 32;

    readonly AesGcm _aes = new(key, TagBytes);

    /// <summary>Reads a key: 32 raw bytes, 64 hex digits, or base64.</summary>
    /// <exception cref="BufferUnavailableException">There is no usable key in the file.</exception>
    public static byte[] ReadKey(string path)
    {
        byte[] content;
        try
        {
            content = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BufferUnavailableException($"{path}: the key can't be read ({e.Message}); check Buffer__KeyFile", e);
        }
        if (content.Length == KeyBytes)
            return content;
        var text = Encoding.ASCII.GetString(content).Trim();
        var key = new byte[KeyBytes];
        if (text.Length == 2 * KeyBytes && Convert.FromHexString(text, key, out _, out _) == System.Buffers.OperationStatus.Done)
            return key;
        if (Convert.TryFromBase64String(text, key, out var written) && written == KeyBytes)
            return key;
        throw new BufferUnavailableException(
            $"{path}: is no key of 32 bytes (raw, 64 hex digits, or base64); check Buffer__KeyFile");
    }

    /// <summary>Whether a stored payload was sealed. The type of the column says it as a rule, but one flipped bit makes
    /// a BLOB of a TEXT of the same length; a sealed payload begins at random.</summary>
    public static bool IsSealed(ReadOnlySpan<byte> stored, bool isBlob) =>
        isBlob && !stored.StartsWith("{\"sensor\":\""u8);

    public byte[] Seal(long id, ReadOnlySpan<byte> payload)
    {
        var sealedPayload = new byte[NonceBytes + TagBytes + payload.Length];
        var nonce = sealedPayload.AsSpan(0, NonceBytes);
        var tag = sealedPayload.AsSpan(NonceBytes, TagBytes);
        RandomNumberGenerator.Fill(nonce);
        Span<byte> bound = stackalloc byte[8];
        BinaryPrimitives.WriteInt64BigEndian(bound, id);
        _aes.Encrypt(nonce, payload, sealedPayload.AsSpan(NonceBytes + TagBytes), tag, bound);
        return sealedPayload;
    }

    /// <returns>Null when the payload was not sealed with this key and id, or was changed.</returns>
    public byte[]? Unseal(long id, ReadOnlySpan<byte> sealedPayload)
    {
        if (sealedPayload.Length < NonceBytes + TagBytes)
            return null;
        var payload = new byte[sealedPayload.Length - NonceBytes - TagBytes];
        Span<byte> bound = stackalloc byte[8];
        BinaryPrimitives.WriteInt64BigEndian(bound, id);
        try
        {
            _aes.Decrypt(
                sealedPayload[..NonceBytes], sealedPayload[(NonceBytes + TagBytes)..],
                sealedPayload.Slice(NonceBytes, TagBytes), payload, bound);
            return payload;
        }
        catch (AuthenticationTagMismatchException)
        {
            return null;
        }
    }

    public void Dispose() => _aes.Dispose();
}
