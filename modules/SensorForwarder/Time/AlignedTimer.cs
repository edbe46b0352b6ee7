using System.Threading.Channels;

namespace SensorForwarder.Time;

/// <summary>
/// Ticks at multiples of its period, so that everything that polls does so at the same time and the process wakes up
/// only once. A tick that comes while nobody waits is kept, as by <see cref="PeriodicTimer"/>. One waiter at a time.
/// </summary>
internal sealed class AlignedTimer : IDisposable
{
    readonly Channel<bool> _ticks =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    readonly ITimer _timer;

    public AlignedTimer(TimeSpan period, TimeProvider timeProvider) => _timer = timeProvider.CreateTimer(
        _ => _ticks.Writer.TryWrite(true), null, UntilNext(period, timeProvider), period);

    /// <summary>Time until the next multiple of a period.</summary>
    public static TimeSpan UntilNext(TimeSpan period, TimeProvider timeProvider)
    {
        // The system's timers use this count, which advances in steps of some milliseconds.
        var now = timeProvider == TimeProvider.System
            ? TimeSpan.FromMilliseconds(Environment.TickCount64)
            : timeProvider.GetElapsedTime(0);
        return period - TimeSpan.FromTicks(now.Ticks % period.Ticks);
    }

    /// <returns>True.</returns>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    public ValueTask<bool> WaitForNextTickAsync(CancellationToken cancellationToken) =>
        _ticks.Reader.ReadAsync(cancellationToken);

    public void Dispose() => _timer.Dispose();
}
