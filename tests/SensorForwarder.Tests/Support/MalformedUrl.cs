using CsCheck;

namespace SensorForwarder.Tests.Support;

/// <summary>A malformed URL or connection string that contains a secret, for tests of redaction.</summary>
/// <param name="Text">The whole text.</param>
/// <param name="Secret">The secret: random letters and digits that occur nowhere else in the text.</param>
internal sealed record MalformedUrl(string Text, string Secret)
{
    const int SecretLength = 16, ShownAtMost = 6;
    const string Letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    static readonly string[] Forms =
    [
        "sensor:{0}@gw/x", "http:/u:{0}@gw", "http:\\\\u:{0}@gw", "http://u:{0}@gw", "http://{0}@gw/in", "http://u:{0}@gw:99999/", "ftp://gw/#token={0}",
        "ftp://u:{0}@gw/", "ftp://gw/{0}", "http:///u:{0}@gw", "https//u:{0}@gw", "htps://u:{0}@gw/in", "//u:{0}@gw", "http://gw/in?sig={0}", "http://gw/#token={0}",
        "gw/in?key={0}", "{0}@gw", "http://u:{0}@", "u:{0}", "gw/services/{0}", "Bearer {0}", "http://u:12/{0}@gw", "http://u:12?{0}@gw", "http://u:12#{0}@gw",
        "HostName=hub.example;DeviceId=d;SharedAccessKey={0}", "http://gw/in http://u:{0}@gw", "mailto:u@{0}", "\"http://u:{0}@gw\"", "data:,{0}",
    ];

    static readonly string[] Breaks = ["", "?", "#", "/", "\\", "@", "%", ":", " ", "%40", "&", ";", "=", "\n", "\u202e", "\"", "'", "\u00e9"];

    /// <summary>Generates texts of any length, with an inserted or missing character, and with delimiters around the
    /// secret.</summary>
    public static Gen<MalformedUrl> Any { get; } =
        from form in Gen.Int[0, Forms.Length - 1]
        from secret in Gen.Int[0, Letters.Length - 1].Array[SecretLength].Select(Spell)
        from before in OneOf(Breaks)
        from after in OneOf(Breaks)
        from padding in Gen.OneOf(Gen.Const(0), Gen.Int[0, 300], Gen.Const(3_000))
        from inFront in Gen.Bool
        from edit in Gen.Int[-1, 60]
        from inserted in OneOf(Breaks)
        select Make(Forms[form], secret, before, after, new('x', padding), inFront, edit, inserted);

    /// <summary>Whether an output contains a usable part of the secret. A truncated text may contain only a
    /// part.</summary>
    public bool IsIn(string output) => Enumerable.Range(0, SecretLength - ShownAtMost + 1)
        .Any(start => output.Contains(Secret.Substring(start, ShownAtMost), StringComparison.OrdinalIgnoreCase));

    static MalformedUrl Make(string form, string secret, string before, string after, string padding, bool inFront, int edit, string inserted)
    {
        // The edit must not touch the secret or its delimiters: a secret that becomes part of the host name is shown.
        var hole = form.IndexOf("{0}", StringComparison.Ordinal);
        if (edit >= 0 && edit < form.Length && (edit < hole - 1 || edit > hole + 3)) form = inserted.Length == 0 ? form.Remove(edit, 1) : form.Insert(edit, inserted);
        var text = form.Replace("{0}", $"{before}{secret}{after}", StringComparison.Ordinal);
        var at = text.IndexOf("//u", StringComparison.Ordinal);
        if (padding.Length > 0) text = inFront && at >= 0 ? text.Insert(at + 2, padding) : text + padding;
        return new(text, secret);
    }

    // Contains a digit, since a word of letters only may be a misspelled name, which is shown.
    static string Spell(int[] indexes) => string.Concat(indexes.Select((index, i) => i == SecretLength / 2 ? '7' : Letters[index]));

    static Gen<string> OneOf(string[] choices) => Gen.Int[0, choices.Length - 1].Select(i => choices[i]);
}
