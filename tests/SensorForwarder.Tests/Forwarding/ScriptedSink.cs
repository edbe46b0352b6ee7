using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>How receivers answer for a while.</summary>
internal enum Weather
{
    Fine,

    /// <summary>No batch arrives.</summary>
    Blackout,

    /// <summary>Batches arrive, but most answers are lost.</summary>
    Lossy,

    /// <summary>The receiver throttles, with or without Retry-After.</summary>
    Throttled,
}

/// <summary>A send in flight in a <see cref="MonthSimulation"/>.</summary>
internal sealed record SimulatedSend(SinkKind Sink, Batch Batch, TimeSpan At, TimeSpan Ends, SendResult Result, bool Arrives)
{
    public TaskCompletionSource<SendResult> Answer { get; } = new();
}

/// <summary>A sink of a <see cref="MonthSimulation"/>. Decides the result of each send at its start.</summary>
internal sealed class ScriptedSink(MonthSimulation world, SinkKind kind) : ISink
{
    public string Describe(ForwardingSettings settings) => kind.ToString();

    public bool IsReady(ForwardingSettings settings) => kind == SinkKind.Http || world.Weather != Weather.Blackout;

    public Task WaitUntilReadyAsync(CancellationToken cancellationToken) => throw new InvalidOperationException("the simulation looks itself");

    public Handovers? Handovers => kind == SinkKind.IotHub ? world.EdgeHub.Handovers : null;

    public bool IsHeld => Handovers?.IsHolding == true;

    public bool IsMetered => kind == SinkKind.IotHub;

    public int MaxInFlight(ForwardingSettings settings) => kind == SinkKind.Http ? 1 : settings.MaxInFlightBatches;

    public int MaxBytes(ForwardingSettings settings) => settings.BatchMaxBytes;

    public Task<SendResult> SendAsync(Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        var random = world.Random;
        var arrives = world.Weather != Weather.Blackout;
        var result = SendResult.Accepted;
        if (world.Weather == Weather.Blackout)
            result = new SendResult(SendOutcome.Retry, "away") { NotSent = random.Next(2) == 0 };
        else if (world.Weather == Weather.Throttled)
            (result, arrives) = (new(SendOutcome.Retry, "busy", random.Next(3) == 0 ? null : TimeSpan.FromSeconds(random.Next(1, 7_200))), false);
        else if (batch.Body.Length > MonthSimulation.ReceiverTakesBytes && batch.Readings.Count > 1)
            (result, arrives) = (new(SendOutcome.TooLarge, "413"), false);
        else if (batch.Readings.Any(reading => MonthSimulation.IsPoison(reading.Id)))
            (result, arrives) = (new(SendOutcome.Rejected, "422"), false);
        else if (world.Weather == Weather.Lossy && random.Next(3) > 0)
            result = new(SendOutcome.Retry, "no answer");
        var took = TimeSpan.FromSeconds(MonthSimulation.LongestSend.TotalSeconds * random.NextDouble());
        var send = new SimulatedSend(kind, batch, world.Elapsed, world.Elapsed + took, result, arrives);
        world.Begin(send, settings);
        return send.Answer.Task;
    }
}
