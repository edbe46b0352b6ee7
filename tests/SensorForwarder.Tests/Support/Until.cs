namespace SensorForwarder.Tests.Support;

/// <summary>Waits for something that another thread or process brings about. There is no time-out: the run has one.
/// </summary>
internal static class Until
{
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(10);

    public static async Task True(Func<bool> condition)
    {
        while (!condition()) await Task.Delay(LookEvery, TimeProvider.System, TestContext.Current.CancellationToken);
    }

    public static async Task True(Func<Task<bool>> condition)
    {
        while (!await condition()) await Task.Delay(LookEvery, TimeProvider.System, TestContext.Current.CancellationToken);
    }

    /// <summary>Moves a fake clock on, step by step, until the condition holds.</summary>
    public static async Task True(Func<bool> condition, Microsoft.Extensions.Time.Testing.FakeTimeProvider clock, TimeSpan step)
    {
        while (!condition())
        {
            clock.Advance(step);
            await Task.Delay(LookEvery, TimeProvider.System, TestContext.Current.CancellationToken);
        }
    }
}
