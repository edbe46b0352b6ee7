namespace SensorForwarder.Tests.EndToEnd;

/// <summary>edgeAgent and Docker stop a module whenever they like, also while it starts.</summary>
public sealed class EarlyStopTests : IDisposable
{
    const int Starts = 30;
    const int LatestMilliseconds = 300;
    const int EndedByTheSignal = 143;

    readonly string _directory = Directory.CreateTempSubdirectory("stop-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_stop_at_any_moment_of_the_start_is_a_clean_one()
    {
        var random = new Random(1);
        for (var i = 0; i < Starts; i++)
        {
            await using var module = ChildProcess.StartModule(
                ("Buffer__Directory", Path.Combine(_directory, $"{i}")), ("Web__Port", "0"), ("Http__Endpoint", "http://127.0.0.1:9/"));

            // Every second one has certainly begun; of the others some are stopped by the runtime, before it runs the program.
            if (i % 2 == 0) await module.LineAsync("starts as");
            await Task.Delay(
                TimeSpan.FromMilliseconds(random.Next(LatestMilliseconds)), TimeProvider.System, TestContext.Current.CancellationToken);
            var code = await module.StopAsync();
            Assert.True(
                code == 0 || (code == EndedByTheSignal && module.Lines.Count == 0), $"start {i} ended with {code}:\n{string.Join('\n', module.Lines)}");
            Assert.DoesNotContain(module.Lines, line => line.StartsWith("<3>", StringComparison.Ordinal));
        }
    }
}
