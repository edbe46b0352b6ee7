namespace SensorForwarder.Tests.EndToEnd;

/// <summary>One module for all tests of a class, which must not change it. Its receiver is unreachable.</summary>
public sealed class SharedWeb : IAsyncLifetime
{
    internal const string Fast =
        """{"commitIntervalMs":50,"sensors":{"attic":{"kind":"simulated","intervalSeconds":0.1}}}""";

    internal WebProcess Web { get; private set; } = null!;

    public async ValueTask InitializeAsync() =>
        Web = await WebProcess.StartAsync(Fast, ("Http__Endpoint", "http://127.0.0.1:9/"));

    public ValueTask DisposeAsync() => Web.DisposeAsync();
}
