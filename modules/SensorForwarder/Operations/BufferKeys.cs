using System.Security.Cryptography;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Operations;

/// <summary>
/// Where the buffer's key comes from: a file of the user's, or one that IoT Edge's workload API wraps. The wrapped one
/// is made at the first start and kept beside the database; only the same device unwraps it.
/// </summary>
internal static class BufferKeys
{
    public const string WrappedName = "telemetry.key";

    const string Remedy = "put back the one that was there, or move telemetry.db away as well";

    /// <summary>The key, or null when nothing is to be encrypted.</summary>
    /// <exception cref="BufferUnavailableException">It can't be had now; the message says what to do.</exception>
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
                $"{path}: is no wrapped key ({exception.Message}); {Remedy}", exception);
        }
    }

    // On the medium before anything is encrypted with it.
    static async Task<byte[]> MakeAsync(WorkloadApi workload, string path, CancellationToken cancellationToken)
    {
        var directory = Path.GetDirectoryName(path)!;
        if (TelemetryBuffer.IsEncrypted(directory))
            throw new BufferUnavailableException($"{path}: is gone, and telemetry.db was encrypted with it; {Remedy}");
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
