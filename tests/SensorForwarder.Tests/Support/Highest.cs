namespace SensorForwarder.Tests.Support;

/// <summary>Draws the upper end each time: every wait is as long as its bound.</summary>
internal sealed class Highest : Random
{
    public override double NextDouble() => 1;
}
