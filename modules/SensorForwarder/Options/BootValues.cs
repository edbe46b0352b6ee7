using Microsoft.Extensions.Configuration;

namespace SensorForwarder.Options;

/// <summary>A boot value is missing or malformed. The message is one line: the variable, its value, what to do.
/// </summary>
internal sealed class BootValueException(string message) : Exception(message);

/// <summary>The boot values from the environment (<c>Section__Name</c>) or appsettings.json. White space around a value
/// is removed, since a file or a heredoc leaves a line break at its end. A blank value counts as missing.</summary>
internal readonly struct BootValues(IConfiguration configuration)
{
    /// <summary>The value of an option, or its default.</summary>
    /// <exception cref="BootValueException">The value is not allowed.</exception>
    public T Get<T>(Option<T> option) => Get(option, option.Standard);

    /// <summary>The value of an option, or <paramref name="otherwise"/> if it is missing.</summary>
    /// <exception cref="BootValueException">The value is not allowed.</exception>
    public T Get<T>(Option<T> option, T otherwise) => Find(option.Name) is { } text ? Read(option, text) : otherwise;

    /// <summary>The text of a variable; null: missing or blank.</summary>
    public string? Find(string variable) => configuration[Key(variable)]?.Trim() is { Length: > 0 } text ? text : null;

    /// <summary>Whether a variable is set, even to a blank value.</summary>
    public bool Has(string variable) => configuration[Key(variable)] is not null;

    /// <summary>The variables with a prefix, by the rest of their names.</summary>
    public IEnumerable<(string Name, string Text)> Below(string prefix) => configuration.GetSection(Key(prefix))
        .GetChildren().Select(entry => (entry.Key, entry.Value?.Trim() ?? ""));

    /// <summary>Parses the value of an option.</summary>
    /// <exception cref="BootValueException">The value is not allowed; the message ends with what the option does.
    /// </exception>
    public static T Read<T>(Option<T> option, string text) => option.TryRead(text, out var value, out var problem)
        ? value
        : throw new BootValueException($"{option.Name}: {problem}. {option.Text.Replace('`', '\'')}");

    static string Key(string variable) => variable.Replace("__", ":", StringComparison.Ordinal);
}
