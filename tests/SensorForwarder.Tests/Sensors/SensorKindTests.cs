using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

public sealed class SensorKindTests
{
    static IReadOnlyDictionary<string, SensorSettings> Read(string map, out List<string> errors)
    {
        using var json = JsonDocument.Parse(map);
        return new SensorsParser(new(new("/proc", "/sys", "/tmp"), TimeProvider.System))
            .Read(json.RootElement, null, TimeSpan.FromSeconds(5), out _, out errors);
    }

    static string ErrorOf(string entry)
    {
        var sensors = Read($$"""{"attic":{{entry}}}""", out var errors);
        Assert.Empty(sensors);
        return Assert.Single(errors);
    }

    [Fact]
    public void Every_common_option_holds_for_every_kind()
    {
        foreach (var kind in SensorKinds.All)
        {
            var entry = new JsonObject
            {
                ["kind"] = kind.Name,
                ["intervalSeconds"] = 2,
                ["enabled"] = true,
                ["label"] = "Attic, north",
                ["scale"] = 1.5,
                ["offset"] = -1,
                ["deadband"] = 0.1,
                ["maxSilenceSeconds"] = 60,
            };
            if (kind.HasSamples) entry["samples"] = 3;
            foreach (var option in kind.Options.Where(option => option.IsRequired)) entry[option.Name] = Example(option);
            var sensors = Read(new JsonObject { ["attic"] = entry }.ToJsonString(), out var errors);
            Assert.Empty(errors);
            Assert.Equal(TimeSpan.FromSeconds(2), sensors["attic"].Interval);
        }
    }

    [Theory]
    [InlineData("""{"kind":"simulated","sead":1}""", "attic: sead: there is no such option (did you mean seed?)")]
    [InlineData(
        """{"kind":"simulated","interval":1}""",
        "attic: interval: there is no such option (did you mean intervalSeconds?)")]
    [InlineData("""{"kind":"host","colour":"red"}""", "attic: colour: there is no such option; host has intervalSeconds, enabled, label, scale, offset, deadband, maxSilenceSeconds, samples")]
    [InlineData("""{"kind":"counter","line":17,"samples":3}""", "attic: samples: there is no such option; counter has ")]
    [InlineData("""{"kind":"gpio","line":"GPIO17","samples":3}""", "attic: samples: there is no such option; gpio has ")]
    [InlineData("""{"kind":"gpio"}""", "attic: line is missing; it is a text of 1 to 31 characters, or an integer from 0 to 1023")]
    [InlineData("""{"kind":"gpio","line":1.5}""", "attic: line: 1.5 is not allowed; allowed is a text of 1 to 31 characters, or an integer from 0 to 1023")]
    [InlineData("""{"kind":"hots"}""", "did you mean host?")]
    [InlineData("""{}""", "attic: kind is missing; it is one of host, simulated")]
    [InlineData("""{"kind":7}""", "attic: kind is missing; it is one of host, simulated")]
    [InlineData("""{"kind":"host","enabled":"yes"}""", "attic: enabled: \"yes\" is not allowed; allowed is true or false")]
    [InlineData("""{"kind":"host","samples":"3"}""", "attic: samples: \"3\" is text; allowed is an integer from 1 to 15, without quotes")]
    [InlineData("""{"kind":"host","samples":2.5,"label":""}""", "attic: samples: 2.5 is not allowed; allowed is an integer from 1 to 15, label: \"\" is not allowed; allowed is a text of 1 to 64 characters")]
    [InlineData("""{"kind":"host","scale":{"load1":"2"}}""", "attic: scale: {\"load1\":\"2\"} is not allowed; allowed is a number from -1000000000000 to 1000000000000, or a map of value to number")]
    [InlineData(
        """{"kind":"simulated","deadband":{"temprature":1}}""",
        "attic: deadband: simulated has no value 'temprature' (did you mean temperature?)")]
    [InlineData("""{"kind":"simulated","offset":{"x":1}}""", "attic: offset: simulated has no value 'x'; it has temperature, humidity, pressure")]
    [InlineData("""{"kind":"host","intervalSeconds":0}""", "attic: intervalSeconds: 0 is not allowed; allowed is a number from 0.01 to 86400")]
    public void What_is_wrong_is_said_with_the_sensor_the_option_its_value_and_what_is_allowed(string entry, string error) =>
        Assert.Contains(error, ErrorOf(entry), StringComparison.Ordinal);

