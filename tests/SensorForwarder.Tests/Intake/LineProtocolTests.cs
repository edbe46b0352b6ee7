using System.Text.Json.Nodes;
using SensorForwarder.Intake;

namespace SensorForwarder.Tests.Intake;

/// <summary>InfluxDB line protocol, as Telegraf and ESP devices send it.</summary>
public sealed class LineProtocolTests
{
    [Theory]
    [InlineData(
        "weather temperature=21.4", null,
        """{"sensor":"weather","kind":"influx","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{"temperature":21.4}}""")]
    [InlineData(
        "cpu,host=pi,cpu=cpu0 usage_idle=98.25,n=-3i,big=18446744073709551615u,up=t,state=\"a \\\"b\\\" \\\\, c=d\" 1795521600000000000", "ns",
        """{"sensor":"cpu,cpu=cpu0,host=pi","kind":"influx","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{"usage_idle":98.25,"n":-3,"big":18446744073709551615,"up":true,"state":"a \"b\" \\, c=d"},"tags":{"cpu":"cpu0","host":"pi"}}""")]
    [InlineData(
        "my\\ meter\\,1,room=living\\ room\\=A f\\ 1=1 1795521600123", "ms",
        """{"sensor":"my meter,1,room=living room=A","kind":"influx","time":"2026-11-24T12:00:00.123Z","quality":"good","values":{"f 1":1},"tags":{"room":"living room=A"}}""")]
    [InlineData(
        "m,loc=\"us v=1,w=False,x=.5,y=5.,z=1e-7 1795521600", "s",
        """{"sensor":"m,loc=\"us","kind":"influx","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{"v":1,"w":false,"x":0.5,"y":5,"z":1E-07},"tags":{"loc":"\"us"}}""")]
    public async Task A_line_is_stored_as_a_reading_of_its_series(string line, string? precision, string stored)
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        Assert.Equal(IntakeAnswer.Stored, await intake.SendLinesAsync(line, precision));
        Assert.Equal(stored, Assert.Single(intake.Stored()));
    }

    [Theory]
    [InlineData("n", 1)]
    [InlineData("us", 1_000)]
    [InlineData("u", 1_000)]
    [InlineData("ms", 1_000_000)]
    [InlineData("s", 1_000_000_000)]
    [InlineData("m", 60_000_000_000)]
    [InlineData("h", 3_600_000_000_000)]
    public async Task Times_are_read_in_the_precision_of_the_request(string precision, long nanoseconds)
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        await intake.SendLinesAsync($"a v=1 {1_795_521_600_000_000_000 / nanoseconds}", precision);
        Assert.Equal("2026-11-24T12:00:00.000Z", (string?)JsonNode.Parse(Assert.Single(intake.Stored()))!["time"]);
    }

    [Fact]
    public async Task Comments_and_empty_lines_are_ignored_and_a_string_may_contain_line_breaks()
    {
        await using var intake = await IntakeFixture.OpenAsync();
        Assert.Equal(IntakeAnswer.Stored, await intake.SendLinesAsync("# it's a \"comment\n\na v=\"one\ntwo\",w=2\r\n\n  b v=3 \n"));
        var stored = intake.Stored().Select(text => JsonNode.Parse(text)!).ToList();
        Assert.Equal(["a", "b"], stored.Select(reading => (string?)reading["sensor"]));
        Assert.Equal("one\ntwo", (string?)stored[0]["values"]!["v"]);
    }

    [Theory]
    [InlineData("", "it is empty")]
    [InlineData("# nothing", "it is empty")]
    [InlineData("a v=1\nb", "line 2: it has no fields")]
    [InlineData("a v=1\n# c\n\nb v=", "line 4: field 'v' is not a number")]
    [InlineData("a v=\"one\ntwo\"\nb v=x", "line 3: field 'v' is not a number")]
    [InlineData("a,b v=1", "line 1: tag 'b' has no value")]
    [InlineData("a,b= v=1", "line 1: a tag has no name or no value")]
    [InlineData(",b=c v=1", "line 1: it has no measurement")]
    [InlineData("a v", "line 1: field 'v' has no name or no value")]
    [InlineData("a v=1,=2", "line 1: field '' has no name or no value")]
    [InlineData("a v=NaN", "line 1: field 'v' is not a number")]
    [InlineData("a v=1e999", "line 1: field 'v' is not a number")]
    [InlineData("a v=1.5i", "line 1: field 'v' is not a number")]
    [InlineData("a v=\"open", "line 1: field 'v' is not a number")]
    [InlineData("a v=\"x\"y", "line 1: field 'v' is followed by neither a comma nor a blank")]
    [InlineData("a v=1 noon", "line 1: its time is not a whole number")]
    [InlineData("a v=1 9223372036854775807", "line 1: its time is not a whole number, or not in the years 1970 to 9998; see precision", "s")]
    [InlineData("a v=1 -1", "line 1: its time is not a whole number")]
    public async Task An_error_is_reported_with_its_line(string body, string reason, string? precision = null)
    {
        await using var intake = await IntakeFixture.OpenAsync();
        var answer = await intake.SendLinesAsync(body, precision);
        Assert.Equal(IntakeOutcome.Malformed, answer.Outcome);
        Assert.StartsWith(reason, answer.Reason, StringComparison.Ordinal);
        Assert.Empty(intake.Stored());
    }

    [Fact]
    public async Task A_series_with_many_tags_gets_a_shorter_unique_name()
    {
        await using var intake = await IntakeFixture.OpenAsync();
        var tags = string.Concat(Enumerable.Range(0, 30).Select(i => $",label{i:00}=0123456789"));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendLinesAsync($"docker{tags} v=1\ndocker{tags}0 v=2\ndocker{tags} v=3"));
        var stored = intake.Stored().Select(text => JsonNode.Parse(text)!).ToList();
        var names = stored.ConvertAll(reading => (string)reading["sensor"]!);
        Assert.All(names, name => Assert.Equal(IntakeLimits.MaxNameLength, name.Length));
        Assert.Equal(names[0], names[2]);
        Assert.NotEqual(names[0], names[1]);
        Assert.Equal(30, stored[0]["tags"]!.AsObject().Count);
    }
}
