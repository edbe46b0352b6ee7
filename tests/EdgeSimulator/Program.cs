using System.CommandLine;
using System.Runtime.InteropServices;
using EdgeSimulator.Runs;
using Spectre.Console;

// The first Ctrl+C or SIGTERM ends the run gracefully, the second aborts it. timeout(1), for one, signals the process
// and then its group, so further signals within one second count as the first.
var firstSignal = 0L;
using var stop = new CancellationTokenSource();
using var abort = new CancellationTokenSource();
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);

var command = CommandLine.Create(RunAsync).Parse(args);
if (command.Errors.Count > 0)
{
    foreach (var error in command.Errors)
    {
        await Console.Error.WriteLineAsync(error.Message);
    }

    await Console.Error.WriteLineAsync("Use --help for a list of all options.");
    return 2;
}

// Signals are handled above. By default, System.CommandLine ends the process two seconds after the first one.
return await command.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });

async Task<int> RunAsync(RunOptions options)
{
    try
    {
        // Without a module, only the environment is written to stdout, so that a shell can evaluate it.
        var output = options.ModulePath is null ? Console.Error : Console.Out;
        var isTerminal = !Console.IsOutputRedirected && options.ModulePath is not null && AnsiConsole.Profile.Capabilities.Ansi;
        var console = isTerminal ? AnsiConsole.Console : null;
        return await new Simulation(options, TimeProvider.System, output, console, Console.Out, stop.Token).RunAsync(abort.Token);
    }
    catch (InvalidOperationException exception)
    {
        await Console.Error.WriteLineAsync(exception.Message);
        return 2;
    }
}

void Stop(PosixSignalContext context)
{
    context.Cancel = true;
    if (!stop.IsCancellationRequested)
    {
        firstSignal = TimeProvider.System.GetTimestamp();
        stop.Cancel();
    }
    else if (TimeProvider.System.GetElapsedTime(firstSignal) > TimeSpan.FromSeconds(1))
    {
        abort.Cancel();
    }
}
