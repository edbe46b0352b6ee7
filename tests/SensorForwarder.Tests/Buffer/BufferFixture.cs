using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A directory of its own, and what tests of the buffer need again and again.</summary>
/// <param name="inMemory">Without waiting for a disk, for files that are made to be opened once.</param>
internal sealed class BufferFixture(bool inMemory = false) : IDisposable
{
    public static readonly DateTimeOffset Noon = new(2026, 11, 24, 12, 0, 0, TimeSpan.Zero);

    /// <summary>Commits at once, so that no test waits for an interval.</summary>
    public static readonly BufferLimits AtOnce = new() { CommitInterval = TimeSpan.Zero };

    public string Directory { get; } = inMemory && System.IO.Directory.Exists("/dev/shm")
        ? System.IO.Directory.CreateDirectory($"/dev/shm/buffer-{Guid.NewGuid():N}").FullName
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

    public static string Text(BufferedReading reading) => Encoding.UTF8.GetString(reading.Payload.Span);

    /// <summary>All waiting readings, read in batches.</summary>
    public static List<BufferedReading> ReadAll(TelemetryBuffer buffer, int batch = 500)
    {
        var all = new List<BufferedReading>();
        while (buffer.PeekBatch(all.Count == 0 ? 0 : all[^1].Id, batch, 1 << 20) is { Count: > 0 } rows)
            all.AddRange(rows);
        return all;
    }

    /// <summary>All readings in the file, delivered ones too.</summary>
    public static List<BufferedReading> ReadAny(TelemetryBuffer buffer, int batch = 500)
    {
        using var reader = buffer.NewReader();
        var all = new List<BufferedReading>();
        while (reader.PeekAny(all.Count == 0 ? 0 : all[^1].Id, batch, 1 << 20) is { Count: > 0 } rows)
            all.AddRange(rows);
        return all;
    }

    public Task<TelemetryBuffer> OpenAsync(
        BufferLimits? limits = null, TimeProvider? timeProvider = null, Func<BufferOptions, BufferOptions>? with = null,
        ILogger<TelemetryBuffer>? logger = null)
    {
        // A build machine's clock need not be synchronised; whether it is must not decide about the payload.
        var options = new BufferOptions
        {
            Directory = Directory,
            Limits = limits ?? AtOnce,
            KernelTime = timeProvider is null ? () => LinuxClocks.Read() with { Synchronized = true } : null,
        };
        return TelemetryBuffer.OpenAsync(
            with?.Invoke(options) ?? options, timeProvider ?? TimeProvider.System,
            logger ?? NullLogger<TelemetryBuffer>.Instance, Token);
    }

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
}
