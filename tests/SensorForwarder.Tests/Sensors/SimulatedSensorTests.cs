using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

public sealed class SimulatedSensorTests
{
    static SensorSettings Settings(string name, string options) => new(name, SimulatedSensor.Kind, TimeSpan.FromSeconds(1), options);

    [Fact]
    public async Task The_same_seed_gives_the_same_values_and_another_seed_gives_different_ones()
    {
        using var fixture = new SensorFixture();
        using var one = fixture.Create(Settings("a", """{"seed":7}"""));
        using var same = fixture.Create(Settings("b", """{"seed":7}"""));
        using var other = fixture.Create(Settings("a", """{"seed":8}"""));
        for (var hour = 0; hour < 48; hour++)
        {
            var values = (await one.MeasureAsync(TestContext.Current.CancellationToken)).Values;
            Assert.Equal(values, (await same.MeasureAsync(TestContext.Current.CancellationToken)).Values);
            Assert.NotEqual(values, (await other.MeasureAsync(TestContext.Current.CancellationToken)).Values);
            Assert.Equal(["temperature", "humidity", "pressure"], values.Select(value => value.Key));
            Assert.InRange(values[0].Value, 10, 35);
            Assert.InRange(values[1].Value, 20, 80);
            Assert.InRange(values[2].Value, 980, 1040);
            fixture.Clock.Advance(TimeSpan.FromHours(1));
        }
    }

    [Theory]
    [InlineData("""{"seed":"seven"}""")]
    [InlineData("""{"seed":1.5}""")]
    [InlineData("""{"seed":99999999999}""")]
    public void An_invalid_seed_is_refused_with_the_name_of_the_option(string options)
    {
        using var fixture = new SensorFixture();
        var exception = Assert.Throws<SensorSettingsException>(() => fixture.Create(Settings("a", options)));
        Assert.StartsWith("seed: ", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_unknown_kind_is_refused_with_the_list_of_kinds()
    {
        var exception = Assert.Throws<SensorSettingsException>(() => Module.SensorKinds.Find("bme"));
        Assert.StartsWith("kind: 'bme' is not one of host, simulated", exception.Message, StringComparison.Ordinal);
    }
}
