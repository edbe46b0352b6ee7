using CsCheck;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Sensors;

public sealed class ConditioningTests
{
    readonly FakeTimeProvider _clock = new(BufferFixture.Noon);

    static SensorSettings Settings(string options) => new("attic", SimulatedSensor.Kind, TimeSpan.FromSeconds(1), options);

    static Measurement Measured(double temperature, double humidity = 50) => new([new("temperature", temperature), new("humidity", humidity)]);

    static Reading Reading(double temperature, double humidity = 50, ReadingQuality quality = ReadingQuality.Good) => new()
    {
        Sensor = "attic",
        Kind = "simulated",
        Time = BufferFixture.Noon,
        Quality = quality,
        Values = Measured(temperature, humidity).Values,
    };

    [Theory]
    [InlineData("""{"scale":1.02}""", 20.4, 51)]
    [InlineData("""{"offset":-0.5}""", 19.5, 49.5)]
    [InlineData("""{"scale":{"temperature":1.8},"offset":{"temperature":32}}""", 68, 50)]
    [InlineData("""{"scale":{"humidity":0.01}}""", 20, 0.5)]
    [InlineData("""{}""", 20, 50)]
    public void Values_are_scaled_and_then_offset_by_name(string options, double temperature, double humidity) =>
        Assert.Equal(Measured(temperature, humidity).Values, new Conditioning(Settings(options)).Apply([Measured(20)]).Values);

    [Theory]
    [InlineData("[[0.5,0],[2.5,100]]", 1.5, 50)]
    [InlineData("[[2.5,100],[0.5,0]]", 1.5, 50)]
    [InlineData("[[0,0],[1,10],[2,40]]", 1, 10)]
    [InlineData("[[0,0],[1,10],[2,40]]", 1.5, 25)]
    [InlineData("[[0,0],[1,10],[2,40]]", 3, 70)]
    [InlineData("[[0,0],[1,10],[2,40]]", -1, -10)]
    [InlineData("[[10000,25],[3603,50],[32650,0]]", 6801.5, 37.5)]
    public void A_curve_is_interpolated_linearly_between_its_points_and_extrapolated_linearly_beyond_them(string curve, double raw, double value)
    {
        Assert.Equal(value, Of($$"""{"curve":{{curve}}}""").Apply([Measured(raw)]).Values[0].Value, 9);
        Assert.Equal(Measured(value, 50).Values, Of($$$"""{"curve":{"temperature":{{{curve}}}}}""").Apply([Measured(raw)]).Values);
        Assert.Equal((value * 2) + 1, Of($$"""{"curve":{{curve}},"scale":2,"offset":1}""").Apply([Measured(raw)]).Values[0].Value, 9);

        static Conditioning Of(string options) => new(Settings(options));
    }

    [Fact]
    public void An_interpolated_value_lies_between_the_values_of_the_neighbouring_points() =>
        Gen.Select(Gen.Double[-100, 100].Array[2, 64], Gen.Double[-100, 100].Array[64], Gen.Double[-100, 100]).Sample((raws, values, raw) =>
        {
            var points = raws.Distinct().Zip(values).OrderBy(point => point.First).ToList();
            if (points.Count < 2) return;
            var json = string.Join(',', points.Select(point => FormattableString.Invariant($"[{point.First:R},{point.Second:R}]")));
            var found = new Conditioning(Settings($$"""{"curve":[{{json}}]}""")).Apply([Measured(raw)]).Values[0].Value;
            var right = points.FindIndex(point => point.First >= raw);
            if (right < 1) return;
            Assert.InRange(found, Math.Min(points[right - 1].Second, points[right].Second) - 1e-8, Math.Max(points[right - 1].Second, points[right].Second) + 1e-8);
        });

    [Fact]
    public void The_median_is_taken_per_value_and_ignores_outliers_and_failed_samples()
    {
        var conditioning = new Conditioning(Settings("""{"samples":5}"""));
        Assert.Equal(5, conditioning.Samples);
        Assert.Equal(
            Measured(20.5, 51).Values,
            conditioning.Apply([Measured(85, 50), Measured(20, 51), Measurement.Bad("crc"), Measured(20.5, 52), Measured(-127, 51)]).Values
                .Select(value => value.Key == "temperature" ? new(value.Key, 20.5) : value));
        Assert.Equal(20, conditioning.Apply([Measured(20), Measured(85), Measured(-127)]).Values[0].Value);
        Assert.Equal("crc", conditioning.Apply([Measured(20), Measurement.Bad("io"), Measurement.Bad("crc")]).Reason);
        Assert.Equal("io", conditioning.Apply([Measurement.Bad("io")]).Reason);
    }

