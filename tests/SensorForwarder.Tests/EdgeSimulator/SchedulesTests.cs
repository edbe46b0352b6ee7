using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Runs;
using Microsoft.Extensions.Time.Testing;

namespace SensorForwarder.Tests.Simulator;

public sealed class SchedulesTests
{
    [Fact]
    public async Task A_scheduled_action_runs_at_each_of_its_times()
    {
        var clock = new FakeTimeProvider();
        var schedules = new Schedules(new FaultSwitches(), clock, new RunLog(clock));
        var start = clock.GetUtcNow();
        var times = new List<double>();
        var done = schedules.RepeatAsync(
            [TimeSpan.FromSeconds(20), TimeSpan.FromSeconds(15), TimeSpan.FromSeconds(20)],
            () => times.Add((clock.GetUtcNow() - start).TotalSeconds), TestContext.Current.CancellationToken);

        while (!done.IsCompleted) clock.Advance(TimeSpan.FromSeconds(1));

        await done;
        Assert.Equal([15, 20, 20], times);
    }
}
