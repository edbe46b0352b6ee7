using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Operations;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Options;

// Arguments, boot values, signals and exit codes. Module.cs composes the module.

using var stop = new StopSignal();
if (Commands.AnswerAtOnce(args) is { } answered) return answered;

var configuration = new ConfigurationBuilder()
    .SetBasePath(AppContext.BaseDirectory)
    .AddJsonFile("appsettings.json", optional: true)
    .AddEnvironmentVariables()
    .Build();

var timeProvider = TimeProvider.System;
BootOptions boot;
try
{
    boot = BootOptions.Read(configuration);
}
catch (BootValueException exception)
{
    Console.WriteLine(LogLineFormatter.Line(LogLevel.Critical, timeProvider.GetUtcNow(), exception.Message));
    return ExitCode.Configuration;
}

if (args.Length > 0) return await Commands.RunAsync(args, boot, Module.SensorKinds, timeProvider, stop.Token);
CrashLine.Install(timeProvider);
StopSignal.PrepareThreads();

await using var module = await Module.BuildAsync(boot, timeProvider, loggers: null, stop.Token);
return module is null || await module.RunAsync(stop.Token) ? ExitCode.Ok : ExitCode.Crash;