    [Fact]
    public void A_value_that_is_not_a_finite_number_is_never_good_whatever_the_settings()
    {
        using var world = new SensorFixture();
        world.Write("level", "1e300");
        var path = $"\"path\":\"{Path.Combine(world.Root, "level")}\"";
        Assert.Equal(FaultReason.Invalid, world.Measure("file", $"{path},\"scale\":1000000000000").Reason);

        double[] odd = [double.NaN, double.PositiveInfinity, double.NegativeInfinity];
        foreach (var value in odd)
        {
            var conditioning = new Conditioning(Settings("""{"samples":3}"""));
            var sample = Measured(value);
            Assert.Equal(FaultReason.Invalid, conditioning.Apply([sample]).Reason);
            Assert.Equal(FaultReason.Invalid, conditioning.Apply([Measured(20), sample, sample]).Reason);
            Assert.Equal(Measured(21).Values, conditioning.Apply([sample, Measured(21), Measured(21)]).Values);
        }
    }

    [Fact]
    public void A_median_lies_within_the_samples_and_is_one_of_them_if_their_number_is_odd() =>
        Gen.Double[-1000, 1000].Array[1, 15].Sample(samples =>
        {
            var median = new Conditioning(Settings("{}")).Apply([.. samples.Select(sample => Measured(sample))]).Values[0].Value;
            Assert.InRange(median, samples.Min(), samples.Max());
            if (samples.Length % 2 == 1) Assert.Contains(median, samples);
            Assert.InRange(samples.Count(sample => sample < median), 0, samples.Length / 2);
            Assert.InRange(samples.Count(sample => sample > median), 0, samples.Length / 2);
        });

    [Fact]
    public void A_value_within_the_deadband_is_not_stored_until_the_maximum_silence_has_passed()
    {
        var deadband = new Deadband(Settings("""{"deadband":{"temperature":0.5},"maxSilenceSeconds":60}"""), _clock);
        Assert.True(deadband.IsNews(Reading(20)));
        Assert.False(deadband.IsNews(Reading(20.5)));
        Assert.False(deadband.IsNews(Reading(20, humidity: 90)));
        Assert.True(deadband.IsNews(Reading(20.6)));
        Assert.False(deadband.IsNews(Reading(20.2)));
        Assert.True(deadband.IsNews(Reading(20.2, quality: ReadingQuality.Uncertain)));
        Assert.True(deadband.IsNews(Reading(20.2)));
        _clock.Advance(TimeSpan.FromSeconds(59));
        Assert.False(deadband.IsNews(Reading(20.2)));
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.True(deadband.IsNews(Reading(20.2)));
    }

    [Fact]
    public void A_deadband_for_a_missing_value_suppresses_no_reading()
    {
        var deadband = new Deadband(Settings("""{"deadband":{"voltage0":0.5}}"""), _clock);
        for (var i = 0; i < 3; i++) Assert.True(deadband.IsNews(Reading(20)));
    }

    [Theory]
    [InlineData(100, 102, false)]
    [InlineData(100, 102.1, true)]
    [InlineData(-100, -97.9, true)]
    [InlineData(-100, -98, false)]
    [InlineData(0, 0, false)]
    [InlineData(0, 0.001, true)]
    public void A_deadband_in_percent_is_relative_to_the_last_stored_value(double stored, double next, bool isNews)
    {
        var deadband = new Deadband(Settings("""{"deadband":{"temperature":"2%"}}"""), _clock);
        Assert.True(deadband.IsNews(Reading(stored)));
        Assert.Equal(isNews, deadband.IsNews(Reading(next)));
    }

    [Fact]
    public void A_slowly_drifting_value_is_compared_with_the_last_stored_value_not_the_last_read_one()
    {
        var deadband = new Deadband(Settings("""{"deadband":"5%"}"""), _clock);
        Assert.Equal([true, false, false, true], ((double[])[100, 102, 104, 106]).Select(value => deadband.IsNews(Reading(value))));
    }

    [Fact]
    public void The_last_stored_value_never_differs_from_the_current_one_by_more_than_the_deadband() =>
        Gen.Select(Gen.Double[0, 5], Gen.Double[-20, 20].Array[1, 50]).Sample((band, temperatures) =>
        {
            var deadband = new Deadband(
                Settings(FormattableString.Invariant($$"""{"deadband":{{band}}}""")), new FakeTimeProvider());
            double? stored = null;
            foreach (var temperature in temperatures)
            {
                if (deadband.IsNews(Reading(temperature))) stored = temperature;
                Assert.True(Math.Abs(temperature - stored!.Value) <= band);
            }
        });
}
