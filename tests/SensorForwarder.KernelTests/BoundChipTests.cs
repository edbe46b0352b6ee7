namespace SensorForwarder.KernelTests;

/// <summary>
/// The chips that the module reads through Iot.Device.Bindings. The module is published ahead of time, without
/// UnitsNet's tables of units, which the unit tests have. Its values must be the same without them.
/// </summary>
public sealed class BoundChipTests(Machine machine)
{
    static JsonObject Chip(string kind, int bus, string? address = null)
    {
        var sensor = new JsonObject { ["kind"] = kind, ["bus"] = bus, ["intervalSeconds"] = 2 };
        if (address is not null) sensor["address"] = address;
        return sensor;
    }

    static readonly Dictionary<string, (JsonObject Sensor, string Values)> Chips = new(StringComparer.Ordinal)
    {
        ["mlx90614"] = (Chip("mlx90614", 2), "temperatureObject 28.75, temperatureAmbient 26.85"),
        ["am2320"] = (Chip("am2320", 3), "temperature 35.1, humidity 65.2"),
        ["lps22hb"] = (Chip("lps22hb", 2), "pressure 1013.25, temperature 25"),
        ["lps25h"] = (Chip("lps25h", 2, "0x5d"), "pressure 1013.25, temperature 25"),
        ["mcp9600"] = (Chip("mcp9600", 2), "temperature 25.0625, temperatureAmbient 25"),
        ["lis3dh"] = (Chip("lis3dh", 2), "accelX 0.019, accelY -0.306, accelZ 9.807"),
        ["hmc5883l"] = (Chip("hmc5883l", 2), "fieldX 50, fieldY 1.47, fieldZ -23.49"),
        ["amg88xx"] = (Chip("amg88xx", 2), "temperatureMin 25, temperatureMean 25.38, temperatureMax 25.75, temperatureChip 25"),
        ["vl53l0x"] = (Chip("vl53l0x", 2), "distance 0.5"),
        ["vl53l1x"] = (Chip("vl53l1x", 3), "distance 0.5"),
        ["max31865"] = (new() { ["kind"] = "max31865", ["chipSelect"] = 0, ["intervalSeconds"] = 2 }, "temperature 19.24"),
        ["adxl345"] = (new() { ["kind"] = "adxl345", ["chipSelect"] = 1, ["intervalSeconds"] = 2 }, "accelX 0.766, accelY -0.766, accelZ 9.807"),
    };

    [Fact]
    public async Task Each_chip_has_the_same_values_in_the_native_binary_as_in_the_unit_tests()
    {
        machine.Require();
        var sensors = new JsonObject(Chips.Select(chip => KeyValuePair.Create(chip.Key, (JsonNode?)chip.Value.Sensor.DeepClone())));
        await using var module = await ModuleRun.StartAsync(machine, sensors);
        foreach (var (name, _) in Chips) await module.UntilSensorAsync(name, "Working");
        var readings = await module.StopAsync();
        Assert.Equal(
            Chips.Select(chip => $"{chip.Key}: {chip.Value.Values}"),
            Chips.Select(chip => $"{chip.Key}: {Show(readings.Of(chip.Key).Good()[0])}"));
    }

    static string Show(JsonObject reading) => string.Join(", ", reading["values"]!.AsObject().Select(
        value => FormattableString.Invariant($"{value.Key} {(double)value.Value!}")));
}
