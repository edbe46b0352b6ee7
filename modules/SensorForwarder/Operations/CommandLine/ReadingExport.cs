using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>
/// Exports the readings that wait in the buffer to a file, also while the module runs. <c>.ndjson</c> has a line for
/// each reading, as a receiver gets it; <c>.csv</c> has a line for each value. Each has the module's tags. The file
/// appears when it is complete; only its owner can read it. <c>-</c> is standard output, in the form of
/// <c>.ndjson</c>.
/// </summary>
internal static class ReadingExport
{
    /// <summary>Exports forwarded readings too.</summary>
    public const string WithForwarded = "--with-forwarded";

    /// <summary>Allows replacing an existing file.</summary>
    public const string Force = "--force";

    const string StandardOutput = "-";
    const int PageReadings = 500;
    const string CsvHeader = "epoch,id,time,sensor,kind,quality,reason,value,number,timeQuality,tags,moduleTags\n";

    public static bool IsKnownFormat(string path) =>
        path == StandardOutput || IsCsv(path) || path.EndsWith(".ndjson", StringComparison.OrdinalIgnoreCase);

    /// <param name="options">The options after it: <see cref="WithForwarded"/>, <see cref="Force"/>.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(
        string path, string[] options, BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        var (isFile, replaces, written) = (path != StandardOutput, options.Contains(Force), 0L);
        if (isFile && !replaces && IsTaken(path)) return Commands.Failed(Taken(path));

        // A random name, so that nobody can place a link there in advance.
        var unfinished = $"{path}.{RandomNumberGenerator.GetHexString(16, lowercase: true)}.part";
        try
        {
            using var file = await OpenAsync(boot, timeProvider, cancellationToken);
            await using (var output = isFile ? Create(unfinished) : Console.OpenStandardOutput())
                written = await WriteAsync(
                    file, options.Contains(WithForwarded), output, IsCsv(path), cancellationToken);
            if (!isFile) return ExitCode.Ok;
            File.Move(unfinished, path, overwrite: replaces);
            Console.WriteLine($"{path}: {written} readings of {file.Path}");
            return ExitCode.Ok;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return Commands.Failed(isFile && !replaces && IsTaken(path)
                ? Taken(path)
                : $"{(isFile ? path : "standard output")}: {exception.Message}");
        }
        finally
        {
            Discard(unfinished); // exists only if something failed
        }
    }

    /// <summary>Opens the database for reading, with its key.</summary>
    /// <exception cref="BufferUnavailableException">There is no database, or the key is wrong.</exception>
    public static async Task<BufferFile> OpenAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        if (!File.Exists(Path.Combine(boot.BufferDirectory, VolumeFiles.DatabaseName)))
            throw new BufferUnavailableException(
                $"{Path.GetFullPath(boot.BufferDirectory)}: there is no {VolumeFiles.DatabaseName}; set "
                + "Buffer__Directory to its directory");
        var key = await BufferKeys.GetAsync(boot, timeProvider, new Random(), cancellationToken);
        return BufferFile.Open(new BufferOptions { Directory = boot.BufferDirectory, Key = key }, timeProvider);
    }

    // Also true for a dangling link.
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
            // Whatever prevents deleting has also failed the export, and is reported.
        }
    }

    static FileStream Create(string path)
    {
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            Share = FileShare.Read,
            BufferSize = 1 << 16,
            Options = FileOptions.Asynchronous,
        };
        if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        return new(path, options);
    }

    static bool IsCsv(string path) => path.EndsWith(".csv", StringComparison.OrdinalIgnoreCase);

    static async Task<long> WriteAsync(
        BufferFile file, bool withForwarded, Stream output, bool isCsv, CancellationToken cancellationToken)
    {
        var bar = new ProgressBar(file.Count(withForwarded));
        if (isCsv) await output.WriteAsync(Encoding.UTF8.GetBytes(CsvHeader), cancellationToken);
        var page = new ArrayBufferWriter<byte>();
        var moduleTags = SettingsStore.SavedTags(file.LoadDocument).ToJson()?.ToJsonString() ?? "";
        var (written, after) = (0L, 0L);
        while (file.Read(after, PageReadings, withForwarded) is { Count: > 0 } readings)
        {
            cancellationToken.ThrowIfCancellationRequested();
            page.ResetWrittenCount();
            foreach (var reading in readings)
            {
                if (isCsv) WriteCsv(page, reading, moduleTags);
                else WriteLine(page, reading, moduleTags);
            }

            await output.WriteAsync(page.WrittenMemory, cancellationToken);
            after = readings[^1].Id;
            bar.Show(written += readings.Count);
        }

        bar.End();
        return written;
    }

    static void WriteLine(ArrayBufferWriter<byte> page, BufferedReading reading, string moduleTags)
    {
        var tags = moduleTags.Length == 0 ? "" : $",\"tags\":{moduleTags}";
        Append(page, string.Create(
            CultureInfo.InvariantCulture, $"{{\"epoch\":\"{reading.Epoch}\",\"id\":{reading.Id}{tags},\"data\":"));
        page.Write(reading.Payload.Span);
        page.Write("}\n"u8);
    }

    static void WriteCsv(ArrayBufferWriter<byte> page, BufferedReading reading, string moduleTags)
    {
        using var json = Parse(reading);
        var data = json.RootElement;
        var start = string.Create(
            CultureInfo.InvariantCulture,
            $"{reading.Epoch},{reading.Id},{Cell(data, "time")},{Cell(data, "sensor")},{Cell(data, "kind")},"
            + $"{Cell(data, "quality")},{Cell(data, "reason")}");
        var tags = data.TryGetProperty("tags", out var found) ? Quote(found.GetRawText()) : "";
        var end = $"{Cell(data, "timeQuality")},{tags},{Quote(moduleTags)}";
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
                $"reading {reading.Id} is not JSON ({LogText.Clean(exception.Message)}); an export to .ndjson contains "
                + "it unchanged", exception);
        }
    }

    static string Cell(JsonElement data, string name) =>
        data.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? Quote(value.GetString()!)
            : "";

    // RFC 4180. A spreadsheet evaluates text that begins with one of these characters as a formula.
    static string Quote(string text)
    {
        if (text.Length > 0 && text[0] is '=' or '+' or '-' or '@' or '\t' or '\r') text = $"'{text}";
        return text.AsSpan().ContainsAny(",\"\r\n")
            ? $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\""
            : text;
    }

    static void Append(ArrayBufferWriter<byte> page, string text) => Encoding.UTF8.GetBytes(text, page);
}
