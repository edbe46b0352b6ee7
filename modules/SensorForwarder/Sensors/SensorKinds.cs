using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>The kinds of sensors that a module knows. Immutable.</summary>
/// <param name="all">Their names are unique.</param>
internal sealed class SensorKinds(IReadOnlyList<SensorKind> all)
{
    public IReadOnlyList<SensorKind> All => all;

    public IEnumerable<string> Names => all.Select(kind => kind.Name);

    /// <exception cref="SensorSettingsException">There is no such kind; the message lists the kinds.</exception>
    public SensorKind Find(string name)
    {
        if (all.FirstOrDefault(kind => kind.Name == name) is { } found) return found;
        var hint = NearestName.Find(name, [.. Names]).Hint;
        throw new SensorSettingsException(
            $"kind: {LogText.Quote(name)} is not one of {string.Join(", ", Names)}{hint}");
    }
}
