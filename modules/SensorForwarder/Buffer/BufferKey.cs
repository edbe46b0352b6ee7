using System.Buffers;
using System.Text;

namespace SensorForwarder.Buffer;

/// <summary>The key for encryption at rest.</summary>
/// <param name="Bytes">32 bytes.</param>
/// <param name="Source">The path that it was read from, for messages.</param>
internal sealed record BufferKey(ReadOnlyMemory<byte> Bytes, string Source)
{
    public const int Length = 32;

    /// <summary>Reads a key: 32 raw bytes, 64 hex digits, or base64.</summary>
    /// <exception cref="BufferUnavailableException">The file is unreadable or holds no valid key.</exception>
    public static BufferKey Read(string path)
    {
        byte[] content;
        try
        {
            content = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BufferUnavailableException(
                $"{path}: the key can't be read ({e.Message}); check Buffer__KeyFile", e);
        }
        if (content.Length == Length)
            return new BufferKey(content, path);
        var text = Encoding.ASCII.GetString(content).Trim();
        var key = new byte[Length];
        if (text.Length == 2 * Length && Convert.FromHexString(text, key, out _, out _) == OperationStatus.Done)
            return new BufferKey(key, path);
        if (Convert.TryFromBase64String(text, key, out var written) && written == Length)
            return new BufferKey(key, path);
        throw new BufferUnavailableException(
            $"{path}: is not a key of {Length} bytes (raw, {2 * Length} hex digits, or base64); check Buffer__KeyFile");
    }

    // The generated ToString would print the key.
    public override string ToString() => Source;
}
