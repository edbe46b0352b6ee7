using System.CommandLine;
using System.Runtime.InteropServices;
using EdgeSimulator.Runs;

// The first Ctrl+C or SIGTERM ends the run in order, the second one at once.
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

    await Console.Error.WriteLineAsync("--help explains all options.");
    return 2;
}

// Signals are handled above; the command line library would end the process two seconds after the first one.
return await command.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });

async Task<int> RunAsync(RunOptions options)
{
    try
    {
        return await new Simulation(options, TimeProvider.System, Console.Out, stop.Token).RunAsync(abort.Token);
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
    if (stop.IsCancellationRequested)
    {
        abort.Cancel();
    }

    stop.Cancel();
}
