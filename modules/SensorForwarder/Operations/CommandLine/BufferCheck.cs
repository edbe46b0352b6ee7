using SensorForwarder.Configuration;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Checks the whole database for damage. Changes nothing: the module salvages damage.</summary>
internal static class BufferCheck
{
    public static async Task<int> RunAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        using var file = await ReadingExport.OpenAsync(boot, timeProvider, cancellationToken);
        var began = timeProvider.GetTimestamp();
        var fault = await Task.Run(() => file.Check(cancellationToken), cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
        if (fault is not null)
            return Commands.Failed($"{file.Path}: damaged ({LogText.Clean(fault)}); the module salvages it when it "
                + "reads the damaged part, or at once with the direct method checkBuffer");
        Console.WriteLine($"{file.Path}: no damage found; {file.Count(withForwarded: false)} readings; "
            + $"{timeProvider.GetElapsedTime(began).TotalSeconds:0.0} s");
        return ExitCode.Ok;
    }
}
