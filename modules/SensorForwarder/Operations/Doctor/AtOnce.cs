namespace SensorForwarder.Operations.Doctor;

/// <summary>Asks several devices at the same time, each on its own thread, since a device can take seconds.</summary>
internal static class AtOnce
{
    const int MaxThreads = 16;

    /// <summary>The answers, in the order of the devices.</summary>
    public static IReadOnlyList<TAnswer> Ask<TDevice, TAnswer>(
        IReadOnlyList<TDevice> devices, Func<TDevice, TAnswer> ask) =>
    [
        .. devices.Chunk(MaxThreads).SelectMany(some => Task.WhenAll(some.Select(device => Task.Factory.StartNew(
            () => ask(device), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)))
            .GetAwaiter().GetResult()),
    ];
}
