using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Shorthand for ranges of ids.</summary>
internal static class AcknowledgedRange
{
    public static Task AcknowledgeAsync(
        this TelemetryBuffer buffer, long firstId, long lastId, CancellationToken cancellationToken) =>
        buffer.AcknowledgeAsync(IdSet.Of(firstId, lastId), cancellationToken);
}

/// <summary>A temporary directory, and helpers for tests of the buffer.</summary>
/// <param name="inMemory">Use /dev/shm, for tests that create many files.</param>
internal sealed class BufferFixture(bool inMemory = false) : IDisposable
{
    public static readonly DateTimeOffset Noon = new(2026, 11, 24, 12, 0, 0, TimeSpan.Zero);

    /// <summary>Commits immediately, without a commit interval.</summary>
    public static readonly BufferLimits AtOnce = new() { CommitInterval = TimeSpan.Zero };

    // In memory; tests/run checks there for files left behind.
    static readonly string Prefix = Path.GetFileName(Environment.GetEnvironmentVariable("TEST_RUN") ?? "buffer");

    public string Directory { get; } = inMemory && System.IO.Directory.Exists("/dev/shm")
        ? System.IO.Directory.CreateDirectory($"/dev/shm/{Prefix}-{Guid.NewGuid():N}").FullName
        : System.IO.Directory.CreateTempSubdirectory("buffer-").FullName;

    public string DatabasePath => Path.Combine(Directory, "telemetry.db");

    public static CancellationToken Token => TestContext.Current.CancellationToken;

    public static Reading Reading(int number, string sensor = "attic") => new()
    {
        Sensor = sensor,
        Kind = "simulated",
        Time = Noon.AddSeconds(number),
        Values = [new("temperature", 20 + (number % 100 / 100.0)), new("number", number)],
    };

    /// <summary>A reading that does not compress, to fill a small buffer quickly.</summary>
    public static Reading Incompressible(int number, string sensor = "attic")
    {
        var noise = new byte[96];
        System.Security.Cryptography.RandomNumberGenerator.Fill(noise);
        return Reading(number, sensor) with { Label = Convert.ToBase64String(noise) };
    }

    public static string Text(BufferedReading reading) => Encoding.UTF8.GetString(reading.Payload.Span);

    /// <summary>All waiting readings, read in batches.</summary>
    public static List<BufferedReading> ReadAll(TelemetryBuffer buffer, int batch = 500)
    {
        var all = new List<BufferedReading>();
        while (buffer.PeekBatch(all.Count == 0 ? 0 : all[^1].Id, batch, 1 << 20) is { Count: > 0 } rows)
            all.AddRange(rows);
        return all;
    }

    /// <summary>All readings in the file, including delivered ones.</summary>
    public static List<BufferedReading> ReadAny(TelemetryBuffer buffer, int batch = 500)
    {
        using var history = buffer.OpenHistory();
        var all = new List<BufferedReading>();
        while (history.PeekAny(all.Count == 0 ? 0 : all[^1].Id, batch, 1 << 20) is { Count: > 0 } rows)
            all.AddRange(rows);
        return all;
    }

    public Task<TelemetryBuffer> OpenAsync(
        BufferLimits? limits = null, TimeProvider? timeProvider = null, Func<BufferOptions, BufferOptions>? with = null,
        ILogger<TelemetryBuffer>? logger = null, bool waits = true)
    {
        // Independent of whether the build machine's clock is synchronised.
        var options = new BufferOptions
        {
            Directory = Directory,
            Limits = limits ?? AtOnce,
            KernelTime = timeProvider is null ? () => LinuxClocks.Read() with { Synchronized = true } : null,
        };
        return OpenAsync(with?.Invoke(options) ?? options, timeProvider, logger, waits);
    }

    static async Task<TelemetryBuffer> OpenAsync(
        BufferOptions options, TimeProvider? timeProvider, ILogger<TelemetryBuffer>? logger, bool waits)
    {
        var buffer = await TelemetryBuffer.OpenAsync(
            options, timeProvider ?? TimeProvider.System, logger ?? NullLogger<TelemetryBuffer>.Instance, Token);
        if (waits)
            await RecoveredAsync(buffer);
        return buffer;
    }

    /// <summary>Completes when all salvages and imports are finished.</summary>
    public static Task RecoveredAsync(TelemetryBuffer buffer) => Until.True(() => !buffer.IsRecovering);

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
}
