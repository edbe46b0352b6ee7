using System.Security.Cryptography;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Operations;

/// <summary>
/// Gets the buffer's key: the user's, from a file, or the module's own, wrapped by IoT Edge's workload API. The wrapped
/// key is created at the first start and stored beside the database; only the same device can unwrap it. Used at the
/// start of the module and by the command line.
/// </summary>
internal static class BufferKeys
{
    public const string WrappedName = "telemetry.key";

    const string Remedy = "restore the previous file, or move telemetry.db away as well";

    /// <summary>The key; null: the buffer is not encrypted.</summary>
    /// <exception cref="BufferUnavailableException">The key is not available; the message says what to do.</exception>
    public static async Task<BufferKey?> GetAsync(
        BootOptions boot, TimeProvider timeProvider, Random random, CancellationToken cancellationToken)
    {
        if (!boot.WrapsBufferKey) return boot.BufferKeyFile is { } file ? BufferKey.Read(file) : null;
        using var workload = new WorkloadApi(boot.Identity!.Workload!, timeProvider, random, retriesMax: 0);
        var path = Path.Combine(Path.GetFullPath(boot.BufferDirectory), WrappedName);
        try
        {
            var key = ReadWrapped(path) is { } wrapped
                ? await workload.DecryptAsync(wrapped, cancellationToken)
                : await MakeAsync(workload, path, cancellationToken);
            return key.Length == BufferKey.Length
                ? new(key, path)
                : throw new BufferUnavailableException(
                    $"{path}: holds {key.Length} bytes, a key has {BufferKey.Length}; {Remedy}");
        }
        catch (WorkloadApiException exception)
        {
            throw new BufferUnavailableException($"{path}: {exception.Message}", exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BufferUnavailableException(
                $"{path}: {exception.Message}; {VolumeAccess.Explain(Path.GetDirectoryName(path)!)}", exception);
        }
    }

    static WrappedBytes? ReadWrapped(string path)
    {
        if (!File.Exists(path)) return null;
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            return new(
                json.RootElement.GetProperty("generationId").GetString()!,
                json.RootElement.GetProperty("initializationVector").GetBytesFromBase64(),
                json.RootElement.GetProperty("ciphertext").GetBytesFromBase64());
        }
        catch (Exception exception) when (
            exception is JsonException or KeyNotFoundException or FormatException or InvalidOperationException)
        {
            throw new BufferUnavailableException(
                $"{path}: is not a wrapped key ({exception.Message}); {Remedy}", exception);
        }
    }

    // The key is on the medium before anything is encrypted with it.
    static async Task<byte[]> MakeAsync(WorkloadApi workload, string path, CancellationToken cancellationToken)
    {
        var directory = Path.GetDirectoryName(path)!;
        if (TelemetryBuffer.IsEncrypted(directory))
            throw new BufferUnavailableException(
                $"{path}: is missing, but telemetry.db was encrypted with it; {Remedy}");
        var key = RandomNumberGenerator.GetBytes(BufferKey.Length);
        var wrapped = await workload.EncryptAsync(key, cancellationToken);
        var json = new MemoryStream();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteString("generationId", wrapped.GenerationId);
            writer.WriteBase64String("initializationVector", wrapped.InitializationVector);
            writer.WriteBase64String("ciphertext", wrapped.Ciphertext);
            writer.WriteEndObject();
        }

        var files = new VolumeFiles(directory, null);
        files.CreateDirectory();
        files.WritePrivate(path, json.ToArray());
        return key;
    }
}
