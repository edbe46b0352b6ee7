using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

public sealed class BusWorkerTests
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    readonly FakeTimeProvider _clock = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Measurement Value(double number) => new([new("n", number)]);

    [Fact]
    public async Task Jobs_run_one_after_the_other_in_order_on_one_thread()
    {
        var worker = new BusWorker("bus", _clock);
        var threads = new HashSet<int>();
        var order = new List<int>();
        var jobs = Enumerable.Range(0, 100).Select(i => worker.RunAsync(
            () =>
            {
                threads.Add(Environment.CurrentManagedThreadId);
                order.Add(i);
                return Value(i);
            },
            Patience, Token)).ToList();
        var results = await Task.WhenAll(jobs).WaitAsync(Long, Token);
        Assert.Single(threads);
        Assert.Equal(Enumerable.Range(0, 100), order);
        Assert.Equal(Enumerable.Range(0, 100).Select(i => (double)i), results.Select(result => result.Values[0].Value));
    }

    [Fact]
    public async Task A_stuck_job_times_out_other_jobs_on_its_bus_get_a_bus_timeout_and_other_buses_are_unaffected()
    {
        var (worker, other) = (new BusWorker("i2c-1", _clock), new BusWorker("i2c-2", _clock));
        using var gate = new ManualResetEventSlim();
        using var isHeld = new ManualResetEventSlim();
        var holder = worker.RunAsync(
            () =>
            {
                isHeld.Set();
                gate.Wait(Token);
                return Value(1);
            },
            Patience, Token);
        isHeld.Wait(Token);
        var waiting = worker.RunAsync(() => Value(2), Patience, Token);
        Assert.Equal(3, (await other.RunAsync(() => Value(3), Patience, Token).WaitAsync(Long, Token)).Values[0].Value);

        await Until.True(() => holder.IsCompleted && waiting.IsCompleted, _clock, TimeSpan.FromSeconds(1));
        Assert.Equal(FaultReason.Timeout, (await holder).Reason);
        Assert.Equal(FaultReason.BusTimeout, (await waiting).Reason);
        Assert.Equal(FaultReason.BusTimeout, (await worker.RunAsync(() => Value(4), Patience, Token).WaitAsync(Long, Token)).Reason);

        gate.Set();
        await Until.True(async () => (await worker.RunAsync(() => Value(5), Patience, Token)).Quality == ReadingQuality.Good);
    }

    [Fact]
    public async Task A_job_cancelled_while_queued_never_runs()
    {
        var worker = new BusWorker("bus", _clock);
        using var gate = new ManualResetEventSlim();
        using var stop = new CancellationTokenSource();
        var holder = worker.RunAsync(() => { gate.Wait(Token); return Value(1); }, Patience, Token);
        var hasRun = false;
        var waiting = worker.RunAsync(() => { hasRun = true; return Value(2); }, Patience, stop.Token);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting.WaitAsync(Long, Token));
        gate.Set();
        await holder.WaitAsync(Long, Token);
        await worker.RunAsync(() => Value(3), Patience, Token).WaitAsync(Long, Token);
        Assert.False(hasRun);
    }

    [Fact]
    public async Task An_exception_in_a_job_does_not_affect_later_jobs()
    {
        var worker = new BusWorker("bus", _clock);
        await Assert.ThrowsAsync<InvalidOperationException>(
            () => worker.RunAsync(() => throw new InvalidOperationException(), Patience, Token).WaitAsync(Long, Token));
        Assert.Equal(2, (await worker.RunAsync(() => Value(2), Patience, Token).WaitAsync(Long, Token)).Values[0].Value);
    }
}
