using EdgeSimulator.Accounting;
using EdgeSimulator.Faults;

namespace EdgeSimulator.Hub;

/// <summary>
/// Closes the connection whose token has expired, as edgeHub does. edgeHub checks every five minutes, the simulator
/// every second to keep runs short.
/// </summary>
internal sealed class TokenWatch(FaultSwitches faults, TimeProvider time, Func<ModuleConnection?> current, Action<ModuleConnection> close)
{
    static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <summary>Runs until cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                var now = time.GetUtcNow().AddSeconds(faults.Current.TokenClockSkewSeconds);
                if (current() is { } connection && now - SasToken.ClockSkew > connection.TokenExpiry)
                {
                    connection.EndCause ??= Causes.TokenExpired;
                    close(connection);
                }
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
    }
}
