using Microsoft.Extensions.Time.Testing;

namespace SensorForwarder.Tests.Support;

/// <summary>Waits for a condition that another thread or process fulfils, with a time limit.</summary>
internal static class Until
{
    /// <summary>Much longer than any wait takes on the slowest machine, so reaching the limit is a failure.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(10);

    // Asking another process costs both processes a millisecond or more of CPU time.
    static readonly TimeSpan AskEvery = TimeSpan.FromMilliseconds(50);

    public static Task True(Func<bool> condition) =>
        True(() => Task.FromResult(condition()), static () => { }, LookEvery);

    public static Task True(Func<Task<bool>> condition) => True(condition, static () => { }, AskEvery);

    /// <summary>Advances a fake clock in steps until the condition is true.</summary>
    public static Task True(Func<bool> condition, FakeTimeProvider clock, TimeSpan step) =>
        True(() => Task.FromResult(condition()), () => clock.Advance(step), LookEvery);

    static async Task True(Func<Task<bool>> condition, Action between, TimeSpan every)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!await condition())
        {
            if (TimeProvider.System.GetElapsedTime(started) > Limit) Assert.Fail($"Condition not met within {Limit}.");
            between();
            await Task.Delay(every, TimeProvider.System, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Advances a fake clock in steps until a value meets the condition.</summary>
    /// <returns>The value that met the condition; reading again could return a later one.</returns>
    public static async Task<T> Value<T>(
        Func<T> read, Func<T, bool> condition, FakeTimeProvider clock, TimeSpan step)
    {
        var value = read();
        await True(() => condition(value = read()), clock, step);
        return value;
    }
}
