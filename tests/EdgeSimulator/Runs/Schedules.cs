using System.Globalization;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Modules;

namespace EdgeSimulator.Runs;

/// <summary>Runs the scheduled events of a run: blackouts, kills, edgeHub's restarts and losses. Owned by
/// <see cref="Simulation"/>.</summary>
internal sealed class Schedules(FaultSwitches faults, TimeProvider time, RunLog log)
{
    readonly long _start = time.GetTimestamp();

    /// <summary>Timestamp at which the current blackout ends; 0 without a blackout.</summary>
    long _blackoutEnd;

    public TimeSpan? BlackoutLeft
    {
        get
        {
            var end = Interlocked.Read(ref _blackoutEnd);
            return end == 0 ? null : time.GetElapsedTime(time.GetTimestamp(), end);
        }
    }

    /// <summary>Runs all blackouts. Overlapping windows are merged.</summary>
    public async Task BlackOutAsync(IReadOnlyList<BlackoutWindow> windows, CancellationToken cancellationToken)
    {
        foreach (var (start, length) in Merged(windows))
        {
            await UntilAsync(start, cancellationToken).ConfigureAwait(false);
            log.Write(string.Create(CultureInfo.InvariantCulture, $"blackout starts: {length.TotalSeconds:0.#} s"));
            Interlocked.Exchange(ref _blackoutEnd, _start + Ticks(start + length));
            faults.Update(f => f with { Blackout = true });
            await UntilAsync(start + length, cancellationToken).ConfigureAwait(false);
            EndBlackout();
        }
    }

    public void EndBlackout()
    {
        Interlocked.Exchange(ref _blackoutEnd, 0);
        if (faults.Current.Blackout)
        {
            log.Write("blackout ends");
            faults.Update(f => f with { Blackout = false });
        }
    }

    /// <summary>Runs the action at each of the times, which are relative to the start of the run.</summary>
    public async Task RepeatAsync(IReadOnlyList<TimeSpan> times, Action action, CancellationToken cancellationToken)
    {
        foreach (var moment in times.Order())
        {
            await UntilAsync(moment, cancellationToken).ConfigureAwait(false);
            action();
        }
    }

    /// <summary>Kills the module at a fixed interval until cancelled.</summary>
    public async Task KillAsync(ModuleProcess module, TimeSpan interval, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(interval, time);
        while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
        {
            if (module.Kill())
            {
                log.Write("module killed");
            }
        }
    }

    internal static IEnumerable<BlackoutWindow> Merged(IReadOnlyList<BlackoutWindow> windows)
    {
        BlackoutWindow? open = null;
        foreach (var window in windows.OrderBy(window => window.Start))
        {
            if (open is { } current && window.Start <= current.Start + current.Length)
            {
                var end = TimeSpan.FromTicks(Math.Max((current.Start + current.Length).Ticks, (window.Start + window.Length).Ticks));
                open = current with { Length = end - current.Start };
                continue;
            }

            if (open is { } done)
            {
                yield return done;
            }

            open = window;
        }

        if (open is { } last)
        {
            yield return last;
        }
    }

    async Task UntilAsync(TimeSpan moment, CancellationToken cancellationToken)
    {
        var wait = moment - time.GetElapsedTime(_start);
        if (wait > TimeSpan.Zero)
        {
            await Task.Delay(wait, time, cancellationToken).ConfigureAwait(false);
        }
    }

    long Ticks(TimeSpan span) => (long)(span.TotalSeconds * time.TimestampFrequency);
}
