using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>
/// Clock stretching: a busy chip holds the clock line low until it is ready. Controllers wait only up to a limit, and
/// some Raspberry Pi models not at all, so that bits are lost although every byte is acknowledged.
/// </summary>
public sealed class ClockStretchingTests : IDisposable
{
    readonly SensorFixture _world = new();

    public ClockStretchingTests()
    {
        _world.Bus.Chips[0x76] = SimulatedChips.Bme280();
        _world.Bus.Chips[0x44] = SimulatedChips.Sht3x(_world.Waits);
        _world.Bus.Chips[0x46] = SimulatedChips.Sht4x();
        _world.Bus.Chips[0x38] = SimulatedChips.Aht20();
        _world.Bus.Chips[0x62] = SimulatedChips.Scd4x(() => true);
        _world.Bus.Chips[0x48] = new RegisterChip(2) { Words = { [0] = [0x19, 0x40] } };
    }

    public void Dispose() => _world.Dispose();

    SensorSession Session(string kind, int address) => _world.Session(SensorFixture.Settings(kind, $"\"address\":{address}"));

    [Theory]
    [InlineData("bme280", 0x76, 25.08)]
    [InlineData("sht3x", 0x44, 25)]
    [InlineData("sht4x", 0x46, 25)]
    [InlineData("aht20", 0x38, 25)]
    [InlineData("scd4x", 0x62, 25)]
    [InlineData("tmp102", 0x48, 25.25)]
    public void A_chip_that_stretches_the_clock_is_read_correctly(string kind, int address, double celsius)
    {
        var stretched = 0;
        _world.Bus.Stretch = () =>
        {
            stretched++;
            _world.Waits.Advance(TimeSpan.FromMilliseconds(20));
        };
        using var session = Session(kind, address);
        for (var i = 0; i < 5; i++)
        {
            _world.Waits.Advance(TimeSpan.FromSeconds(5));
            var measurement = session.Measure(CancellationToken.None);
            Assert.Equal(ReadingQuality.Good, measurement.Quality);
            Assert.Equal(celsius, measurement.Values.Single(value => value.Key == "temperature").Value, 1);
        }

        Assert.True(stretched >= 5);
    }

    [Theory]
    [InlineData("sht3x", 0x44)]
    [InlineData("sht4x", 0x46)]
    [InlineData("aht20", 0x38)]
    [InlineData("scd4x", 0x62)]
    public void Bits_lost_by_the_controller_never_pass_a_checksum(string kind, int address)
    {
        using var session = Session(kind, address);
        _world.Waits.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        _world.Bus.Always = BusFault.FlippedBit;
        _world.Waits.Advance(TimeSpan.FromSeconds(5));
        var measurement = session.Measure(CancellationToken.None);
        Assert.NotEqual(ReadingQuality.Good, measurement.Quality);
        Assert.Empty(measurement.Values);
    }

    [Fact]
    public void Without_a_checksum_a_jump_is_uncertain_and_the_next_reading_is_good_again()
    {
        using var session = Session("tmp102", 0x48);
        var chip = (RegisterChip)_world.Bus.Chips[0x48];
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        chip.Words[0] = [0x59, 0x40]; // 89.25: one bit flipped
        var misread = session.Measure(CancellationToken.None);
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.Range), (misread.Quality, misread.Reason));
        Assert.Contains("temperature jumped from 25.25 to 89.25", misread.Detail, StringComparison.Ordinal);
        chip.Words[0] = [0x19, 0x40];
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
    }

    [Fact]
    public void A_jump_that_persists_is_accepted_and_a_slow_change_is_not_a_jump()
    {
        using var session = Session("tmp102", 0x48);
        var chip = (RegisterChip)_world.Bus.Chips[0x48];
        session.Measure(CancellationToken.None);
        chip.Words[0] = [0x50, 0x00]; // 80
        Assert.Equal(ReadingQuality.Uncertain, session.Measure(CancellationToken.None).Quality);
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        chip.Words[0] = [0x14, 0x00]; // 20, half a minute later
        _world.Waits.Advance(TimeSpan.FromSeconds(30));
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
    }

    [Fact]
    public void A_jump_of_one_of_several_values_is_reported_with_its_name()
    {
        using var session = Session("bme280", 0x76);
        var chip = (SimulatedChips.Bosch)_world.Bus.Chips[0x76];
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
        chip.Raw = SimulatedChips.Bytes("655AC0 7EED00 9530"); // from 55 % to more than 80 %
        var misread = session.Measure(CancellationToken.None);
        Assert.Equal((ReadingQuality.Uncertain, FaultReason.Range), (misread.Quality, misread.Reason));
        Assert.StartsWith("humidity jumped", misread.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_clock_stretched_beyond_the_limit_is_reported_as_a_bus_timeout()
    {
        _world.Bus.Always = BusFault.TimedOut;
        _world.Bus.Stretch = () => _world.Waits.Advance(TimeSpan.FromSeconds(1));
        using var session = Session("sht3x", 0x44);
        Assert.Equal(FaultReason.BusTimeout, session.Measure(CancellationToken.None).Reason);
        (_world.Bus.Always, _world.Bus.Stretch) = (BusFault.None, () => { });
        Assert.Equal(ReadingQuality.Good, session.Measure(CancellationToken.None).Quality);
    }
}
