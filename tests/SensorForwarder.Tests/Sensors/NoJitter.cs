namespace SensorForwarder.Tests.Sensors;

/// <summary>Starts all sensors without a random delay, so that times depend only on the fake clock.</summary>
internal sealed class NoJitter : Random
{
    public override double NextDouble() => 0;
}
