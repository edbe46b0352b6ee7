using SensorForwarder.Readings;

namespace SensorForwarder.Tests.Support;

/// <summary>Simulates ten room sensors with slow changes and sensor noise, so that their readings compress as well as
/// real ones.</summary>
internal static class RoomSensors
{
    public const int Count = 10;

    /// <param name="number">Number of the reading: all sensors in turn, then the next round.</param>
    public static Reading Read(int number, DateTimeOffset time)
    {
        var (sensor, turn, noise) = (number % Count, number / Count, new Random(number));
        return new()
        {
            Sensor = $"room-{sensor}",
            Kind = "bme280",
            Time = time,
            Values =
            [
                new("temperature", Math.Round(20 + sensor + Math.Sin(turn / 300.0) + (noise.NextDouble() * 0.05), 2)),
                new("humidity", Math.Round(45 + (3 * Math.Sin(turn / 500.0)) + (noise.NextDouble() * 0.1), 2)),
                new("pressure", Math.Round(1013 + (2 * Math.Sin(turn / 2000.0)) + (noise.NextDouble() * 0.02), 2)),
            ],
        };
    }
}
