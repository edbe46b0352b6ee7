namespace SensorForwarder.Sensors.Bindings;

/// <summary>
/// The transfers of one measurement through a binding. A binding may loop forever, so every transfer checks a deadline;
/// it may swallow exceptions, so the first fault is recorded for <see cref="BoundChip"/>. Used by the bus's thread
/// only.
/// </summary>
internal sealed class BoundConversation(TimeProvider timeProvider)
{
    /// <summary>Shorter than the time limit of a measurement in <see cref="SensorLoop"/>.</summary>
    public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(8);

    readonly List<Func<bool>> _expected = [];
    long _began;

    /// <summary>The first fault since the measurement began; null: none.</summary>
    public SensorFault? Fault { get; private set; }

    /// <summary>All registers still hold their expected values.</summary>
    public bool IsAsExpected => _expected.TrueForAll(holds => holds());

    public void Begin()
    {
        Fault = null;
        _began = timeProvider.GetTimestamp();
    }

    /// <summary>Adds a condition that is true unless the chip has been reset.</summary>
    public void Expect(Func<bool> holds) => _expected.Add(holds);

    /// <summary>Removes all conditions, before the chip is initialized again.</summary>
    public void Forget() => _expected.Clear();

    public void CheckDeadline()
    {
        if (timeProvider.GetElapsedTime(_began) > Deadline)
            throw new SensorFault(FaultReason.Timeout, $"not done after {Deadline.TotalSeconds:0} s");
    }

    public void Note(SensorFault fault) => Fault ??= fault;
}
