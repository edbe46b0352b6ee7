namespace SensorForwarder.Tests.Sensors;

/// <summary>Sensors start at once, so that the fake clock alone decides.</summary>
internal sealed class NoJitter : Random
{
    public override double NextDouble() => 0;
}
