using Microsoft.Extensions.Logging;
using SensorForwarder.Operations;

namespace SensorForwarder.Tests.Operations;

/// <summary>The log lines on the page.</summary>
public sealed class RecentEventsTests
{
    static string Shown(string text)
    {
        using var events = new RecentEvents(TimeProvider.System);
        events.CreateLogger("any").Log(LogLevel.Error, 1, text, null, (state, _) => state);
        return events.Newest().Single().Text;
    }

    [Fact]
    public void The_advice_at_the_end_of_a_long_line_is_kept()
    {
        var text = $"{string.Join(' ', Enumerable.Repeat("wrong", 60))}: mend it.";
        Assert.Equal(text, Shown(text));
    }

    [Fact]
    public void A_line_that_is_too_long_is_cut_after_a_whole_word_and_marked_as_cut()
    {
        var shown = Shown(string.Join(' ', Enumerable.Repeat("wrong", 200)));
        Assert.InRange(shown.Length, RecentEvents.MaxTextLength - 10, RecentEvents.MaxTextLength);
        Assert.Equal(shown, string.Join(' ', Enumerable.Repeat("wrong", (shown.Length - 2) / 6)) + " ..");
        Assert.Equal($"{new string('x', RecentEvents.MaxTextLength - 3)} ..", Shown(new string('x', 5_000)));
    }

    [Theory]
    [InlineData('\n')]
    [InlineData('\u001b')]
    [InlineData('\u061c')]
    [InlineData('\u200e')]
    [InlineData('\u200f')]
    [InlineData('\u2028')]
    [InlineData('\u2029')]
    [InlineData('\u202a')]
    [InlineData('\u202e')]
    [InlineData('\u2066')]
    [InlineData('\u2069')]
    public void Control_and_direction_characters_are_removed_from_a_line(char c) => Assert.Equal("attic drow", Shown($"attic{c}drow"));

    [Fact]
    public void Letters_of_any_script_are_kept() => Assert.Equal("k\u00fcche \u05d0\u05d1 \u0639\u0644\u06cc\u200c\u0631\u0636\u0627", Shown("k\u00fcche \u05d0\u05d1 \u0639\u0644\u06cc\u200c\u0631\u0636\u0627"));
}
