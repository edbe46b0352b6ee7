using System.Text.Json;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>Describes a kind of sensor. Parser, documentation and JSON Schema are derived from it.</summary>
/// <param name="Text">What it reads, in words.</param>
/// <param name="Options">Its own options, in addition to <see cref="CommonOptions"/>.</param>
/// <param name="Make">Creates a sensor from valid settings without accessing the device.</param>
internal sealed record SensorKind(
    string Name, string Text, IReadOnlyList<Option> Options, Func<SensorSettings, SensorWorld, ISensor> Make)
{
    const string KindKey = "kind";

    /// <summary>The values that it publishes, with their units; empty when that depends on the device or on the
    /// settings.</summary>
    public IReadOnlyList<SensorValue> Values { get; init; } = [];

    /// <summary>The values of a sensor of this kind: <see cref="Values"/>, unless the settings name them.</summary>
    public Func<SensorSettings, IReadOnlyList<SensorValue>> ValuesOf
    {
        get => field ?? (_ => Values);
        init;
    }

    /// <summary>What connects it, for the documentation: I2C, SPI, 1-wire, GPIO, serial..</summary>
    public string Connection { get; init; } = "";

    /// <summary>A resource that only one sensor can use, in words, such as an address on a bus; null if there is
    /// none.</summary>
    public Func<SensorSettings, string?> Claims { get; init; } = static _ => null;

    /// <summary>The unit that the settings assign to its values; null if they assign none.</summary>
    public Func<SensorSettings, string?> Unit { get; init; } = static _ => null;

    /// <summary>The bus that a measurement blocks: the sensors of a bus are read one at a time on one thread. Null if
    /// measuring never blocks.</summary>
    public Func<SensorSettings, string?> Bus { get; init; } =
        static settings => $"{settings.Kind.Name} {settings.Name}";

    /// <summary>The addresses of such a chip on an I2C bus; empty for other kinds.</summary>
    public IReadOnlyList<int> I2cAddresses { get; init; } = [];

    /// <summary>How the doctor recognises it on an I2C bus.</summary>
    public I2cProbe? Probe { get; init; }

    /// <summary>Whether bytes received on a serial port contain something that only a device of this kind sends without
    /// a request, for the doctor; null: it sends nothing without a request.</summary>
    public Func<byte[], bool>? IsHeardIn { get; init; }

    /// <summary>Whether several measurements can be made for one reading. False if a measurement consumes something,
    /// such as an edge.</summary>
    public bool HasSamples { get; init; } = true;

    /// <summary>Whether readings can be aggregated. False if a reading reports an edge, which must not be delayed.
    /// </summary>
    public bool HasWindows { get; init; } = true;

    /// <summary>Its readings are pushed by another program: nothing is measured, and <see cref="SensorScheduler"/>
    /// leaves its sensors to others.</summary>
    public bool IsPushed { get; private init; }

    public IEnumerable<Option> AllOptions => CommonOptions.All.Where(option => IsPushed
        ? option == CommonOptions.Enabled || option == CommonOptions.Label || option == CommonOptions.Alarms
        : (HasSamples || option != CommonOptions.Samples) && (HasWindows || option != CommonOptions.Aggregate))
        .Concat(Options);

    /// <summary>A kind whose readings are pushed.</summary>
    /// <param name="text">What it reads, in words.</param>
    /// <param name="options">Its options besides <c>enabled</c>, <c>label</c> and <c>alarms</c>.</param>
    /// <param name="check">Throws a <see cref="SensorSettingsException"/> if options contradict each other.</param>
    public static SensorKind Pushed(
        string name, string text, IReadOnlyList<Option> options, Action<SensorSettings> check)
    {
        return new(name, text, options, Make) { IsPushed = true, HasSamples = false, Bus = static _ => null };

        ISensor Make(SensorSettings settings, SensorWorld world)
        {
            check(settings);
            return new Unmeasured();
        }
    }

    /// <summary>Checks an entry for unknown options and invalid values.</summary>
    /// <exception cref="SensorSettingsException">The entry has faults; the message names all of them.</exception>
    public void Check(JsonElement entry)
    {
        var problems = Option.FindFaults(AllOptions, entry, Name, KindKey);
        if (problems.Count == 0) CheckValueNames(entry, problems);
        if (problems.Count == 0) CheckLimits(entry, problems);
        if (problems.Count > 0) throw new SensorSettingsException(string.Join(", ", problems));
    }

    void CheckValueNames(JsonElement entry, List<string> problems)
    {
        if (Values.Count == 0) return;
        var names = Values.Select(value => value.Name).ToList();
        foreach (var option in (
            Option<ByValue<double>?>[])[
            CommonOptions.Scale, CommonOptions.Offset, CommonOptions.Min, CommonOptions.Max, CommonOptions.MaxChange])
            Check(option.Name, SensorSettings.Get(option, entry)?.Names);
        Check(CommonOptions.Curve.Name, SensorSettings.Get(CommonOptions.Curve, entry)?.Names);
        Check(CommonOptions.Deadband.Name, SensorSettings.Get(CommonOptions.Deadband, entry)?.Names);
        Check(CommonOptions.Units.Name, SensorSettings.Get(CommonOptions.Units, entry)?.Names);
        var watched = SensorSettings.Get(CommonOptions.Alarms, entry).Select(rule => rule.Value).OfType<string>();
        Check(CommonOptions.Alarms.Name, [.. watched.Distinct()]);

        void Check(string option, IReadOnlyCollection<string>? written)
        {
            foreach (var name in written ?? [])
            {
                if (names.Contains(name)) continue;
                var nearest = NearestName.Find(name, names);
                problems.Add($"{option}: {Name} has no value {LogText.Quote(name)}"
                    + (nearest.IsNear ? nearest.Hint : $"; it has {string.Join(", ", names)}"));
            }
        }
    }

    static void CheckLimits(JsonElement entry, List<string> problems)
    {
        if (SensorSettings.Get(CommonOptions.Min, entry) is not { } min
            || SensorSettings.Get(CommonOptions.Max, entry) is not { } max) return;
        foreach (var name in min.Names.Concat(max.Names).DefaultIfEmpty(""))
        {
            if (!(min.For(name) > max.For(name))) continue;
            problems.Add(FormattableString.Invariant($"{CommonOptions.Min.Name}: {min.For(name)}")
                + (name.Length > 0 ? $" of {LogText.Quote(name)}" : "")
                + FormattableString.Invariant($" is above {CommonOptions.Max.Name}, {max.For(name)}"));
            return;
        }
    }

    sealed class Unmeasured : ISensor
    {
        public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken) => new(Measurement.Nothing);

        public void Dispose()
        {
            // Nothing to release.
        }
    }
}

/// <summary>A value that a kind publishes.</summary>
/// <param name="Name">Its name in readings.</param>
/// <param name="Unit">Its unit, in words; empty: not known.</param>
/// <param name="Min">The smallest value that the device can measure, before scale and offset; null if there is no
/// limit. A value beyond it makes a good measurement uncertain.</param>
/// <param name="Max">The largest value that the device can measure.</param>
internal sealed record SensorValue(string Name, string Unit, double? Min = null, double? Max = null)
{
    public bool CanBe(double value) => !(value < Min) && !(value > Max);

    /// <summary>The bounds in words; empty when there are none.</summary>
    public string Range => (Min, Max) switch
    {
        (null, null) => "",
        ({ } min, null) => FormattableString.Invariant($"{min} or more"),
        (null, { } max) => FormattableString.Invariant($"at most {max}"),
        ({ } min, { } max) => FormattableString.Invariant($"{min}..{max}"),
    };
}
