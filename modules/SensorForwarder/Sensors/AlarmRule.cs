using System.Globalization;
using System.Text.Json;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>What an alarm watches for.</summary>
internal enum AlarmCondition
{
    Above,

    Below,

    /// <summary>A value changes by more than the threshold.</summary>
    ChangesBy,

    /// <summary>The sensor has delivered no values for this many seconds.</summary>
    SilentForSeconds,

    /// <summary>The sensor can't be read.</summary>
    Bad,
}

/// <summary>One entry of the option <c>alarms</c> of a sensor. Immutable.</summary>
/// <param name="Condition">What it watches for.</param>
/// <param name="Value">The value that it watches; null: the sensor.</param>
/// <param name="Threshold">The limit of the condition; 0 for <see cref="AlarmCondition.Bad"/>.</param>
internal sealed record AlarmRule(AlarmCondition Condition, string? Value, double Threshold)
{
    /// <summary>The most alarms of a sensor.</summary>
    public const int Max = 16;

    const double Huge = CommonOptions.Huge;
    const int MaxNameLength = 64;
    const double DaySeconds = 86_400;
    const string Warning = "warning";

    static readonly Option<string?> ValueOption = Option.TextOf(
        "value", "The value that it watches, for `above`, `below` and `changesBy`.", MaxNameLength);

    static readonly Option<double?> Above = Option.Number(
        "above", -Huge, Huge, "Raised when the value is above this.");

    static readonly Option<double?> Below = Option.Number(
        "below", -Huge, Huge, "Raised when the value is below this.");

    static readonly Option<double?> ChangesBy = Option.Number(
        "changesBy", 0, Huge, "Raised when the value changes by more than this: within `forSeconds`, or without it "
            + "from one reading to the next.");

    static readonly Option<double?> SilentForSeconds = Option.Number(
        "silentForSeconds", 0.1, 30 * DaySeconds, "Raised when the sensor has delivered no values for this long.");

    static readonly Option<bool> BadOption = Option.Flag(
        "bad", false, "`true`: raised when the sensor can't be read.");

    static readonly Option<double> HysteresisOption = Option.Number(
        "hysteresis", 0, Huge, 0, "With `above` or `below`: cleared when the value is this far on the other side "
            + "of the threshold.");

    static readonly Option<double> ForSeconds = Option.Number(
        "forSeconds", 0, DaySeconds, 0, "Raised when the condition has held for this long; for `changesBy`, see "
            + "above.");

    static readonly Option<string> SeverityOption = Option.Choice(
        "severity", ["info", Warning, "critical"], Warning, "For receivers; the module treats all alike.");

    static readonly Option<AlarmOutput?> OutputOption = new(
        "output", new OptionShape.Fields(AlarmOutput.Options), "A GPIO line that is active while the alarm is raised, "
            + "such as the line of a lamp.", null, AlarmOutput.TryRead, static _ => null)
    {
        Fault = AlarmOutput.FindFault,
    };

    static readonly Option[] Conditions = [Above, Below, ChangesBy, SilentForSeconds, BadOption];

    /// <summary>The options of each alarm.</summary>
    public static IReadOnlyList<Option> Options { get; } =
    [
        ValueOption, Above, Below, ChangesBy, SilentForSeconds, BadOption, HysteresisOption, ForSeconds, SeverityOption,
        OutputOption,
    ];

    /// <summary>The option of a sensor.</summary>
    public static Option<IReadOnlyList<AlarmRule>> List { get; } = new(
        "alarms", new OptionShape.Objects(Options, Max), "What is reported at once, as a reading of kind `alarm`: "
            + "see `docs/alarms.md`.", [], TryRead,
        static _ => null) // it has no default, and is acknowledged as it was written
    {
        Fault = FindFault,
    };

    /// <summary>How long the condition must hold; with <see cref="AlarmCondition.ChangesBy"/>, within which time the
    /// value changes.</summary>
    public TimeSpan For { get; init; }

    /// <summary>How far a value must return beyond the threshold.</summary>
    public double Hysteresis { get; init; }

    public string Severity { get; init; } = Warning;

    /// <summary>The line that shows it; null: none does.</summary>
    public AlarmOutput? Output { get; init; }

    /// <summary>The option that names the condition.</summary>
    public string ConditionName => Conditions[(int)Condition].Name;

