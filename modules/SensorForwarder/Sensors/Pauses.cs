namespace SensorForwarder.Sensors;

internal static class Pauses
{
    /// <summary>Blocks for a while: chips need time between two transfers, and drivers run on their own threads.
    /// </summary>
    public static void Pause(this TimeProvider timeProvider, TimeSpan duration, CancellationToken cancellationToken) =>
        Task.Delay(duration, timeProvider, cancellationToken).GetAwaiter().GetResult();
}
