using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>
/// Writes the readings that wait in the buffer into a file, beside a module that goes on working. <c>.ndjson</c>: a
/// line a reading, as a receiver gets it; <c>.csv</c>: a line a value. The file appears when it is complete, and only
/// its owner can read it.
/// </summary>
internal static class ReadingExport
{
    /// <summary>Asks for readings that were forwarded too.</summary>
    public const string WithForwarded = "--with-forwarded";

    /// <summary>Allows replacing a file that exists.</summary>
    public const string Force = "--force";

    const int PageReadings = 500;
    const string CsvHeader = "epoch,id,time,sensor,kind,quality,reason,value,number,timeQuality\n";

    public static bool IsKnownFormat(string path) =>
        path.EndsWith(".csv", StringComparison.OrdinalIgnoreCase)
            || path.EndsWith(".ndjson", StringComparison.OrdinalIgnoreCase);

    /// <param name="path">The file to write.</param>
    /// <param name="options">What stands behind it: <see cref="WithForwarded"/>, <see cref="Force"/>.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(
        string path, string[] options, BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        var replaces = options.Contains(Force);
        if (!replaces && IsTaken(path)) return Commands.Failed(Taken(path));

        // A name that nobody can prepare a link at.
        var unfinished = $"{path}.{RandomNumberGenerator.GetHexString(16, lowercase: true)}.part";
        try
        {
            using var file = await OpenAsync(boot, timeProvider, cancellationToken);
            var written = await WriteAsync(file, options.Contains(WithForwarded), unfinished, path, cancellationToken);
            File.Move(unfinished, path, overwrite: replaces);
            Console.WriteLine($"{path}: {written} readings of {file.Path}");
            return ExitCode.Ok;
        }
        catch (Exception exception) when (
            exception is BufferUnavailableException or IOException or UnauthorizedAccessException)
        {
            if (exception is BufferUnavailableException) return Commands.Failed(exception.Message);
            return Commands.Failed(!replaces && IsTaken(path) ? Taken(path) : $"{path}: {exception.Message}");
        }
        finally
        {
            Discard(unfinished); // it has its name only if something went wrong
        }
    }

    /// <summary>Opens the database for reading, with its key.</summary>
    /// <exception cref="BufferUnavailableException">It is not there, or the key does not fit.</exception>
    public static async Task<BufferFile> OpenAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        if (!File.Exists(Path.Combine(boot.BufferDirectory, VolumeFiles.DatabaseName)))
            throw new BufferUnavailableException(
                $"{Path.GetFullPath(boot.BufferDirectory)}: no {VolumeFiles.DatabaseName} is there; set "
                + "Buffer__Directory to where it is");
        var key = await BufferKeys.GetAsync(boot, timeProvider, new Random(), cancellationToken);
        return BufferFile.Open(new BufferOptions { Directory = boot.BufferDirectory, Key = key }, timeProvider);
    }

    // Also a link to nothing.
    static bool IsTaken(string path) => Path.Exists(path) || new FileInfo(path).LinkTarget is not null;

    static string Taken(string path) => $"{path}: exists already; add {Force} to replace it, or choose another name";

    static void Discard(string unfinished)
    {
        try
        {
            File.Delete(unfinished);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Where nothing can be written, nothing can be deleted either, and that is told.
        }
    }

    static async Task<long> WriteAsync(
        BufferFile file, bool withForwarded, string unfinished, string path, CancellationToken cancellationToken)
    {
        var isCsv = path.EndsWith(".csv", StringComparison.OrdinalIgnoreCase);
        var bar = new ProgressBar(file.Count(withForwarded));
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            Share = FileShare.Read,
            BufferSize = 1 << 16,
            Options = FileOptions.Asynchronous,
        };
        if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        await using var output = new FileStream(unfinished, options);
        if (isCsv) await output.WriteAsync(Encoding.UTF8.GetBytes(CsvHeader), cancellationToken);
        var page = new ArrayBufferWriter<byte>();
        var (written, after) = (0L, 0L);
        while (file.Read(after, PageReadings, withForwarded) is { Count: > 0 } readings)
        {
            cancellationToken.ThrowIfCancellationRequested();
            page.ResetWrittenCount();
            foreach (var reading in readings)
            {
                if (isCsv) WriteCsv(page, file.Epoch, reading);
                else WriteLine(page, file.Epoch, reading);
            }

            await output.WriteAsync(page.WrittenMemory, cancellationToken);
            after = readings[^1].Id;
            bar.Show(written += readings.Count);
        }

        bar.End();
        return written;
    }

    static void WriteLine(ArrayBufferWriter<byte> page, string epoch, BufferedReading reading)
    {
        Append(page, string.Create(
            CultureInfo.InvariantCulture, $"{{\"epoch\":\"{epoch}\",\"id\":{reading.Id},\"data\":"));
        page.Write(reading.Payload.Span);
        page.Write("}\n"u8);
    }

    static void WriteCsv(ArrayBufferWriter<byte> page, string epoch, BufferedReading reading)
    {
        using var json = Parse(reading);
        var data = json.RootElement;
        var start = string.Create(
            CultureInfo.InvariantCulture,
            $"{epoch},{reading.Id},{Cell(data, "time")},{Cell(data, "sensor")},{Cell(data, "kind")},"
            + $"{Cell(data, "quality")},{Cell(data, "reason")}");
        var end = Cell(data, "timeQuality");
        var isEmpty = true;
        if (data.TryGetProperty("values", out var values) && values.ValueKind == JsonValueKind.Object)
        {
            foreach (var value in values.EnumerateObject())
            {
                Append(page, $"{start},{Quote(value.Name)},{value.Value.GetRawText()},{end}\n");
                isEmpty = false;
            }
        }

        if (isEmpty) Append(page, $"{start},,,{end}\n");
    }

    static JsonDocument Parse(BufferedReading reading)
    {
        try
        {
            var json = JsonDocument.Parse(reading.Payload);
            return json.RootElement.ValueKind == JsonValueKind.Object ? json : throw new JsonException("no object");
        }
        catch (JsonException exception)
        {
            throw new BufferUnavailableException(
                $"reading {reading.Id} is no JSON ({LogText.Clean(exception.Message)}); an export to .ndjson takes it "
                + "as it is", exception);
        }
    }

    static string Cell(JsonElement data, string name) =>
        data.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? Quote(value.GetString()!)
            : "";

    // RFC 4180. A spreadsheet takes what begins with one of these for a formula.
    static string Quote(string text)
    {
        if (text.Length > 0 && text[0] is '=' or '+' or '-' or '@' or '\t' or '\r') text = $"'{text}";
        return text.AsSpan().ContainsAny(",\"\r\n")
            ? $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\""
            : text;
    }

    static void Append(ArrayBufferWriter<byte> page, string text) => Encoding.UTF8.GetBytes(text, page);
}
