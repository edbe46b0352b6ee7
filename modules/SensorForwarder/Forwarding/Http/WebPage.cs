using System.Net.Http.Headers;
using System.Text;

namespace SensorForwarder.Forwarding.Http;

/// <summary>Recognises web pages: a captive portal, or the server of a wrong URL, answers any request with one.
/// Stateless.</summary>
internal static class WebPage
{
    public const string Reason = "answered with a web page: a captive portal, or a wrong URL?";

    // The tags from which https://mimesniff.spec.whatwg.org recognises HTML, and "meta".
    static readonly string[] Tags =
    [
        "!doctype html", "html", "head", "script", "iframe", "h1", "div", "font", "table", "a", "style", "title", "b",
        "body", "br", "p", "meta",
    ];

    /// <summary>Whether the headers announce a web page, or redirect a browser to one.</summary>
    public static bool IsAnnounced(HttpResponseHeaders headers, string mediaType) =>
        mediaType == "text/html" || mediaType.Contains("xhtml", StringComparison.Ordinal)
        || headers.Contains("Refresh");

    /// <summary>Whether a text that begins with <c>&lt;</c> is a web page; null: more text is needed.</summary>
    public static bool? Is(ReadOnlySpan<byte> beginning)
    {
        var text = Encoding.Latin1.GetString(beginning);
        while (text.StartsWith("<!--", StringComparison.Ordinal) || text.StartsWith("<?", StringComparison.Ordinal))
        {
            var end = text[1] == '!' ? "-->" : "?>";
            var at = text.IndexOf(end, StringComparison.Ordinal);
            if (at < 0) return null;
            text = text[(at + end.Length)..].TrimStart();
        }

        if (text.Length == 0) return null;
        if (text[0] != '<') return false;
        var tag = text[1..];
        if (Tags.Any(name => IsTag(tag, name))) return true;
        return "!--".StartsWith(tag, StringComparison.Ordinal)
            || Tags.Any(name => name.StartsWith(tag, StringComparison.OrdinalIgnoreCase))
            ? null
            : false;
    }

    static bool IsTag(string text, string name) =>
        text.Length > name.Length && text.StartsWith(name, StringComparison.OrdinalIgnoreCase)
        && text[name.Length] is '>' or '/' or ' ' or '\t' or '\r' or '\n';
}
