namespace SensorForwarder.Time;

/// <summary>Holds a semaphore until it is disposed.</summary>
internal readonly struct Turn(SemaphoreSlim semaphore) : IDisposable
{
    public static async Task<Turn> TakeAsync(SemaphoreSlim semaphore, CancellationToken cancellationToken)
    {
        await semaphore.WaitAsync(cancellationToken);
        return new(semaphore);
    }

    public void Dispose() => semaphore.Release();
}
