namespace SensorForwarder.Sensors.Bindings;

/// <summary>
/// One measurement of a chip of Iot.Device.Bindings, as its port sees it. A binding may loop for ever and may catch
/// what a transfer throws: the deadline ends the one, and the first fault is kept for <see cref="BoundChip"/> against
/// the other. Used by the bus's thread only.
/// </summary>
internal sealed class BoundConversation(TimeProvider timeProvider)
{
    /// <summary>Less than what <see cref="SensorLoop"/> gives a measurement.</summary>
    public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(8);

    readonly List<Func<bool>> _expected = [];
    long _began;

    /// <summary>The first fault since the measurement began; null: none.</summary>
    public SensorFault? Fault { get; private set; }

    /// <summary>All registers hold what was expected of them.</summary>
    public bool IsAsExpected => _expected.TrueForAll(holds => holds());

    public void Begin()
    {
        Fault = null;
        _began = timeProvider.GetTimestamp();
    }

    /// <summary>Something that holds as long as the chip has not been reset.</summary>
    public void Expect(Func<bool> holds) => _expected.Add(holds);

    /// <summary>The chip is opened anew: nothing is expected of it yet.</summary>
    public void Forget() => _expected.Clear();

    public void CheckDeadline()
    {
        if (timeProvider.GetElapsedTime(_began) > Deadline)
            throw new SensorFault(FaultReason.Timeout, $"not done after {Deadline.TotalSeconds:0} s");
    }

    public void Note(SensorFault fault) => Fault ??= fault;
}
