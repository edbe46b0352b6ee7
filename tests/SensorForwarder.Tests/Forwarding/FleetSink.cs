using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The sink of one device of a <see cref="FleetSimulation"/>.</summary>
internal abstract class FleetSink(FleetSimulation fleet) : ISink
{
    public FleetDevice? Device { get; set; }

    public bool IsHeld => false;

    public bool IsMetered => false;

    protected FleetSimulation Fleet => fleet;

    public string Describe(ForwardingSettings settings) => "the receiver";

    public Task WaitUntilReadyAsync(CancellationToken cancellationToken) => throw new InvalidOperationException();

    public int MaxBytes(ForwardingSettings settings) => settings.BatchMaxBytes;

    public abstract bool IsReady(ForwardingSettings settings);

    public abstract int MaxInFlight(ForwardingSettings settings);

    public abstract Task<SendResult> SendAsync(
        Batch batch, ForwardingSettings settings, CancellationToken cancellationToken);

    public virtual void Start()
    {
    }
}

/// <summary>Requests to an HTTP receiver.</summary>
internal sealed class FleetHttpSink(FleetSimulation fleet) : FleetSink(fleet)
{
    static readonly TimeSpan RoundTrip = TimeSpan.FromMilliseconds(50);
    static readonly TimeSpan RetryAfter = TimeSpan.FromSeconds(10);

    public override bool IsReady(ForwardingSettings settings) => true;

    public override int MaxInFlight(ForwardingSettings settings) => 1;

    public override Task<SendResult> SendAsync(
        Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        if (Fleet.IsOut)
            return Answer(TimeSpan.FromSeconds(1), new(SendOutcome.Retry, "nobody is reached") { NotSent = true });
        if (Fleet.Offer() is { } served)
            return Answer(served - Fleet.Now + RoundTrip, SendResult.Accepted, () => Device!.Arrive(batch));
        return Answer(RoundTrip, Fleet.Random.Next(2) == 0
            ? new SendResult(SendOutcome.Retry, "answered 429", RetryAfter) { IsReached = true }
            : new SendResult(SendOutcome.Retry, "answered 503") { IsReached = true });
    }

    Task<SendResult> Answer(TimeSpan delay, SendResult result, Action? before = null)
    {
        var answer = new TaskCompletionSource<SendResult>();
        Fleet.After(delay, () =>
        {
            before?.Invoke();
            answer.SetResult(result);
            Device!.Turn();
        });
        return answer.Task;
    }
}

/// <summary>A connection to IoT Hub over MQTT 3.1.1, where a message can be refused only by dropping the connection.
/// </summary>
internal sealed class FleetHubSink : FleetSink
{
    static readonly TimeSpan RoundTrip = TimeSpan.FromMilliseconds(50);
    static readonly TimeSpan Dialling = TimeSpan.FromMilliseconds(300);

    // Connections also end for other reasons: the number per thousand messages.
    const int EndsInThousand = 1;

    readonly List<TaskCompletionSource<SendResult>> _unacknowledged = [];
    readonly ReconnectPolicy _policy;
    TimeSpan? _connectedAt;

    public FleetHubSink(FleetSimulation fleet, Random random)
        : base(fleet) => _policy = new(fleet, random);

    public override bool IsReady(ForwardingSettings settings) => _connectedAt is not null;

    public override int MaxInFlight(ForwardingSettings settings) => settings.MaxInFlightBatches;

    public override void Start()
    {
        Dial();
        Fleet.After(FleetSimulation.OutageBegins - Fleet.Now, () => End(byPeer: false));
    }

    public override Task<SendResult> SendAsync(
        Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        var answer = new TaskCompletionSource<SendResult>();
        _unacknowledged.Add(answer);
        var connection = _connectedAt;
        if (Fleet.Offer() is { } served && Fleet.Bill(batch))
            Fleet.After(served - Fleet.Now + RoundTrip, () =>
            {
                // The hub has the message even if the connection has ended before the acknowledgement.
                Device!.Arrive(batch);
                if (_connectedAt != connection) return;
                if (Fleet.Random.Next(1_000) < EndsInThousand) End(byPeer: true);
                else if (_unacknowledged.Remove(answer) && answer.TrySetResult(SendResult.Accepted)) Device!.Turn();
            });
        else
            Fleet.After(RoundTrip, () =>
            {
                if (_connectedAt == connection) End(byPeer: true);
            });
        return answer.Task;
    }

    void Dial() => Fleet.After(Dialling, () =>
    {
        if (Fleet.IsOut) Fleet.After(_policy.AfterFailure(DialFailure.Unreachable), Dial);
        else if (!Fleet.TryConnect()) Fleet.After(_policy.AfterFailure(DialFailure.NotReady), Dial);
        else
        {
            _connectedAt = Fleet.Now;
            Device!.Turn();
        }
    });

    void End(bool byPeer)
    {
        if (_connectedAt is not { } connectedAt) return;
        _connectedAt = null;
        Fleet.After(_policy.AfterEnd(Fleet.Now - connectedAt, byPeer), Dial);
        foreach (var answer in _unacknowledged) answer.SetResult(new(SendOutcome.Retry, "the connection ended"));
        _unacknowledged.Clear();
        Device!.Turn();
    }
}
