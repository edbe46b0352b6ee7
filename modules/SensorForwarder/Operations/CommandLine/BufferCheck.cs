using SensorForwarder.Buffer;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Reads the whole database in search of damage. Nothing is changed: the module
/// salvages what it meets.</summary>
internal static class BufferCheck
{
    public static async Task<int> RunAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        try
        {
            using var file = await ReadingExport.OpenAsync(boot, timeProvider, cancellationToken);
            var began = timeProvider.GetTimestamp();
            var fault = await Task.Run(() => file.Check(cancellationToken), cancellationToken);
            cancellationToken.ThrowIfCancellationRequested();
            if (fault is not null)
                return Commands.Failed(
                    $"{file.Path}: damaged ({LogText.Clean(fault)}); the module salvages it when it meets that, or at "
                    + "once by the direct method checkBuffer");
            Console.WriteLine(
                $"{file.Path}: whole; {file.Count(withForwarded: false)} readings; "
                + $"{timeProvider.GetElapsedTime(began).TotalSeconds:0.0} s");
            return ExitCode.Ok;
        }
        catch (BufferUnavailableException exception)
        {
            return Commands.Failed(exception.Message);
        }
    }
}
