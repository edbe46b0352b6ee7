using System.Text.Json;
using SensorForwarder.Text;

namespace SensorForwarder.Tests.Text;

/// <summary>Sanitising and redacting external texts and URLs, formatting times, and name suggestions.</summary>
public sealed class TextTests
{
    [Theory]
    [InlineData("https://gw:8443/in/x?sig=1#f", "https://gw:8443/in/x", "https://gw:8443/in/x?..")]
    [InlineData("http://gw.example/in", "http://gw.example/in", "http://gw.example/in")]
    [InlineData("http://gw.example/in?", "http://gw.example/in", "http://gw.example/in")]
    [InlineData("http://u:12/pw@gw/", "http://..", "http://..")]
    [InlineData("http://a/?pw@gw", "http://..", "http://..?..")]
    [InlineData("http://a/#pw@gw", "http://..", "http://..")]
    public void A_URL_is_shown_without_parts_that_may_be_secret(string url, string place, string shown) =>
        Assert.Equal((place, shown), (UrlText.Place(new(url)), UrlText.Show(new(url))));

    [Theory]
    [InlineData("HTTPS://GW.Example:443/x?y", "https://gw.example")]
    [InlineData("http://gw.example:8080/", "http://gw.example:8080")]
    [InlineData("http://[::1]:8080/", "http://[::1]:8080")]
    [InlineData("http://[::1]/", "http://[::1]")]
    [InlineData("http://b\u00fccher.example/", "http://xn--bcher-kva.example")]
    public void An_origin_is_shown_in_normalized_form(string url, string origin) =>
        Assert.Equal((origin, origin), (UrlText.Origin(new(url)), UrlText.ShowOrigin(new(url))));

    [Fact]
    public void An_origin_that_may_contain_part_of_a_password_is_not_shown() =>
        Assert.Equal("http://..", UrlText.ShowOrigin(new("http://u:12/pw@gw/")));

    [Theory]
    [InlineData("u:pw@gw", "a text of 7 characters")]
    [InlineData("pw", "a text of 2 characters")]
    [InlineData("ftp://u:pw@gw/x", "ftp://gw with a user or password")]
    [InlineData("http://u:12/pw@gw/", "a text of 18 characters")]
    [InlineData("file:///etc/pw", "a text of 14 characters")]
    public void A_rejected_URL_is_shown_by_scheme_and_host_or_only_by_its_length(string text, string shown) =>
        Assert.Equal(shown, UrlText.Rejected(text));

    [Fact]
    public void Well_known_schemes_of_a_rejected_URL_are_shown()
    {
        const string Known = "http https ftp ftps sftp ws wss tcp tls mqtt mqtts amqp amqps coap coaps grpc unix file";
        foreach (var scheme in Known.Split(' '))
            Assert.Equal($"{scheme}://gw", UrlText.Rejected($"{scheme}://gw/pw"));
    }

    [Theory]
    [InlineData("abcdefghijkl", true)]
    [InlineData("abcdefghijklm", false)]
    [InlineData("abcdefghijkl.abcdefghijkl_abcde+", true)]
    [InlineData("abcdefghijkl-abcdefghijkl abcdef+", false)]
    [InlineData("a/b", false)]
    [InlineData("", true)]
    public void A_value_is_quoted_only_if_it_looks_like_words(string text, bool isWord) =>
        Assert.Equal(isWord ? $"'{text}'" : $"a text of {text.Length} characters", LogText.Quote(text));

    [Theory]
    [InlineData("\"word\"", "\"word\"")]
    [InlineData("\"a/b\"", "a text of 3 characters")]
    [InlineData("-1.5e3", "-1.5e3")]
    [InlineData("[1,\"word\",[true,null]]", "[1,\"word\",[true,null]]")]
    [InlineData("[1,[\"a/b\"]]", "a list")]
    [InlineData("{\"a\":\"b\"}", "{\"a\":\"b\"}")]
    [InlineData("{\"a\":\"b/c\"}", "an object")]
    [InlineData("{\"a/b\":1}", "an object")]
    public void A_JSON_value_is_quoted_only_if_its_texts_look_like_words(string json, string shown)
    {
        using var document = JsonDocument.Parse(json);
        Assert.Equal(shown, LogText.Quote(document.RootElement));
    }

    [Theory]
    [InlineData(60, true)]
    [InlineData(61, false)]
    public void A_number_is_quoted_up_to_a_maximum_length(int length, bool isShown)
    {
        var text = new string('1', length);
        using var document = JsonDocument.Parse(text);
        Assert.Equal(isShown ? text : "a number of 61 characters", LogText.Quote(document.RootElement));
    }

