using EdgeSimulator.Hub;

namespace SensorForwarder.Tests.Simulator;

public sealed class RouteConditionTests
{
    const string Body = """{"batch":[{"id":7,"data":{"sensor":"attic","ok":true,"none":null,"t":21.5}}]}""";

    static readonly RoutedMessage Message = new(
        new("pi1", "telemetry", ""),
        new Dictionary<string, string?>
        {
            ["level"] = "7",
            ["name"] = "it's",
            ["a b"] = "c",
            ["empty"] = null,
            ["$.on"] = "live",
            ["$.ct"] = "application/json",
            ["$.ce"] = "utf-8",
            ["$.mid"] = "m1",
        },
        System.Text.Encoding.UTF8.GetBytes(Body));

    [Theory]
    [InlineData("level = '7'", true)]
    [InlineData("LEVEL = '7'", false)]
    [InlineData("level = 7", false)]
    [InlineData("level != 7", false)]
    [InlineData("NOT (level = 7)", false)]
    [InlineData("as_number(level) >= 7 and AS_NUMBER(level) < 7.5", true)]
    [InlineData("as_number(name) < 7 or true", true)]
    [InlineData("name = 'it''s'", true)]
    [InlineData("name <> \"it's\"", false)]
    [InlineData("{a b} = 'c'", true)]
    [InlineData("level", false)]
    [InlineData("true AND NOT false", true)]
    [InlineData("NOT NOT true", true)]
    [InlineData("true OR true AND false", true)]
    [InlineData("(true OR true) AND false", false)]
    [InlineData("missing = 'x' OR level = '7'", true)]
    [InlineData("missing = 'x' AND level = '7'", false)]
    [InlineData("missing != 'x'", false)]
    [InlineData("IS_DEFINED(missing)", false)]
    [InlineData("NOT is_defined(missing)", true)]
    [InlineData("empty = null AND is_null(empty)", true)]
    [InlineData("$contentType = 'application/json' AND $messageId = 'm1' AND $outputName = 'live'", true)]
    [InlineData("$connectionModuleId = 'telemetry' AND $connectionDeviceId = 'pi1'", true)]
    [InlineData("$body.batch[0].id = 7 AND $body.batch[0].data.t > 21 AND $body.batch[0].data.t <= 21.5e0", true)]
    [InlineData("$body.batch[0].data.ok = true AND $body.batch[0].data.none = null", true)]
    [InlineData("$body.batch[0].data.ok", true)]
    [InlineData("$body.batch[1].id = 7", false)]
    [InlineData("is_defined($body.batch[0].data)", true)]
    [InlineData("$body.batch > -1", false)]
    [InlineData("starts_with($body.batch[0].data.sensor, 'at') AND ends_with(name, 's') AND contains(name, '''')", true)]
    [InlineData("upper(lower('Ab')) = 'AB' AND length(level) = 1 AND 'b' > 'a'", true)]
    [InlineData("is_string(level) AND is_number(5) AND is_bool(false)", true)]
    public void Condition_is_evaluated_as_in_the_query_language_of_IoT_Hub(string text, bool holds) =>
        Assert.Equal(holds, RouteCondition.Parse(text).Holds(Message));

    [Theory]
    [InlineData("application/octet-stream", Body)]
    [InlineData("application/json", "{not json")]
    public void Body_that_is_no_JSON_has_no_properties(string type, string body)
    {
        var message = new RoutedMessage(
            Message.From, new Dictionary<string, string?> { ["$.ct"] = type, ["$.ce"] = "utf-8" }, System.Text.Encoding.UTF8.GetBytes(body));

        Assert.False(RouteCondition.Parse("is_defined($body.batch)").Holds(message));
    }

    [Theory]
    [InlineData("", "at character 1 of '': expected a value, a property or a function, not end of text")]
    [InlineData("a =", "expected a value, a property or a function, not end of text")]
    [InlineData("a = = b", "at character 5 of 'a = = b': expected a value, a property or a function, not '='")]
    [InlineData("a = 1 + 2", "at character 7 of 'a = 1 + 2': expected AND, OR or end of text, not '+'")]
    [InlineData("a || b = 'c'", "expected AND, OR or end of text, not '||'")]
    [InlineData("a = 'x", "not '''")]
    [InlineData("(a = 1", "expected ')', not end of text")]
    [InlineData("a = 1 b", "expected AND, OR or end of text, not 'b'")]
    [InlineData("and = 1", "expected a value, a property or a function, not 'and'")]
    [InlineData("$enqueuedTime = 1", "unknown system property '$enqueuedTime'; supported: $messageId")]
    [InlineData("$twin.tags.x = 1", "unknown system property '$twin.tags.x'")]
    [InlineData("substring(a, 1) = 'x'", "unknown function 'substring'; supported: IS_DEFINED")]
    [InlineData("is_defined(a, b)", "'is_defined' requires 1 arguments, not 2")]
    [InlineData("is_defined(a b)", "expected ',', not 'b'")]
    [InlineData("is_defined(", "expected a value, a property or a function, not end of text")]
    public void Syntax_error_is_reported_with_its_position_or_the_unsupported_name(string text, string words) => Assert.Contains(
        words, Assert.Throws<FormatException>(() => RouteCondition.Parse(text)).Message, StringComparison.Ordinal);
}
