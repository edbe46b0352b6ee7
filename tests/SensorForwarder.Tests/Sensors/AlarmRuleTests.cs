using System.Text.Json;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

public sealed class AlarmRuleTests
{
    [Theory]
    [InlineData("""{"value":"temperature","above":30}""", "temperature above 30")]
    [InlineData("""{"value":"temperature","below":-1.5,"forSeconds":60,"hysteresis":1}""", "temperature below -1.5 for 60 s")]
    [InlineData("""{"value":"temperature","changesBy":5}""", "temperature changes by 5")]
    [InlineData("""{"value":"temperature","changesBy":5,"forSeconds":600}""", "temperature changes by 5 within 600 s")]
    [InlineData("""{"silentForSeconds":300,"severity":"critical"}""", "silent for 300 s")]
    [InlineData("""{"bad":true}""", "bad")]
    [InlineData("""{"bad":true,"forSeconds":0.5,"above":null}""", "bad for 0.5 s")]
    public void An_alarm_is_named_after_its_condition(string alarm, string name) => Assert.Equal(name, Assert.Single(Read($"[{alarm}]")).Name);

    [Fact]
    public void An_omitted_option_of_an_alarm_has_its_default_value()
    {
        var rule = Assert.Single(Read("""[{"value":"temperature","above":30}]"""));
        Assert.Equal(new(AlarmCondition.Above, "temperature", 30) { For = TimeSpan.Zero, Hysteresis = 0, Severity = "warning" }, rule);
        Assert.Empty(Read("[]"));
        Assert.Empty(Read("null"));
    }

    [Theory]
    [InlineData("""{"bad":true}""", "{\"bad\":true} is not allowed; allowed is a list of up to 16 objects with value, above, below, changesBy, silentForSeconds, bad, hysteresis, forSeconds, severity, output")]
    [InlineData("[5]", "alarm 1: 5 is not an object such as {\"value\":\"temperature\",\"above\":30}")]
    [InlineData("""[{"bad":true},{"value":"temperature"}]""", "alarm 2: it has no condition; give it one of above, below, changesBy, silentForSeconds, bad")]
    [InlineData("""[{"bad":false}]""", "alarm 1: it has no condition; give it one of above, below, changesBy, silentForSeconds, bad")]
    [InlineData("""[{"value":"temperature","above":30,"below":5}]""", "alarm 1: it has above and below; an alarm has one condition: write an alarm for each")]
    [InlineData("""[{"above":30}]""", "alarm 1: value is missing; above needs the name of a value of the sensor, such as \"temperature\"")]
    [InlineData("""[{"value":"temperature","bad":true}]""", "alarm 1: value is not for bad, which watches the whole sensor: remove it")]
    [InlineData("""[{"bad":true,"hysteresis":1}]""", "alarm 1: hysteresis is for above and below only, not for bad: remove it")]
    [InlineData("""[{"silentForSeconds":60,"forSeconds":60}]""", "alarm 1: forSeconds is not for silentForSeconds, which is a time itself: remove it")]
    [InlineData("""[{"value":"temperature","above":"30"}]""", "alarm 1: above: \"30\" is text; allowed is a number from -1000000000000 to 1000000000000, without quotes")]
    [InlineData("""[{"bad":true,"forSeconds":-1}]""", "alarm 1: forSeconds: -1 is not allowed; allowed is a number from 0 to 86400")]
    [InlineData("""[{"bad":true,"severity":"urgent"}]""", "alarm 1: severity: \"urgent\" is not allowed; allowed is one of \"info\", \"warning\", \"critical\"")]
    [InlineData("""[{"bad":true,"output":17}]""", "alarm 1: output: 17 is not an object such as {\"line\":\"GPIO17\"}")]
    [InlineData("""[{"bad":true,"output":{"chip":"x"}}]""", "alarm 1: output: line is missing; it is a text of 1 to 31 characters, or an integer from 0 to 1023")]
    [InlineData("""[{"bad":true,"hysterisis":1}]""", "alarm 1: hysterisis: there is no such option (did you mean hysteresis?)")]
    [InlineData("""[{"bad":true},{"silentForSeconds":5},{"bad":true,"severity":"info"}]""", "alarms 1 and 3 are both 'bad': remove one of them")]
    public void An_invalid_alarm_is_refused_with_the_problem_and_how_to_fix_it(string alarms, string message)
    {
        using var json = JsonDocument.Parse(alarms);
        Assert.Equal(message, CommonOptions.Alarms.Objection(json.RootElement));
    }

    [Fact]
    public void A_sensor_can_have_at_most_sixteen_alarms()
    {
        using var json = JsonDocument.Parse($"[{string.Join(',', Enumerable.Range(1, 17).Select(n => $$"""{"silentForSeconds":{{n}}}"""))}]");
        Assert.Equal("there are 17; allowed are 16", CommonOptions.Alarms.Objection(json.RootElement));
    }

    [Fact]
    public void An_alarm_on_a_value_that_the_kind_lacks_is_refused_with_a_suggestion()
    {
        using var json = JsonDocument.Parse("""{"kind":"bme280","alarms":[{"value":"temprature","above":30}]}""");
        var exception = Assert.Throws<SensorSettingsException>(() => Module.SensorKinds.Find("bme280").Check(json.RootElement));
        Assert.Equal("alarms: bme280 has no value 'temprature' (did you mean temperature?)", exception.Message);
    }

    static IReadOnlyList<AlarmRule> Read(string alarms)
    {
        using var json = JsonDocument.Parse($$"""{"alarms":{{alarms}}}""");
        return SensorSettings.Get(CommonOptions.Alarms, json.RootElement);
    }
}
