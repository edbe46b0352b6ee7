using System.Diagnostics;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The program with <c>--enqueue</c>, as a script that pipes lines into it runs it.</summary>
internal sealed class EnqueueRun : IDisposable
{
    readonly Process _process;

    EnqueueRun(Process process) => _process = process;

    /// <summary>The standard input of the program.</summary>
    public StreamWriter Input => _process.StandardInput;

    /// <param name="directory">The buffer directory.</param>
    public static EnqueueRun Start(string directory)
    {
        var start = new ProcessStartInfo(ChildProcess.ModulePath, ["--enqueue"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["Buffer__Directory"] = directory, ["DOTNET_EnableDiagnostics"] = "0" },
        };
        return new(Process.Start(start)!);
    }

    /// <summary>Runs the program with a text as its whole input.</summary>
    public static async Task<(int Code, string Error)> RunAsync(string directory, string text)
    {
        using var run = Start(directory);
        try
        {
            await run.Input.WriteAsync(text);
        }
        catch (IOException)
        {
            // The program has ended before it has read all of its input.
        }

        return await run.EndAsync();
    }

    /// <summary>Closes the input and waits for the program to end.</summary>
    public async Task<(int Code, string Error)> EndAsync()
    {
        var token = TestContext.Current.CancellationToken;
        try
        {
            Input.Close();
        }
        catch (IOException)
        {
            // As in RunAsync.
        }

        var (output, error) = (_process.StandardOutput.ReadToEndAsync(token), _process.StandardError.ReadToEndAsync(token));
        await _process.WaitForExitAsync(token);
        Assert.Equal("", await output);
        return (_process.ExitCode, (await error).TrimEnd());
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.Dispose();
    }
}