    /// <summary>The condition in words. Identifies the alarm among those of its sensor, also after a restart.</summary>
    public string Name
    {
        get
        {
            var text = Condition switch
            {
                AlarmCondition.Bad => "bad",
                AlarmCondition.SilentForSeconds => $"silent for {Show(Threshold)} s",
                AlarmCondition.ChangesBy => $"{Value} changes by {Show(Threshold)}",
                _ => $"{Value} {ConditionName} {Show(Threshold)}",
            };
            if (For == TimeSpan.Zero) return text;
            var link = Condition == AlarmCondition.ChangesBy ? "within" : "for";
            return $"{text} {link} {Show(For.TotalSeconds)} s";
        }
    }

    static bool TryRead(JsonElement value, out IReadOnlyList<AlarmRule> rules)
    {
        var isValid = FindFault(value) is null;
        rules = isValid ? [.. value.EnumerateArray().Select(Read)] : [];
        return isValid;
    }

    static string? FindFault(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Array) return Refuse(value);
        if (value.GetArrayLength() > Max) return $"there are {value.GetArrayLength()}; allowed are {Max}";
        var faults = value.EnumerateArray().Select((entry, i) => FaultOf(entry) is { } fault
            ? $"alarm {i + 1}: {fault}"
            : null).OfType<string>().ToList();
        if (faults.Count > 0) return string.Join("; ", faults);
        var names = value.EnumerateArray().Select(entry => Read(entry).Name).ToList();
        for (var i = 0; i < names.Count; i++)
        {
            if (names.IndexOf(names[i]) is var first && first < i)
                return $"alarms {first + 1} and {i + 1} are both {LogText.Quote(names[i])}: remove one of them";
        }

        return null;
    }

    static string Refuse(JsonElement value) =>
        $"{LogText.Quote(value)} is not allowed; allowed is {List.Shape.Allowed}";

    static string? FaultOf(JsonElement entry)
    {
        if (entry.ValueKind != JsonValueKind.Object)
            return $"{LogText.Quote(entry)} is not an object such as {{\"value\":\"temperature\",\"above\":30}}";
        var problems = Option.FindFaults(Options, entry, "an alarm");
        if (problems.Count > 0) return string.Join(", ", problems);
        var conditions = Conditions.Where(option => IsGiven(option, entry)).Select(option => option.Name).ToList();
        var all = string.Join(", ", Conditions.Select(option => option.Name));
        if (conditions.Count == 0) return $"it has no condition; give it one of {all}";
        if (conditions.Count > 1)
            return $"it has {string.Join(" and ", conditions)}; an alarm has one condition: write an alarm for each";
        var condition = (AlarmCondition)Array.FindIndex(Conditions, option => option.Name == conditions[0]);
        var isOfValue = condition is AlarmCondition.Above or AlarmCondition.Below or AlarmCondition.ChangesBy;
        if (isOfValue && !Has(ValueOption))
            return $"value is missing; {conditions[0]} needs the name of a value of the sensor, such as "
                + "\"temperature\"";
        if (!isOfValue && Has(ValueOption))
            return $"value is not for {conditions[0]}, which watches the whole sensor: remove it";
        if (Has(HysteresisOption) && condition is not (AlarmCondition.Above or AlarmCondition.Below))
            return $"hysteresis is for above and below only, not for {conditions[0]}: remove it";
        return Has(ForSeconds) && condition == AlarmCondition.SilentForSeconds
            ? "forSeconds is not for silentForSeconds, which is a time itself: remove it"
            : null;

        bool Has(Option option) => IsGiven(option, entry);
    }

    static bool IsGiven(Option option, JsonElement entry) => entry.TryGetProperty(option.Name, out var value)
        && value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False);

    static AlarmRule Read(JsonElement entry)
    {
        var condition = (AlarmCondition)Array.FindIndex(Conditions, option => IsGiven(option, entry));
        var threshold = condition == AlarmCondition.Bad
            ? 0
            : entry.GetProperty(Conditions[(int)condition].Name).GetDouble();
        return new(condition, SensorSettings.Get(ValueOption, entry), threshold)
        {
            For = TimeSpan.FromSeconds(condition == AlarmCondition.SilentForSeconds
                ? 0
                : SensorSettings.Get(ForSeconds, entry)),
            Hysteresis = SensorSettings.Get(HysteresisOption, entry),
            Severity = SensorSettings.Get(SeverityOption, entry),
            Output = SensorSettings.Get(OutputOption, entry),
        };
    }

    static string Show(double number) => number.ToString(CultureInfo.InvariantCulture);
}
