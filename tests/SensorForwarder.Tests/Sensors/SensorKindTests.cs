using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

public sealed class SensorKindTests
{
    static IReadOnlyDictionary<string, SensorSettings> Read(string map, out List<string> errors)
    {
        using var json = JsonDocument.Parse(map);
        return new SensorsParser(Module.SensorKinds, new(new("/proc", "/sys", "/tmp"), TimeProvider.System))
            .Read(json.RootElement, null, TimeSpan.FromSeconds(5), out _, out errors);
    }

    static string ErrorOf(string entry)
    {
        var sensors = Read($$"""{"attic":{{entry}}}""", out var errors);
        Assert.Empty(sensors);
        return Assert.Single(errors);
    }

    [Fact]
    public void Every_common_option_is_accepted_for_every_kind_that_is_polled()
    {
        foreach (var kind in Module.SensorKinds.All.Where(kind => !kind.IsPushed))
        {
            var entry = new JsonObject
            {
                ["kind"] = kind.Name,
                ["intervalSeconds"] = 2,
                ["enabled"] = true,
                ["label"] = "Attic, north",
                ["scale"] = 1.5,
                ["offset"] = -1,
                ["tags"] = new JsonObject { ["rack"] = "7" },
                ["curve"] = JsonNode.Parse("[[0,0],[100,101]]"),
                ["min"] = -10,
                ["max"] = 1e6,
                ["maxChangePerSecond"] = 5,
                ["deadband"] = "1.5%",
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
    [InlineData("""{"kind":"host","colour":"red"}""", "attic: colour: there is no such option; host has intervalSeconds, enabled, label, tags, curve, scale, offset, units, min, max, maxChangePerSecond, deadband, maxSilenceSeconds, aggregateSeconds, samples")]
    [InlineData("""{"kind":"counter","line":17,"samples":3}""", "attic: samples: there is no such option; counter has ")]
    [InlineData("""{"kind":"gpio","line":"GPIO17","aggregateSeconds":60}""", "attic: aggregateSeconds: there is no such option; gpio has ")]
    [InlineData("""{"kind":"gpio","line":"GPIO17","samples":3}""", "attic: samples: there is no such option; gpio has ")]
    [InlineData("""{"kind":"gpio"}""", "attic: line is missing; it is a text of 1 to 31 characters, or an integer from 0 to 1023")]
    [InlineData("""{"kind":"gpio","line":1.5}""", "attic: line: 1.5 is not allowed; allowed is a text of 1 to 31 characters, or an integer from 0 to 1023")]
    [InlineData("""{"kind":"hots"}""", "did you mean host?")]
    [InlineData("""{}""", "attic: kind is missing; it is one of host, simulated")]
    [InlineData("""{"kind":7}""", "attic: kind is missing; it is one of host, simulated")]
    [InlineData("""{"kind":"host","enabled":"yes"}""", "attic: enabled: \"yes\" is text; allowed is true or false, without quotes")]
    [InlineData("""{"kind":"host","samples":"3"}""", "attic: samples: \"3\" is text; allowed is an integer from 1 to 15, without quotes")]
    [InlineData("""{"kind":"host","samples":2.5,"label":""}""", "attic: samples: 2.5 is not allowed; allowed is an integer from 1 to 15, label: \"\" is not allowed; allowed is a text of 1 to 64 characters")]
    [InlineData("""{"kind":"host","scale":{"load1":"2"}}""", "attic: scale: {\"load1\":\"2\"} is not allowed; allowed is a number from -1000000000000 to 1000000000000, or a map of value to number")]
    [InlineData(
        """{"kind":"simulated","deadband":{"temprature":1}}""",
        "attic: deadband: simulated has no value 'temprature' (did you mean temperature?)")]
    [InlineData("""{"kind":"simulated","offset":{"x":1}}""", "attic: offset: simulated has no value 'x'; it has temperature, humidity, pressure")]
    [InlineData("""{"kind":"simulated","deadband":"2"}""", "attic: deadband: \"2\" is not allowed; allowed is a number from 0 to 1000000000000, a percentage from \"0%\" to \"100%\", or a map of value to one of these")]
    [InlineData("""{"kind":"simulated","deadband":"101%"}""", "attic: deadband: \"101%\" is not allowed")]
    [InlineData("""{"kind":"simulated","deadband":"-2%"}""", "attic: deadband: \"-2%\" is not allowed")]
    [InlineData("""{"kind":"simulated","curve":[[1,2]]}""", "attic: curve: it has 1 points; allowed are 2 to 64")]
    [InlineData("""{"kind":"simulated","curve":[[1,2],[2]]}""", "attic: curve: [2] is not a point; a point is [raw, value], two numbers")]
    [InlineData("""{"kind":"simulated","curve":{"humidity":[[1,2],[3,4],[1,5]]}}""", "attic: curve: humidity: two points have the raw value 1; each raw value has one value")]
    [InlineData("""{"kind":"simulated","curve":{"humidty":[[1,2],[3,4]]}}""", "attic: curve: simulated has no value 'humidty' (did you mean humidity?)")]
    [InlineData("""{"kind":"simulated","curve":7}""", "attic: curve: 7 is not allowed; allowed is a list of 2 to 64 points [raw, value] with different raw values, or a map of value to such a list")]
    [InlineData("""{"kind":"simulated","min":{"temprature":1}}""", "attic: min: simulated has no value 'temprature' (did you mean temperature?)")]
    [InlineData("""{"kind":"simulated","min":5,"max":{"humidity":4}}""", "attic: min: 5 of 'humidity' is above max, 4")]
    [InlineData("""{"kind":"host","min":5,"max":4}""", "attic: min: 5 is above max, 4")]
    [InlineData("""{"kind":"host","maxChangePerSecond":-1}""", "attic: maxChangePerSecond: -1 is not allowed; allowed is a number from 0 to 1000000000000, or a map of value to number")]
    [InlineData("""{"kind":"mhz19"}""", "attic: port is missing; it is a path below /dev on one line, without ..")]
    [InlineData("""{"kind":"mhz19","port":"ttyUSB0"}""", "attic: port: \"ttyUSB0\" is not allowed; allowed is a path below /dev")]
    [InlineData("""{"kind":"mhz19","port":"/dev/../etc/x"}""", "attic: port: a text of 13 characters is not allowed; allowed is a path below /dev")]
    [InlineData("""{"kind":"mhz19","port":"/dev/ttyS0","baud":110}""", "attic: baud: 110 is not allowed; allowed is an integer from 300 to 4000000")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a"}""", "attic: values is missing; it is a map of 1 to 250 names to objects with register, address, type")]
    [InlineData("""{"kind":"modbus","connection":"udp://a","values":{"v":{"address":0}}}""", "attic: connection: a text of 7 characters is not allowed; allowed is tcp://HOST:PORT, or the path")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{}}""", "attic: values: {} is not allowed; allowed is a map of 1 to 250 names")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":[1]}""", "attic: values: [1] is not allowed; allowed is a map of 1 to 250 names")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{"v":7}}""", "attic: values: v: 7 is not an object such as {\"address\":0}")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{"v":{}}}""", "attic: values: v: address is missing; it is an integer from 0 to 65535, or a hexadecimal text such as \"0xffff\"")]
    [InlineData(
        """{"kind":"modbus","connection":"tcp://a","values":{"v":{"adress":0,"type":"float"},"w":{"address":-1}}}""",
        "attic: values: v: adress: there is no such option (did you mean address?), v: type: \"float\" is not allowed; allowed is one of \"bool\", \"int16\", \"uint16\", \"int32\", \"uint32\", \"int64\", \"uint64\", \"float32\", \"float64\" (did you mean float32?), v: address is missing; it is an integer from 0 to 65535, or a hexadecimal text such as \"0xffff\", w: address: -1 is not allowed; allowed is an integer from 0 to 65535, or a hexadecimal text such as \"0xffff\"")]
    [InlineData(
        """{"kind":"modbus","connection":"tcp://a","values":{"v":{"address":40001}}}""",
        "attic: values: v: address: 40001 is the number in a manual; addresses start at 0: write \"register\":\"holding\",\"address\":0; if the device does count that far, write \"address\":\"0x9c41\"")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{"v":{"address":30010}}}""", "write \"register\":\"input\",\"address\":9; if the device")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{"v":{"register":"discrete","address":10001}}}""", "write \"register\":\"discrete\",\"address\":0; if the device")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{"v":{"address":400002}}}""", "address: 400002 is the number in a manual; addresses start at 0: write \"register\":\"holding\",\"address\":1")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{"v":{"address":65535,"type":"int32"}}}""", "values: v: address: 2 registers from 65535 on exceed 65535, the last address")]
    [InlineData("""{"kind":"modbus","connection":"tcp://a","values":{"v":{"register":"coil","address":5,"type":"int16"}}}""", "values: v: type: a coil is a bit: write \"bool\", or leave the type out")]
    [InlineData("""{"kind":"host","intervalSeconds":0}""", "attic: intervalSeconds: 0 is not allowed; allowed is a number from 0.01 to 86400")]
    public void An_invalid_option_is_refused_with_the_sensor_the_option_its_value_and_what_is_allowed(string entry, string error) =>
        Assert.Contains(error, ErrorOf(entry), StringComparison.Ordinal);

    [Theory]
    [InlineData(""" "kind":"bme280","address":"0x77" """, """ "kind":"bmp280","address":119 """, "address 0x77 on I2C bus 1")]
    [InlineData(""" "kind":"sht3x" """, """ "kind":"sht4x","bus":1 """, "address 0x44 on I2C bus 1")]
    [InlineData(""" "kind":"mcp3008" """, """ "kind":"mcp3008","channels":[1] """, "chip select 0 on SPI bus 0")]
    [InlineData(""" "kind":"w1","device":"28-1" """, """ "kind":"w1","device":"28-1" """, "1-wire device 28-1")]
    [InlineData(""" "kind":"mhz19","port":"/dev/serial0" """, """ "kind":"nmea","port":"/dev/serial0","baud":4800 """, "serial port /dev/serial0")]
    public void A_second_sensor_at_the_same_address_or_port_is_refused_with_the_name_of_the_first(string first, string second, string place)
    {
        var sensors = Read($$"""{"attic":{ {{first}} },"cellar":{ {{second}} },"roof":{ {{second}},"enabled":false} }""", out var errors);
        Assert.Equal(["attic", "roof"], sensors.Keys);
        Assert.Equal($"cellar: {place} is already used by sensor attic", Assert.Single(errors));
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

    [Theory]
    [InlineData("""{"register":"holding","address":"0x9c41"}""")]
    [InlineData("""{"register":"holding","address":10001}""")]
    [InlineData("""{"register":"coil","address":10001}""")]
    [InlineData("""{"register":"discrete","address":40001,"type":null}""")]
    [InlineData("""{"address":65532,"type":"float64","unit":"kWh"}""")]
    public void A_valid_Modbus_address_is_accepted(string value)
    {
        var sensors = Read($$"""{"attic":{"kind":"modbus","connection":"tcp://10.0.0.5","unit":3,"values":{"v":{{value}},"w":null} } }""", out var errors);
        Assert.Empty(errors);
        Assert.Equal("v", Assert.Single(sensors["attic"].Kind.ValuesOf(sensors["attic"])).Name);
    }

    [Fact]
    public void Sensors_share_a_bus_only_if_they_have_the_same_Modbus_connection()
    {
        var sensors = Read(
            """
            {"a":{"kind":"modbus","connection":"tcp://10.0.0.5","values":{"v":{"address":0}}},
             "b":{"kind":"modbus","connection":"tcp://10.0.0.5:502","unit":2,"values":{"v":{"address":0}}},
             "c":{"kind":"modbus","connection":"tcp://10.0.0.6","values":{"v":{"address":0}}},
             "d":{"kind":"modbus","connection":"/dev/ttyUSB0","values":{"v":{"address":0}}},
             "e":{"kind":"modbus","connection":"tcp://[fe80::1]:1502","values":{"v":{"address":0}}}}
            """, out var errors);
        Assert.Empty(errors);
        Assert.Equal(
            ["tcp://10.0.0.5:502", "tcp://10.0.0.5:502", "tcp://10.0.0.6:502", "/dev/ttyUSB0", "tcp://[fe80::1]:1502"],
            sensors.Values.Select(sensor => sensor.Kind.Bus(sensor)));
    }

    [Fact]
    public void A_null_option_has_its_default_value()
    {
        var sensors = Read("""{"attic":{"kind":"simulated","seed":null,"intervalSeconds":null,"scale":null,"enabled":null}}""", out var errors);
        Assert.Empty(errors);
        Assert.Equal(TimeSpan.FromSeconds(5), sensors["attic"].Interval);
        Assert.True(sensors["attic"].IsEnabled);
    }

    [Fact]
    public void Names_of_kinds_and_options_are_unique_and_documented()
    {
        Assert.Equal(Module.SensorKinds.Names, Module.SensorKinds.Names.Distinct());
        foreach (var kind in Module.SensorKinds.All)
        {
            var names = kind.AllOptions.Select(option => option.Name).Append("kind").ToList();
            Assert.Equal(names, names.Distinct());
            Assert.NotEmpty(kind.Text);
            Assert.All(kind.AllOptions, option => Assert.NotEmpty(option.Text));
        }
    }

    [Fact]
    public void Every_default_is_accepted_by_its_option()
    {
        foreach (var option in Module.SensorKinds.All.SelectMany(kind => kind.AllOptions).Where(option => option.Default is not null))
        {
            using var value = JsonDocument.Parse(option.Default!.ToJsonString());
            Assert.Null(option.Objection(value.RootElement));
        }
    }

    /// <summary>A valid value for the option.</summary>
    internal static JsonNode Example(Option option) => option.Shape switch
    {
        OptionShape.Text => "/tmp/x",
        OptionShape.NameOrNumber => 17,
        OptionShape.TextForm => "/dev/ttyUSB0",
        OptionShape.Entries => new JsonObject { ["voltage"] = new JsonObject { ["address"] = 0 } },
        OptionShape.Objects => new JsonArray(new JsonObject { ["bad"] = true }),
        OptionShape.Choice(var names) => names[0],
        _ => option.Default!.DeepClone(),
    };
}
