using System.Collections.Concurrent;
using Microsoft.AspNetCore.Http;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Slow receivers, with a real forwarder and HTTP sink and a fake clock.</summary>
public sealed class HttpTimeoutTests
{
    static readonly HttpSinkOptions Plain = new(null, new Dictionary<string, string>());

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Batch BatchOf(int bodyBytes) =>
        new("epoch", [new BufferedReading(1, BufferFixture.Noon, "{}"u8.ToArray()) { Epoch = "epoch" }], new byte[bodyBytes]);

    [Fact]
    public async Task A_receiver_that_takes_7_s_gets_each_batch_exactly_once()
    {
        var (keys, answers) = (new ConcurrentQueue<string>(), new ConcurrentQueue<TaskCompletionSource>());
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            await context.Request.Body.CopyToAsync(Stream.Null);
            keys.Enqueue(context.Request.Headers["Idempotency-Key"].ToString());
            var answer = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            answers.Enqueue(answer);
            await answer.Task;
        });
        await using var http = await HttpFixture.RunAsync(receiver.Url, readings: 20);
        var fixture = http.Forwarding;
        for (var sent = 1; sent <= 2; sent++)
        {
            TaskCompletionSource? answer = null;
            await Until.True(() => answers.TryDequeue(out answer));
            fixture.Clock.Advance(TimeSpan.FromSeconds(7));
            answer!.SetResult();
        }

        await fixture.UntilDepthAsync(0);
        Assert.Equal(2, keys.Count);
        Assert.Equal(2, keys.Distinct().Count());
        Assert.Equal(0, fixture.Forwarder.Status.Failures);
    }

    [Theory]
    [InlineData(30, new[] { 30, 60, 120, 240, 480, 600, 600 })]
    [InlineData(1, new[] { 1, 2, 4, 8 })]
    [InlineData(600, new[] { 600, 600 })]
    public async Task After_a_timeout_the_same_batch_is_retried_with_twice_the_timeout_up_to_the_maximum(int setting, int[] seconds)
    {
        var held = 0;
        await using var receiver = await Receiver.StartAsync(context =>
        {
            Interlocked.Increment(ref held);
            return WaitAsync(context);
        });
        await using var http = await HttpFixture.RunAsync(
            receiver.Url, readings: 10, settings => settings with { HttpTimeout = TimeSpan.FromSeconds(setting) });

        await http.UntilAsync(
            () => http.Results.Count >= seconds.Length, Math.Min(4, 0.5 * setting),
            () => Volatile.Read(ref held) == http.Forwarding.Http.Sends);
        Assert.Equal(
            seconds.Select(time => $"no answer within {time} s"),
            http.Results.Take(seconds.Length).Select(result => result.Reason));
        var batches = http.Forwarding.Http.Seen.Select(batch => batch.Id).ToHashSet();
        Assert.Single(batches);
    }

    [Fact]
    public async Task The_next_batch_has_the_configured_timeout_again()
    {
        var requests = 0;
        await using var receiver = await Receiver.StartAsync(context =>
            Interlocked.Increment(ref requests) is 2 ? Task.CompletedTask : WaitAsync(context));
        await using var http = await HttpFixture.RunAsync(
            receiver.Url, readings: 20, settings => settings with { HttpTimeout = TimeSpan.FromSeconds(10) });
        var fixture = http.Forwarding;
        await http.UntilAsync(
            () => http.Results.Count(result => result.IsLate) == 2,
            isHeld: () => Volatile.Read(ref requests) is not 2 and var held && held == fixture.Http.Sends);
        Assert.Equal(1, fixture.Forwarder.Status.Batches);
        Assert.All(http.Results.Where(result => result.IsLate), result =>
            Assert.Equal("no answer within 10 s", result.Reason));
    }

    [Fact]
    public async Task The_timeout_starts_after_the_body_with_an_allowance_for_bytes_still_in_the_socket_buffers()
    {
        // 1 MB takes 250 s at 4,000 bytes per second.
        var clock = new ObservedClock(BufferFixture.Noon);
        var hasBody = new TaskCompletionSource();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            await context.Request.Body.CopyToAsync(Stream.Null);
            hasBody.SetResult();
            await WaitAsync(context);
        });
        using var sink = new HttpSink(Plain, clock);
        var settings = new ForwardingSettings { HttpEndpoint = receiver.Url, HttpTimeout = TimeSpan.FromSeconds(20) };
        var sending = sink.SendAsync(BatchOf(1_000_000), settings, Token);
        await hasBody.Task;
        await clock.UntilTimerAsync(BufferFixture.Noon.AddSeconds(270), BufferFixture.Noon.AddSeconds(300));
        clock.Advance(TimeSpan.FromSeconds(269));
        Assert.False(sending.IsCompleted);
        clock.Advance(TimeSpan.FromSeconds(31));
        await Until.True(() => sending.IsCompleted);
        Assert.Equal(SendOutcome.Retry, (await sending).Outcome);
    }

    static Task WaitAsync(HttpContext context) =>
        Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted)
            .ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
}
