using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Win32.SafeHandles;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>file</c>: the first number in a file below the <see cref="FileRoots"/>. Only the number is ever reported:
/// settings are remote input, and files may be secret.
/// </summary>
internal sealed partial class FileSensor(SensorSettings settings, SensorWorld world) : ISensor
{
    const int MaxBytes = 4096;
    const string Standard = "value";

    static readonly Option<string?> PathOption = Option.TextOf(
        "path", "Absolute path of the file, below a directory of the boot value `Sensors__FileRoots`.", 1024) with
    { IsRequired = true };

    static readonly Option<string?> ValueName = Option.TextOf(
        "value", "The name of its value in readings; `value` when left out.", 64);

    static readonly Option<string?> Unit = Option.TextOf(
        "unit", "The unit of the value after `scale` and `offset`; included in every reading.", 32);

    static readonly Option<string> Format = Option.Choice(
        "format", ["decimal", "hexadecimal"], "decimal", "How the number is written.");

    static readonly Option<double> MaxAge = Option.Number(
        "maxAgeSeconds", 0, 31_536_000, 0, "A reading is `stale` if the file was last written longer ago; 0: any age "
            + "is allowed.");

    public static SensorKind Kind { get; } = new(
        "file", "the first number in a file", [PathOption, ValueName, Unit, Format, MaxAge],
        (settings, world) => new FileSensor(settings, world))
    {
        Unit = static settings => settings.Get(Unit),
        ValuesOf = static settings => [new(settings.Get(ValueName) ?? Standard, "")],
        Connection = "file",
    };

    readonly FileRoots _roots = new(world.Roots);
    readonly string _path = CheckPath(settings.Get(PathOption) ?? "");
    readonly string _valueName = settings.Get(ValueName) ?? Standard;
    readonly bool _isHexadecimal = settings.Get(Format) == "hexadecimal";
    readonly TimeSpan _maxAge = TimeSpan.FromSeconds(settings.Get(MaxAge));

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        using var file = _roots.Open(_path);
        try
        {
            var age = world.TimeProvider.GetUtcNow() - File.GetLastWriteTimeUtc(file);
            var (text, isCut) = ReadStart(file);
            if (_maxAge > TimeSpan.Zero && age > _maxAge)
                return Bad(FaultReason.Stale, $"{_path} was written {age.TotalSeconds:0} s ago");
            if (string.IsNullOrWhiteSpace(text)) return Bad(FaultReason.Io, $"{_path} is empty");
            return TryFindNumber(text, isCut, out var number)
                ? ValueTask.FromResult(new Measurement([new(_valueName, number)]))
                : Bad(FaultReason.Invalid, $"{_path} holds no number such as {(_isHexadecimal ? "0x1f" : "21.5")}");
        }
        catch (Exception exception) when (
            exception is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw SensorFault.From(exception, _path);
        }
    }

    public void Dispose()
    {
    }

    static ValueTask<Measurement> Bad(string reason, string detail) =>
        ValueTask.FromResult(Measurement.Bad(reason, detail));

    static string CheckPath(string path)
    {
        if (!Path.IsPathRooted(path))
            throw new SensorSettingsException($"path: '{LogText.Clean(path)}' is not absolute");

        // After a link, '..' is another directory than it seems.
        if (path.Split('/').Contains(".."))
            throw new SensorSettingsException($"path: '{LogText.Clean(path)}' must not contain '..'");
        return Path.GetFullPath(path);
    }

    static (string Text, bool IsCut) ReadStart(SafeFileHandle file)
    {
        var bytes = new byte[MaxBytes];
        var length = 0;
        while (length < MaxBytes && RandomAccess.Read(file, bytes.AsSpan(length), length) is > 0 and var read)
            length += read;
        return (Encoding.UTF8.GetString(bytes, 0, length), length == MaxBytes);
    }

    /// <summary>Finds the first number. Only a complete one counts: not 21 of <c>21,5</c>, nor 2026 of a
    /// date.</summary>
    bool TryFindNumber(string text, bool isCut, out double number)
    {
        number = 0;
        var match = !_isHexadecimal ? DecimalNumber().Match(text)
            : PrefixedNumber().Match(text) is { Success: true } prefixed ? prefixed
            : HexadecimalNumber().Match(text);
        var whole = match.Groups["whole"];
        // A number at the end of the part that was read may continue after it.
        if (!whole.Success || (isCut && match.Index + match.Length == text.Length)) return false;
        if (!_isHexadecimal)
        {
            return double.TryParse(whole.ValueSpan, NumberStyles.Float, CultureInfo.InvariantCulture, out number)
                && double.IsFinite(number);
        }

        var isOne = ulong.TryParse(
            whole.ValueSpan, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var integer);
        number = integer;
        return isOne;
    }

    // The first alternative matches a complete number, the others match text that begins like a number but is not one.
    // U+2212 is the typographic minus sign.
    [GeneratedRegex(
        @"(?<![\w.,+\-\u2212])(?:(?<whole>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\w|[.,:'/-]\d)"
            + @"|[-+\u2212]+\s*\.?\d|\.?\d|[-+]?(?:nan|inf|infinity)(?!\w))",
        RegexOptions.CultureInvariant | RegexOptions.IgnoreCase)]
    private static partial Regex DecimalNumber();

    // A number with 0x takes precedence over anything before it: the name in "ADC: 0x3ff" is not the number.
    [GeneratedRegex(
        @"(?<![\w.,+\-\u2212])0[xX](?:(?<whole>[0-9a-fA-F]{1,16})(?!\w|[.,:'/-][0-9a-fA-F])|)",
        RegexOptions.CultureInvariant)]
    private static partial Regex PrefixedNumber();

    [GeneratedRegex(
        @"(?<![\w.,+\-\u2212])(?:(?<whole>[0-9a-fA-F]{1,16})(?!\w|[.,:'/-][0-9a-fA-F])"
            + @"|[0-9a-fA-F]+(?:[.,:'/-][0-9a-fA-F]+)+(?!\w)|[-+\u2212]+\s*[0-9]|[0-9]|[0-9a-fA-F]{17})",
        RegexOptions.CultureInvariant)]
    private static partial Regex HexadecimalNumber();
}
