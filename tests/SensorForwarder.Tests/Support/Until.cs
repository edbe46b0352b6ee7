using Microsoft.Extensions.Time.Testing;

namespace SensorForwarder.Tests.Support;

/// <summary>Waits for something that another thread or process brings about, but not for ever.</summary>
internal static class Until
{
    /// <summary>Far longer than anything takes on the slowest machine: what is still not there will never come.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(10);

    public static Task True(Func<bool> condition) => True(() => Task.FromResult(condition()));

    public static Task True(Func<Task<bool>> condition) => True(condition, static () => { });

    /// <summary>Moves a fake clock on, step by step, until the condition holds.</summary>
    public static Task True(Func<bool> condition, FakeTimeProvider clock, TimeSpan step) =>
        True(() => Task.FromResult(condition()), () => clock.Advance(step));

    static async Task True(Func<Task<bool>> condition, Action between)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (!await condition())
        {
            if (TimeProvider.System.GetElapsedTime(started) > Limit) Assert.Fail($"It did not happen within {Limit}.");
            between();
            await Task.Delay(LookEvery, TimeProvider.System, TestContext.Current.CancellationToken);
        }
    }
}
