using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Time;

public sealed class AlignedTimerTests
{
    static readonly TimeSpan Period = TimeSpan.FromSeconds(5);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Timers_created_at_different_times_tick_together()
    {
        var clock = new FakeTimeProvider(BufferFixture.Noon);
        using var first = new AlignedTimer(Period, clock);
        clock.Advance(TimeSpan.FromSeconds(3.2));
        using var second = new AlignedTimer(Period, clock);
        using var rare = new AlignedTimer(2 * Period, clock);
        var (ofFirst, ofSecond) = (first.WaitForNextTickAsync(Token).AsTask(), second.WaitForNextTickAsync(Token).AsTask());
        clock.Advance(TimeSpan.FromSeconds(1.7));
        Assert.False(ofFirst.IsCompleted || ofSecond.IsCompleted);
        clock.Advance(TimeSpan.FromSeconds(0.1));
        Assert.True(await ofFirst && await ofSecond);
        var ofRare = rare.WaitForNextTickAsync(Token).AsTask();
        Assert.False(ofRare.IsCompleted);
        clock.Advance(Period);
        Assert.True(await ofRare);
    }

    [Fact]
    public async Task One_tick_that_nobody_waited_for_is_kept_and_further_ones_are_dropped()
    {
        var clock = new FakeTimeProvider(BufferFixture.Noon);
        using var timer = new AlignedTimer(Period, clock);
        clock.Advance(3 * Period);
        await timer.WaitForNextTickAsync(Token);
        var next = timer.WaitForNextTickAsync(Token).AsTask();
        Assert.False(next.IsCompleted);
        clock.Advance(Period);
        await next;
    }
}
