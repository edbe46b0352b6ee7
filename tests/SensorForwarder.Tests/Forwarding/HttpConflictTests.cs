using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>409: the receiver recognises the <c>Idempotency-Key</c>, or means something else.</summary>
public sealed class HttpConflictTests
{
    static readonly HttpSinkOptions Plain = new(null, new Dictionary<string, string>());

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0")] // no answer at all: the connection is cut
    [InlineData("500")]
    [InlineData("503")]
    [InlineData("403 0")] // denied first, then the answer is lost
    public async Task A_receiver_that_answers_409_to_batches_it_has_stored_gets_every_reading_once(string before)
    {
        // The receiver stores the batch at the first attempt that it does not deny, but answers with an error.
        var answers = before.Split(' ').Select(answer => int.Parse(answer, CultureInfo.InvariantCulture)).ToArray();
        var (attempts, keys, ids) = (new ConcurrentDictionary<string, int>(), new HashSet<string>(), new List<long>());
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            var key = context.Request.Headers["Idempotency-Key"].ToString();
            var batch = await ReadIdsAsync(context.Request);
            var attempt = attempts.AddOrUpdate(key, 0, (_, n) => n + 1);
            var answer = attempt < answers.Length ? answers[attempt] : 200;
            var isNew = true;
            if (answer != 403)
            {
                lock (ids)
                {
                    isNew = keys.Add(key);
                    if (isNew) ids.AddRange(batch);
                }
            }

            if (!isNew) answer = 409;
            if (answer == 0) context.Abort();
            else context.Response.StatusCode = answer;
        });
        await using var http = await HttpFixture.RunAsync(receiver.Url, readings: 20);
        var fixture = http.Forwarding;
        await http.UntilAsync(() => fixture.Buffer.GetStatus().Depth == 0);
        Assert.Equal(Enumerable.Range(1, 20).Select(n => (long)n), ids);
        Assert.Empty(fixture.Buffer.ListDeadLetters(0, 10));
    }

    [Theory]
    [InlineData("409")]
    [InlineData("409 0 409")] // an attempt without an answer in between changes nothing
    [InlineData("403 409")] // denied, and never stored
    public async Task A_409_for_a_batch_that_the_receiver_cannot_have_stored_loses_no_reading(string script)
    {
        var answers = script.Split(' ').Select(answer => int.Parse(answer, CultureInfo.InvariantCulture)).ToArray();
        var requests = 0;
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            await ReadIdsAsync(context.Request);
            var answer = answers[Math.Min(Interlocked.Increment(ref requests), answers.Length) - 1];
            if (answer == 0) context.Abort();
            else context.Response.StatusCode = answer;
        });
        await using var http = await HttpFixture.RunAsync(receiver.Url, readings: 10);
        var fixture = http.Forwarding;
        await http.UntilAsync(() => Volatile.Read(ref requests) >= answers.Length + 3);
        Assert.Equal(0, fixture.Forwarder.Status.Batches);
        Assert.Equal(10, fixture.Buffer.GetStatus().Depth);
    }

    [Theory]
    [InlineData(409, 10)] // the receiver answers 409 to everything: nothing may be dropped
    [InlineData(403, 10)]
    [InlineData(503, 0)] // the receiver may have stored the batch
    [InlineData(0, 10)] // the receiver was not reached
    [InlineData(511, 10)] // the answer came from a captive portal
    public async Task The_meaning_of_409_for_a_batch_is_still_known_after_a_restart(int status, int left)
    {
        using var files = new BufferFixture();
        await using (var buffer = await files.OpenAsync())
        {
            for (var n = 1; n <= 10; n++) await buffer.EnqueueAsync(BufferFixture.Reading(n), Token);
            await RunAsync(buffer, () => status, run => run.Failures >= 1);
        }

        await using (var buffer = await files.OpenAsync())
        {
            await RunAsync(buffer, () => 409, run => run.Failures + run.Batches >= 3 || run.Batches >= 1);
            Assert.Equal(left, buffer.GetStatus().Depth);
        }
    }

    [Fact]
    public async Task A_409_from_a_new_receiver_does_not_mean_that_it_has_batches_sent_to_the_old_one()
    {
        await using var first = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = 503;
            return Task.CompletedTask;
        });
        var requests = 0;
        await using var second = await Receiver.StartAsync(context =>
        {
            Interlocked.Increment(ref requests);
            context.Response.StatusCode = 409;
            return Task.CompletedTask;
        });
        await using var http = await HttpFixture.RunAsync(first.Url, readings: 10);
        var fixture = http.Forwarding;
        await http.UntilAsync(() => fixture.Forwarder.Status.Failures >= 1);
        fixture.Forwarder.Apply(new() { HttpEndpoint = second.Url, BatchSize = 10, UploadInterval = TimeSpan.Zero });
        await http.UntilAsync(() => Volatile.Read(ref requests) >= 3);
        Assert.Equal(0, fixture.Forwarder.Status.Batches);
        Assert.Equal(10, fixture.Buffer.GetStatus().Depth);
    }

    [Theory]
    [InlineData(false)] // the batch waits for its next attempt when the endpoint changes
    [InlineData(true)] // the old receiver has not answered yet
    public async Task A_409_from_a_new_receiver_that_has_stored_the_batch_means_that_it_has_it(bool isInFlight)
    {
        var (asked, answer) = (new TaskCompletionSource(), new TaskCompletionSource());
        if (!isInFlight) answer.SetResult();
        await using var first = await Receiver.StartAsync(async context =>
        {
            asked.TrySetResult();
            await answer.Task;
            context.Response.StatusCode = 503;
        });
        var second = new Storing();
        await using var receiver = await Receiver.StartAsync(second.AnswerAsync);
        await using var http = await HttpFixture.RunAsync(first.Url, readings: 10);
        var fixture = http.Forwarding;
        await asked.Task;
        if (!isInFlight) await http.UntilAsync(() => fixture.Forwarder.Status.Failures >= 1);
        fixture.Forwarder.Apply(new() { HttpEndpoint = receiver.Url, BatchSize = 10, UploadInterval = TimeSpan.Zero });
        await fixture.PassAsync(TimeSpan.Zero);
        answer.TrySetResult();
        await http.UntilAsync(() => fixture.Buffer.GetStatus().Depth == 0);
        Assert.Equal(Enumerable.Range(1, 10).Select(n => (long)n), second.Ids);
        Assert.True(second.Conflicts > 0, "the receiver never answered 409");
    }

    [Fact]
    public async Task A_receiver_that_answers_409_to_a_replayed_batch_has_it()
    {
        var storing = new Storing { Lost = 0 };
        await using var receiver = await Receiver.StartAsync(storing.AnswerAsync);
        await using var http = await HttpFixture.RunAsync(receiver.Url, readings: 0);
        var fixture = http.Forwarding;
        fixture.Buffer.ApplyLimits(new() { RetainForwarded = TimeSpan.FromDays(10_000) });
        await fixture.StoreAsync(1);
        await http.UntilAsync(() => fixture.Buffer.GetStatus().Depth == 0);
        await fixture.Buffer.CommitAsync(Token);
        Assert.Equal(1, await fixture.Forwarder.ReplayAsync(DateTimeOffset.MinValue, DateTimeOffset.MaxValue, null, Token));
        await http.UntilAsync(() => storing.Conflicts > 0 && fixture.Buffer.GetStatus().Depth == 0);
        Assert.Equal([1L], storing.Ids);
    }

    [Fact]
    public async Task A_409_with_Retry_After_means_that_the_receiver_is_still_processing_the_batch()
    {
        await using var receiver = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = 409;
            context.Response.Headers.RetryAfter = "7";
            return Task.CompletedTask;
        });
        using var sink = new HttpSink(Plain, TimeProvider.System);
        var batch = new Batch("epoch", [new(1, BufferFixture.Noon, "{}"u8.ToArray())], "{}"u8.ToArray())
        {
            MayHaveArrived = true,
        };
        var result = await sink.SendAsync(batch, new() { HttpEndpoint = receiver.Url }, Token);
        Assert.Equal((SendOutcome.Retry, TimeSpan.FromSeconds(7)), (result.Outcome, result.RetryAfter));
    }

    /// <summary>Runs a forwarder until a condition holds.</summary>
    static async Task RunAsync(TelemetryBuffer buffer, Func<int> status, Func<ForwardingStatus, bool> until)
    {
        await using var receiver = await Receiver.StartAsync(context =>
        {
            context.Response.StatusCode = status();
            return Task.CompletedTask;
        });
        var clock = new FakeTimeProvider(BufferFixture.Noon.AddHours(1));
        using var http = new HttpSink(Plain, clock);
        var ended = 0;
        var sink = new FakeSink
        {
            Send = async (batch, settings, token) =>
            {
                var result = await http.SendAsync(batch, settings, token);
                Interlocked.Increment(ref ended);
                return result;
            },
        };
        using var forwarder = new Forwarder(
            buffer, new Dictionary<SinkKind, ISink> { [SinkKind.Http] = sink },
            new BatchEncoder("pi", "module"), clock, new Random(1), NullLogger<Forwarder>.Instance);
        var endpoint = status() == 0 ? new($"http://127.0.0.1:{FreePort.Find()}/") : receiver.Url;
        forwarder.Apply(new() { HttpEndpoint = endpoint, BatchSize = 10, UploadInterval = TimeSpan.Zero });
        await forwarder.StartAsync(Token);
        await PassUntilAsync(() => until(forwarder.Status));
        var stopping = forwarder.StopAsync(CancellationToken.None);
        await PassUntilAsync(() => stopping.IsCompleted);
        await buffer.CommitAsync(Token);

        // The clock does not advance during a send: on a busy machine, a late answer would become a timeout.
        Task PassUntilAsync(Func<bool> condition) => Until.True(() =>
        {
            if (condition()) return true;
            if (Volatile.Read(ref ended) == sink.Sends) clock.Advance(TimeSpan.FromSeconds(1));
            return false;
        });
    }

    /// <summary>A receiver that stores each batch once, and answers 409 to an <c>Idempotency-Key</c> that it knows.
    /// </summary>
    sealed class Storing
    {
        readonly HashSet<string> _keys = [];
        readonly List<long> _ids = [];

        /// <summary>The first answers that the connection loses.</summary>
        public int Lost { get; set; } = 1;

        public int Conflicts { get; private set; }

        public IReadOnlyList<long> Ids
        {
            get
            {
                lock (_keys) return [.. _ids];
            }
        }

        public async Task AnswerAsync(HttpContext context)
        {
            var ids = await ReadIdsAsync(context.Request);
            lock (_keys)
            {
                var isNew = _keys.Add(context.Request.Headers["Idempotency-Key"].ToString());
                if (isNew) _ids.AddRange(ids);
                if (Lost-- > 0) context.Abort();
                else if (!isNew) (context.Response.StatusCode, Conflicts) = (409, Conflicts + 1);
            }
        }
    }

    static async Task<List<long>> ReadIdsAsync(HttpRequest request)
    {
        using var json = await JsonDocument.ParseAsync(request.Body, cancellationToken: Token);
        var readings = json.RootElement.GetProperty("batch").EnumerateArray();
        return [.. readings.Select(reading => reading.GetProperty("id").GetInt64())];
    }
}
