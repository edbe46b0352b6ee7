using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Simulated months. <c>TEST_MONTHS</c> sets the number, <c>TEST_SEED</c> repeats one.</summary>
public sealed class MonthTests(ITestOutputHelper output)
{
    const int FirstSeed = 1;

    [Fact]
    public async Task In_simulated_months_of_faults_no_reading_is_lost_or_out_of_order_and_no_limit_is_exceeded()
    {
        var count = Tier.Size("TEST_MONTHS", quick: 1, full: 100, deep: 1_000);
        var seeds = Tier.Seed is { } given ? [given] : Enumerable.Range(FirstSeed, count);
        var failures = new List<string>();
        var counts = new MonthCounts();
        await Parallel.ForEachAsync(seeds, TestContext.Current.CancellationToken, async (seed, _) =>
        {
            await using var month = new MonthSimulation(seed);
            try
            {
                await month.RunAsync();
            }
            catch (InvalidOperationException exception)
            {
                lock (failures) failures.Add($"TEST_SEED={seed}, day {month.Elapsed.TotalDays:0.000}: {exception.Message}");
            }

            lock (failures) counts.Add(month.Counts);
        });
        output.WriteLine(
            $"{counts.Sends} sends, {counts.WhileHeld} of them to an edgeHub that was held; {counts.Timed} readings timed, {counts.TimedMetered} with a daily limit");
        Assert.True(failures.Count == 0, string.Join('\n', failures));
        if (Tier.Seed is null && !Tier.IsQuick) Assert.All([counts.WhileHeld, counts.Timed, counts.TimedMetered], count => Assert.True(count > 0, "one of the checked situations did not occur"));
    }
}
