namespace SensorForwarder.Text;

/// <summary>
/// The secrets of a request (credentials, keys in headers and in the query), which are redacted from texts that are
/// shown, since an answer may repeat them. Immutable.
/// </summary>
/// <param name="values">The secrets. Values too short to be a key are ignored: they occur in any text.</param>
internal sealed class Secrets(IEnumerable<string> values)
{
    const int MinLength = 6;

    // The longest first, since a secret may begin with another one. "Bearer KEY" counts as a whole and as "KEY".
    readonly string[] _values = [.. values
        .SelectMany(value => (string[])[value, value[(value.IndexOf(' ', StringComparison.Ordinal) + 1)..]])
        .Where(value => value.Length >= MinLength)
        .OrderByDescending(value => value.Length)];

    /// <summary>The length of the longest secret; 0: none.</summary>
    public int MaxLength => _values.Length == 0 ? 0 : _values[0].Length;

    /// <summary>Replaces all secrets in a text. Truncate the text afterwards: a part of a secret is not
    /// found.</summary>
    public string Redact(string text) =>
        _values.Aggregate(text, static (text, secret) => text.Replace(secret, "..", StringComparison.Ordinal));
}
