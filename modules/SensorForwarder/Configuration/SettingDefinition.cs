using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;

namespace SensorForwarder.Configuration;

/// <summary>One setting: an option at the root of the document, and its place in <see cref="Settings"/>.</summary>
/// <param name="Option">Its key, its values and what it does.</param>
/// <param name="Set">Returns the settings with a value from a document, or why the value is refused.</param>
/// <param name="Get">The value in force, in the form of a document.</param>
/// <param name="Shown">The same without secrets, for log, page and hub.</param>
internal sealed record SettingDefinition(
    Option Option,
    Func<Settings, JsonElement, (Settings Settings, string? Problem)> Set,
    Func<Settings, JsonNode?> Get,
    Func<Settings, JsonNode?> Shown)
{
    public string Key => Option.Name;

    public static SettingDefinition Of<T>(
        Option<T> option, Func<Settings, T> get, Func<Settings, T, Settings> set) => new(
        option,
        (settings, value) => option.TryRead(value, out var read, out var problem)
            ? (set(settings, read), null)
            : (settings, problem),
        settings => option.Format(get(settings)),
        settings => option.Shown(get(settings)));
}