    [Theory]
    [InlineData("uploadIntervalSeconds", true)]
    [InlineData("abcdefghijklmnopqrstuvwxyzABCDEF", true)]
    [InlineData("abcdefghijklmnopqrstuvwxyzABCDEFG", false)]
    [InlineData("batch-size", true)]
    [InlineData("a:b", false)]
    [InlineData("", false)]
    public void A_name_is_shown_only_if_it_is_short_and_looks_like_a_word(string name, bool isShown) =>
        Assert.Equal(isShown ? name : $"a text of {name.Length} characters", LogText.Name(name));

    [Fact]
    public void A_time_is_shown_in_UTC() => Assert.Equal(
        "2026-11-24 12:20:31Z", LogText.Show(new(2026, 11, 24, 14, 20, 31, TimeSpan.FromHours(2))));

    [Theory]
    [InlineData("a\nb\u0085c\ud83d\ude00", "a b c  ")]
    [InlineData("\u061b\u061c\u061d\u200d\u200e\u200f\u2010", "\u061b \u061d\u200d  \u2010")]
    [InlineData("\u2027\u2028\u202e\u202f\u2065\u2066\u2069\u206a", "\u2027  \u202f\u2065  \u206a")]
    public void Characters_that_would_break_or_reorder_a_line_are_replaced_by_spaces(string text, string clean) =>
        Assert.Equal(clean, LogText.Clean(text));

    [Fact]
    public void A_text_is_cut_to_200_characters()
    {
        Assert.Equal(new string('x', 200), LogText.Clean(new string('x', 200)));
        Assert.Equal(new string('x', 200), LogText.Clean(new string('x', 201)));
    }

    [Theory]
    [InlineData("one two three\nfour", 18, "one two three four")]
    [InlineData("one two three four five six", 20, "one two three ..")]
    [InlineData("one two three four five six", 21, "one two three four ..")]
    [InlineData("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 20, "xxxxxxxxxxxxxxxxx ..")]
    [InlineData("xxxxxxxxxx xxxxxxxxxxxxxxxxxxxx", 20, "xxxxxxxxxx xxxxxx ..")]
    [InlineData("xxxxxxxxxxx xxxxxxxxxxxxxxxxxxx", 20, "xxxxxxxxxxx ..")]
    public void Sentences_that_are_too_long_are_cut_after_a_whole_word(string text, int length, string clean) =>
        Assert.Equal(clean, LogText.CleanSentences(text, length));

    [Theory]
    [InlineData("SIKN", "sink", true)]
    [InlineData("snk", "sink", true)]
    [InlineData("siink", "sink", true)]
    [InlineData("xxxk", "sink", false)]
    [InlineData("logLevle", "logLevel", true)]
    [InlineData("bXXXhSize", "batchSize", true)]
    [InlineData("bXXXXSize", "batchSize", false)]
    [InlineData("upl", "sink", false)]
    [InlineData("uplo", "uploadIntervalSeconds", true)]
    [InlineData("UPLOADINTERVAL", "uploadIntervalSeconds", true)]
    public void The_nearest_name_is_the_one_with_the_fewest_edits(string written, string name, bool isNear)
    {
        var nearest = NearestName.Find(written, ["uploadIntervalSeconds", "batchSize", "sink", "logLevel"]);
        Assert.Equal(new NearestName(name, isNear), nearest);
        Assert.Equal(isNear ? $" (did you mean {name}?)" : "", nearest.Hint);
    }

    [Theory]
    [InlineData(64, true)]
    [InlineData(65, false)]
    public void No_name_is_suggested_for_a_very_long_text(int length, bool isNear) =>
        Assert.Equal(isNear, NearestName.Find(new('x', length), [new('x', 63)]).IsNear);

    [Theory]
    [InlineData("you sent Bearer abcdefgh", "you sent ..")]
    [InlineData("no such key: abcdefgh", "no such key: ..")]
    [InlineData("no such key: abcdefgh-of-the-roof!", "no such key: ..!")]
    [InlineData("a short one", "a short one")]
    public void Secrets_are_redacted_anywhere_in_a_text_longest_first(string text, string shown)
    {
        var secrets = new Secrets(["Bearer abcdefgh", "abcdefgh-of-the-roof", "short", ""]);
        Assert.Equal((shown, 20), (secrets.Redact(text), secrets.MaxLength));
        Assert.Equal((text, 0), (new Secrets([]).Redact(text), new Secrets([]).MaxLength));
    }
}
