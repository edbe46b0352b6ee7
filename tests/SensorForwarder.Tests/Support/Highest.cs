namespace SensorForwarder.Tests.Support;

/// <summary>Always returns the maximum, so that every random delay has its maximum length.</summary>
internal sealed class Highest : Random
{
    public override double NextDouble() => 1;
}
