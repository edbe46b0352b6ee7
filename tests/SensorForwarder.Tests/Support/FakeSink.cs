using System.Threading.Channels;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Support;

/// <summary>A sink whose results are set by the test, for each attempt or by a rule.</summary>
internal sealed class FakeSink : ISink
{
    readonly Channel<Attempt> _attempts = Channel.CreateUnbounded<Attempt>();
    TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public FakeSink(bool ready = true)
    {
        if (ready) _ready.SetResult();
    }

    /// <summary>Gives the result of each attempt. If null, the test sets the result of the attempt from
    /// <see cref="NextAsync"/>.</summary>
    public Func<Batch, SendResult>? Rule { get; set; }

    /// <summary>Replaces <see cref="SendAsync"/> if set.</summary>
    public Func<Batch, ForwardingSettings, CancellationToken, Task<SendResult>>? Send { get; init; }

    public int Window { get; init; } = 1;

    public bool IsMetered { get; init; }

    public bool IsHeld { get => field || Handovers?.IsHolding == true; set; }

    public Handovers? Handovers { get; init; }

    public int LargestBody { get; init; } = int.MaxValue;

    /// <summary>The batches of all attempts, in order.</summary>
    public List<Batch> Seen { get; } = [];

    /// <summary>Number of attempts.</summary>
    public int Sends
    {
        get { lock (Seen) return Seen.Count; }
    }

    /// <summary>Number of attempts of a lane.</summary>
    public int Count(Lane lane)
    {
        lock (Seen) return Seen.Count(batch => batch.Lane == lane);
    }

    /// <summary>The ids in all attempts of a lane.</summary>
    public IReadOnlyList<long> Ids(Lane lane)
    {
        lock (Seen) return [.. Seen.Where(batch => batch.Lane == lane).SelectMany(batch => batch.Readings).Select(reading => reading.Id)];
    }

    public string Describe(ForwardingSettings settings) => "fake";

    public bool IsReady(ForwardingSettings settings) => _ready.Task.IsCompleted;

    public Task WaitUntilReadyAsync(CancellationToken cancellationToken) => _ready.Task.WaitAsync(cancellationToken);

    public void BecomeReady() => _ready.TrySetResult();

    public int MaxInFlight(ForwardingSettings settings) => Window;

    public int MaxBytes(ForwardingSettings settings) => Math.Min(settings.BatchMaxBytes, LargestBody);

    public async Task<SendResult> SendAsync(Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        lock (Seen) Seen.Add(batch);
        if (Send is { } send) return await send(batch, settings, cancellationToken);
        var attempt = new Attempt(batch, new(TaskCreationOptions.RunContinuationsAsynchronously));
        if (Rule is { } rule) attempt.Answer.SetResult(rule(batch));
        _attempts.Writer.TryWrite(attempt);
        return await attempt.Answer.Task.WaitAsync(cancellationToken);
    }

    /// <summary>Waits for the next attempt.</summary>
    public Task<Attempt> NextAsync() =>
        _attempts.Reader.ReadAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(Until.Limit, TimeProvider.System);

    public bool HasAttempt => _attempts.Reader.TryPeek(out _);

    internal sealed record Attempt(Batch Batch, TaskCompletionSource<SendResult> Answer)
    {
        public void Accept() => Answer.SetResult(SendResult.Accepted);

        public void SayNotSent() => Answer.SetResult(new SendResult(SendOutcome.Retry, "away") { NotSent = true });

        public void Say(SendOutcome outcome, TimeSpan? after = null) => Answer.SetResult(new(outcome, outcome.ToString(), after));
    }
}
