using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Net;
using SensorForwarder.Operations;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Operations.Web;
using SensorForwarder.Sensors;
using Log = SensorForwarder.Operations.Log;

// The composition root, in the order in which data flows: readable as the architecture.

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

if (args.Length > 0) return await Commands.RunAsync(args, boot, timeProvider, stop.Token);
CrashLine.Install(timeProvider);
StopSignal.PrepareThreads();

var logLevel = new LogLevelSwitch(boot.LogLevel);
var events = new RecentEvents(timeProvider);
using var loggers = Logs.CreateFactory(logLevel, events, timeProvider);
var log = loggers.CreateLogger("SensorForwarder");
Log.Starting(log, StatusWriter.Version, boot.Identity?.ToString() ?? $"{boot.DeviceId} (no hub)", boot.BufferDirectory);

foreach (var entry in EnvironmentProxy.Current.Problems) Log.NoProxyEntry(log, entry);

// Nothing works without the buffer, so it comes first, however long the volume takes.
var guard = new RequestGuard([Environment.MachineName, .. boot.WebAllowedHosts]);
if (await VolumeWait.OpenBufferAsync(
    boot, guard, timeProvider, loggers, stop.Token) is not { } buffer) return ExitCode.Ok;
await using var opened = buffer;

var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
var services = builder.Services;
services.AddSingleton<ILoggerFactory>(loggers);
services.AddSingleton(boot).AddSingleton(timeProvider).AddSingleton(logLevel).AddSingleton(buffer);
services.AddTransient(_ => new Random());

// edgeAgent and Docker kill what has not stopped within 10 s. This is enough for each part that may have to wait for
// somebody at the end, and leaves 2 s for the buffer; the readings are committed as soon as sensing has stopped.
services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(1)
    + WebServer.StopPatience + Forwarder.StopPatience + EdgeHubConnection.StopPatience + OtlpExport.StopPatience);

// Sensors -> Buffer
services.AddSingleton(boot.Sensors).AddSingleton<SensorFactory>();
services.AddSingleton<SensorScheduler>();

// Buffer -> Forwarding -> EdgeHub or HTTP
services.AddSingleton(new Dialer(timeProvider));
services.AddSingleton(new BatchEncoder(boot.DeviceId, boot.ModuleId, () => buffer.Epoch));
services.AddSingleton(boot.Http).AddSingleton<HttpSink>();
services.AddSingleton<IReadOnlyDictionary<SinkKind, ISink>>(provider =>
{
    var sinks = new Dictionary<SinkKind, ISink> { [SinkKind.Http] = provider.GetRequiredService<HttpSink>() };
    if (provider.GetService<IEdgeHubClient>() is { } client) sinks[SinkKind.IotHub] = new IotHubSink(
        client, provider.GetRequiredService<UpstreamWatch>());
    return sinks;
});
services.AddSingleton<Forwarder>();

// Configuration: the file, and over it the twin
services.AddSingleton<SensorsParser>().AddSingleton<SettingsApplier>().AddSingleton<SettingsStore>();
services.AddSingleton(provider => new SettingsParser(
    Settings.Defaults(boot), boot.Identity is not null, provider.GetRequiredService<SensorsParser>(), boot.Http));
services.AddSingleton<SettingsFile>().AddSingleton<SettingsTrial>();

// Operations
services.AddSingleton<StatusWriter>().AddSingleton<DirectMethods>().AddSingleton<Health>();
services.AddSingleton<ModuleMetrics>().AddSingleton<MetricsText>();
services.AddSingleton(events).AddSingleton<Trends>().AddSingleton<LinkReport>().AddSingleton<ReadingHistory>()
    .AddSingleton<Dashboard>();
services.AddSingleton(guard).AddSingleton<Endpoints>();

// What runs, in this order; it stops in the reverse one: first sensing, then forwarding, then the
// connection, and last what tells of it.
services.AddHostedService<CertificateWatch>();
if (boot.Otlp is { } otlp) services.AddSingleton(otlp).AddHostedService<OtlpExport>();
if (boot.Identity is { } identity)
{
    services.AddSingleton(identity).AddSingleton(boot.Hub);
    services.AddSingleton<EdgeHubConnection>();
    services.AddSingleton<IEdgeHubClient>(provider => provider.GetRequiredService<EdgeHubConnection>());
    services.AddSingleton(boot.Upstream).AddSingleton<UpstreamWatch>();
    services.AddHostedService(provider => provider.GetRequiredService<UpstreamWatch>());
    services.AddSingleton<ReportedProperties>().AddSingleton<TwinSynchronizer>();
    services.AddSingleton<StatusReporter>().AddSingleton<HubHandler>();
    services.AddHostedService(provider => provider.GetRequiredService<ReportedProperties>());
    services.AddHostedService(provider => provider.GetRequiredService<TwinSynchronizer>());
    services.AddHostedService(provider => provider.GetRequiredService<StatusReporter>());
    services.AddHostedService(provider =>
    {
        var connection = provider.GetRequiredService<EdgeHubConnection>();
        connection.Handler = provider.GetRequiredService<HubHandler>();
        return connection;
    });
}

services.AddHostedService(provider => provider.GetRequiredService<Forwarder>());
services.AddHostedService(provider => provider.GetRequiredService<SensorScheduler>());
services.AddHostedService(provider => provider.GetRequiredService<SettingsFile>());
services.AddHostedService(provider => provider.GetRequiredService<SettingsTrial>());
services.AddHostedService(provider => provider.GetRequiredService<Health>());
services.AddHostedService(provider => provider.GetRequiredService<Trends>());
services.AddHostedService<WebServer>().AddHostedService<HealthSocket>();

using var host = builder.Build();
var hosted = host.Services.GetServices<IHostedService>().ToList();
var started = host.Services.GetRequiredService<IHostApplicationLifetime>().ApplicationStarted;
try
{
    await host.RunAsync(stop.Token);
    var late = hosted.OfType<BackgroundService>().Where(service => service.ExecuteTask is { IsCompleted: false })
        .ToList();
    if (late.Count > 0) Log.StillRuns(log, string.Join(", ", late.Select(service => service.GetType().Name)));
}
catch (OperationCanceledException) when (!started.IsCancellationRequested)
{
    // The stop came before everything had started.
}
catch (OperationCanceledException exception)
{
    Log.StoppedLate(log, exception);
}

try
{
    await buffer.CommitAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(1), timeProvider);
}
catch (Exception exception) when (exception is TimeoutException or BufferUnavailableException)
{
    Log.StoppedLate(log, exception);
}

Log.Stopped(log, buffer.GetStatus().Depth);

// What fails because everything stops (a port that is taken while the signal comes, say) is no crash.
return !stop.Token.IsCancellationRequested
    && hosted.Any(service => service is BackgroundService { ExecuteTask.IsFaulted: true })
    ? ExitCode.Crash
    : ExitCode.Ok;