    [Theory]
    [InlineData(""" "kind":"bme280","address":"0x77" """, """ "kind":"bmp280","address":119 """, "address 0x77 on I2C bus 1")]
    [InlineData(""" "kind":"sht3x" """, """ "kind":"sht4x","bus":1 """, "address 0x44 on I2C bus 1")]
    [InlineData(""" "kind":"mcp3008" """, """ "kind":"mcp3008","channels":[1] """, "chip select 0 on SPI bus 0")]
    [InlineData(""" "kind":"w1","device":"28-1" """, """ "kind":"w1","device":"28-1" """, "1-wire device 28-1")]
    public void Two_sensors_at_one_place_are_refused_by_name(string first, string second, string place)
    {
        var sensors = Read($$"""{"attic":{ {{first}} },"cellar":{ {{second}} },"roof":{ {{second}},"enabled":false} }""", out var errors);
        Assert.Equal(["attic", "roof"], sensors.Keys);
        Assert.Equal($"cellar: {place} is that of sensor attic already", Assert.Single(errors));
    }

    [Theory]
    [InlineData("\"0x76\"", true)]
    [InlineData("\"0X77\"", true)]
    [InlineData("118", true)]
    [InlineData("\"76\"", false)]
    [InlineData("\"0x78\"", false)]
    [InlineData("76", false)]
    public void An_address_is_a_number_or_hexadecimal_text(string address, bool isAllowed)
    {
        var sensors = Read($$"""{"attic":{"kind":"bme280","address":{{address}} } }""", out var errors);
        Assert.Equal(isAllowed, sensors.Count == 1);
        if (!isAllowed) Assert.Equal($"attic: address: {address} is not allowed; allowed is one of \"0x76\", \"0x77\"", Assert.Single(errors));
    }

    [Fact]
    public void Null_is_the_default()
    {
        var sensors = Read("""{"attic":{"kind":"simulated","seed":null,"intervalSeconds":null,"scale":null,"enabled":null}}""", out var errors);
        Assert.Empty(errors);
        Assert.Equal(TimeSpan.FromSeconds(5), sensors["attic"].Interval);
        Assert.True(sensors["attic"].IsEnabled);
    }

    [Fact]
    public void Names_of_kinds_and_options_are_unique_and_documented()
    {
        Assert.Equal(SensorKinds.Names, SensorKinds.Names.Distinct());
        foreach (var kind in SensorKinds.All)
        {
            var names = kind.AllOptions.Select(option => option.Name).Append("kind").ToList();
            Assert.Equal(names, names.Distinct());
            Assert.NotEmpty(kind.Text);
            Assert.All(kind.AllOptions, option => Assert.NotEmpty(option.Text));
        }
    }

    [Fact]
    public void A_default_is_a_value_that_its_option_takes()
    {
        foreach (var option in SensorKinds.All.SelectMany(kind => kind.AllOptions).Where(option => option.Default is not null))
        {
            using var value = JsonDocument.Parse(option.Default!.ToJsonString());
            option.Check(value.RootElement);
        }
    }

    /// <summary>A value that the option takes.</summary>
    internal static JsonNode Example(SensorOption option) => option.Shape switch
    {
        OptionShape.Text => "/tmp/x",
        OptionShape.NameOrNumber => 17,
        OptionShape.Choice(var names) => names[0],
        _ => option.Default!.DeepClone(),
    };
}
