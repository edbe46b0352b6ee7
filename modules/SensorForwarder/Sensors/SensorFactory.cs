namespace SensorForwarder.Sensors;

/// <summary>Makes sensors from settings. A new kind is one file and one line in <see cref="Kinds"/>.</summary>
internal sealed class SensorFactory(SensorRoots roots, TimeProvider timeProvider)
{
    delegate ISensor Maker(SensorSettings settings, SensorRoots roots, TimeProvider timeProvider);

    static readonly Dictionary<string, Maker> Makers = new(StringComparer.Ordinal)
    {
        ["host"] = (_, roots, _) => new HostSensor(roots),
        ["simulated"] = (settings, _, timeProvider) => new SimulatedSensor(settings, timeProvider),
    };

    /// <summary>The kinds there are, for messages and documentation.</summary>
    public static IReadOnlyCollection<string> Kinds => Makers.Keys;

    /// <exception cref="SensorSettingsException">The settings can't work.</exception>
    public ISensor Create(SensorSettings settings) => Makers.TryGetValue(settings.Kind, out var make)
        ? make(settings, roots, timeProvider)
        : throw new SensorSettingsException($"kind: '{LogText.Clean(settings.Kind)}' is not one of {string.Join(", ", Kinds)}");
}

/// <summary>Where devices are looked for; boot values, so that tests can lay a tree of their own.</summary>
/// <param name="Proc">Normally <c>/proc</c>.</param>
/// <param name="Sysfs">Normally <c>/sys</c>.</param>
/// <param name="DataDirectory">The volume whose free space the host sensor tells.</param>
internal sealed record SensorRoots(string Proc, string Sysfs, string DataDirectory);
