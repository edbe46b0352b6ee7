using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>file</c>: the first number in a file, wherever it comes from. Nothing of the file but the number is ever told,
/// since settings come from far away and files may be secret.
/// </summary>
internal sealed partial class FileSensor(SensorSettings settings, TimeProvider timeProvider) : ISensor
{
    const int MaxBytes = 4096;

    static readonly SensorOption<string?> PathOption = SensorOption.TextOf("path", "Absolute path of the file.", 1024) with
    { IsRequired = true };

    static readonly SensorOption<string?> ValueName = SensorOption.TextOf("value", "The name of its value in readings; `value` when left out.", 64);

    static readonly SensorOption<string?> Unit = SensorOption.TextOf("unit", "The unit of the value after `scale` and `offset`; it stands in every reading.", 32);

    static readonly SensorOption<string> Format = SensorOption.Choice(
        "format", ["decimal", "hexadecimal"], "decimal", "How the number is written.");

    static readonly SensorOption<double> MaxAge = SensorOption.Number(
        "maxAgeSeconds", 0, 31_536_000, 0, "A file that was last written longer ago is `stale`; 0: it may be of any age.");

    public static SensorKind Kind { get; } = new(
        "file", "the first number in any file", [PathOption, ValueName, Unit, Format, MaxAge],
        (settings, world) => new FileSensor(settings, world.TimeProvider));

    /// <summary>The unit that settings give to a sensor of this kind; null for others, and when they give none.</summary>
    public static string? UnitOf(SensorSettings settings) => settings.Kind == Kind.Name ? settings.Get(Unit) : null;

    readonly string _path = System.IO.Path.IsPathRooted(settings.Get(PathOption))
        ? settings.Get(PathOption)!
        : throw new SensorSettingsException($"path: '{LogText.Clean(settings.Get(PathOption) ?? "")}' is not absolute");

    readonly string _valueName = settings.Get(ValueName) ?? "value";
    readonly bool _isHexadecimal = settings.Get(Format) == "hexadecimal";
    readonly TimeSpan _maxAge = TimeSpan.FromSeconds(settings.Get(MaxAge));

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        try
        {
            var age = timeProvider.GetUtcNow() - File.GetLastWriteTimeUtc(_path);
            var text = ReadStart();
            if (_maxAge > TimeSpan.Zero && age > _maxAge)
                return Bad(FaultReason.Stale, $"{_path} was written {age.TotalSeconds:0} s ago");
            if (text.Length == 0) return Bad(FaultReason.Io, $"{_path} is empty");
            return TryFindNumber(text, out var number)
                ? ValueTask.FromResult(new Measurement([new(_valueName, number)]))
                : Bad(FaultReason.Invalid, $"{_path} holds no number");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw SensorFault.From(exception, _path);
        }
    }

    public void Dispose()
    {
    }

    static ValueTask<Measurement> Bad(string reason, string detail) => ValueTask.FromResult(Measurement.Bad(reason, detail));

    string ReadStart()
    {
        using var stream = new FileStream(_path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        var bytes = new byte[MaxBytes];
        return Encoding.ASCII.GetString(bytes.AsSpan(0, stream.ReadAtLeast(bytes, MaxBytes, throwOnEndOfStream: false))).Trim();
    }

    bool TryFindNumber(string text, out double number)
    {
        number = 0;
        if (!_isHexadecimal)
        {
            var match = DecimalNumber().Match(text);
            return match.Success && double.TryParse(match.ValueSpan, NumberStyles.Float, CultureInfo.InvariantCulture, out number)
                && double.IsFinite(number);
        }

        var hexadecimal = HexadecimalNumber().Match(text);
        var isOne = ulong.TryParse(hexadecimal.Groups[1].ValueSpan, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var whole);
        number = whole;
        return isOne;
    }

    [GeneratedRegex(@"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", RegexOptions.CultureInvariant)]
    private static partial Regex DecimalNumber();

    [GeneratedRegex(@"\b(?:0[xX])?([0-9a-fA-F]{1,16})\b", RegexOptions.CultureInvariant)]
    private static partial Regex HexadecimalNumber();
}
