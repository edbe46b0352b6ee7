using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Net;
using SensorForwarder.Operations;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Operations.Metrics;
using SensorForwarder.Operations.Status;
using SensorForwarder.Operations.Web;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Bindings;
using SensorForwarder.Sensors.Drivers;
using SensorForwarder.Sensors.Kernel;
using SensorForwarder.Sensors.Modbus;
using SensorForwarder.Sensors.Serial;

namespace SensorForwarder;

/// <summary>
/// A running module and its composition root: the parts are registered in the order in which data flows. Used by
/// Program.cs, and by tests that run a whole module in their own process.
/// </summary>
internal sealed class Module : IAsyncDisposable
{
    static readonly TimeSpan LastCommitPatience = TimeSpan.FromSeconds(1);

    readonly IHost _host;
    readonly ILoggerFactory _loggers;
    readonly ILogger _log;
    readonly TimeProvider _timeProvider;

    Module(IHost host, TelemetryBuffer buffer, ILoggerFactory loggers, ILogger log, TimeProvider timeProvider) =>
        (_host, Buffer, _loggers, _log, _timeProvider) = (host, buffer, loggers, log, timeProvider);

    /// <summary>All kinds of sensors. A new kind is one file and one line here.</summary>
    public static SensorKinds SensorKinds { get; } = new(
    [
        HostSensor.Kind,
        SimulatedSensor.Kind,
        IioChannels.Kind,
        HwmonChannels.Kind,
        ThermalZone.Kind,
        OneWireSensor.Kind,
        FileSensor.Kind,
        ContactSensor.Kind,
        PulseCounter.Kind,
        Bme280.Bme,
        Bme280.Bmp,
        Sht3x.Kind,
        Sht4x.Kind,
        Aht20.Kind,
        Scd4x.Kind,
        PowerMonitor.Ina219,
        PowerMonitor.Ina226,
        Ads1115.Kind,
        Bh1750.Kind,
        Thermometer.Mcp9808,
        Thermometer.Lm75,
        Thermometer.Tmp102,
        Tsl2561.Kind,
        Mcp3008.Kind,
        Mhz19.Kind,
        Pms5003.Kind,
        Sds011.Kind,
        NmeaSensor.Kind,
        ModbusSensor.Kind,
        MqttSubscription.Kind,
        .. BoundChips.All,
    ]);

    public TelemetryBuffer Buffer { get; }

    /// <summary>The parts of the module, for tests and benchmarks.</summary>
    public IServiceProvider Services => _host.Services;

    /// <summary>Opens the buffer, waiting for its volume as long as necessary, and builds the other parts. Starts
    /// none of them.</summary>
    /// <param name="boot">The boot values.</param>
    /// <param name="timeProvider">The clock of every part.</param>
    /// <param name="loggers">Disposed with the module. Null: log to standard output and the page.</param>
    /// <param name="stop">Ends the wait for the volume.</param>
    /// <returns>Null if stopped before the volume was available.</returns>
    public static async Task<Module?> BuildAsync(
        BootOptions boot, TimeProvider timeProvider, ILoggerFactory? loggers, CancellationToken stop)
    {
        var logLevel = new LogLevelSwitch(boot.LogLevel);
        var events = new RecentEvents(timeProvider);
        loggers ??= Logs.CreateFactory(logLevel, events, timeProvider);
        var log = loggers.CreateLogger("SensorForwarder");
        OperationsLog.Starting(
            log, ModuleStatus.Version, boot.Identity?.ToString() ?? $"{boot.DeviceId} (no hub)", boot.BufferDirectory);
        foreach (var entry in EnvironmentProxy.Current.Problems) OperationsLog.NoProxyEntry(log, entry);

        // All parts depend on the buffer, so it is opened first. While it waits for its volume, the web port shows why.
        var guard = new RequestGuard([Environment.MachineName, .. boot.WebAllowedHosts]);
        TelemetryBuffer? buffer;
        await using (var page = new WaitingPage(boot, guard, timeProvider, log))
            buffer = await VolumeWait.OpenBufferAsync(boot, page.ShowAsync, timeProvider, loggers, stop);
        if (buffer is null)
        {
            loggers.Dispose();
            return null;
        }

        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        var services = builder.Services;
        services.AddSingleton(loggers);
        services.AddSingleton(boot).AddSingleton(timeProvider).AddSingleton(logLevel).AddSingleton(buffer);
        services.AddTransient(_ => new Random());

        // edgeAgent and Docker kill a process that has not stopped within 10 s. This allows for every part that may
        // wait for a peer while it stops, and leaves 2 s for the buffer. Readings are committed as soon as sensing has
        // stopped.
        services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(1)
            + WebServer.StopPatience + Forwarder.StopPatience + EdgeHubConnection.StopPatience
            + OtlpExport.StopPatience + HttpIntake.StopPatience + MqttIntake.StopPatience);

        AddSensors(services, boot, buffer, timeProvider);
        AddIntake(services, boot);
        AddForwarding(services, boot, timeProvider);
        AddConfiguration(services, boot);
        AddOperations(services, events, guard);
        AddHostedServices(services, boot);
        return new(builder.Build(), buffer, loggers, log, timeProvider);
    }

    /// <summary>Runs the module until it is asked to stop or a part fails, stops the parts in order, and commits the
    /// readings that are still in memory. Called once.</summary>
    /// <param name="stop">Requests the stop.</param>
    /// <returns>False if a part failed.</returns>
    public async Task<bool> RunAsync(CancellationToken stop)
    {
        var hosted = Services.GetServices<IHostedService>().OfType<BackgroundService>().ToList();
        var started = Services.GetRequiredService<IHostApplicationLifetime>().ApplicationStarted;
        try
        {
            await _host.RunAsync(stop);
            var late = hosted.Where(service => service.ExecuteTask is { IsCompleted: false }).ToList();
            if (late.Count > 0)
                OperationsLog.StillRuns(_log, string.Join(", ", late.Select(service => service.GetType().Name)));
        }
        catch (OperationCanceledException) when (!started.IsCancellationRequested)
        {
            // The stop was requested before all parts had started.
        }
        catch (OperationCanceledException exception)
        {
            OperationsLog.StoppedLate(_log, exception);
        }

        try
        {
            await Buffer.CommitAsync(CancellationToken.None)
                .WaitAsync(LastCommitPatience, _timeProvider, CancellationToken.None);
        }
        catch (Exception exception) when (exception is TimeoutException or BufferUnavailableException)
        {
            OperationsLog.StoppedLate(_log, exception);
        }

        OperationsLog.Stopped(_log, Buffer.GetStatus().Depth);

        // A part that fails during a stop, for example because its port is in use, does not count as a crash.
        return stop.IsCancellationRequested || !hosted.Any(service => service.ExecuteTask is { IsFaulted: true });
    }

    public async ValueTask DisposeAsync()
    {
        _host.Dispose();
        await Buffer.DisposeAsync();
        _loggers.Dispose();
    }

    // Sensors -> Buffer
    static void AddSensors(
        IServiceCollection services, BootOptions boot, TelemetryBuffer buffer, TimeProvider timeProvider)
    {
        services.AddSingleton(SensorKinds);
        var dialer = new Dialer(timeProvider);
        services.AddSingleton(dialer);
        services.AddSingleton(new SensorWorld(boot.Sensors, timeProvider)
        {
            Totals = new(buffer),
            Alarms = new(buffer),
            OpenOutput = (output, isActive) => GpioPlace.OpenOutput(boot.Sensors, output, isActive),
            Dialer = dialer,
        });
        services.AddSingleton<SensorScheduler>();
    }

    // Other programs -> Buffer
    static void AddIntake(IServiceCollection services, BootOptions boot) => services
        .AddSingleton(boot.Intake).AddSingleton<IntakeStore>().AddSingleton<HttpRequests>()
        .AddSingleton(provider => new MqttWorld(
            boot.Mqtt, $"{boot.DeviceId}-{boot.ModuleId}", provider.GetRequiredService<IntakeStore>(),
            provider.GetRequiredService<Dialer>(), provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<Random>(), provider.GetRequiredService<ILogger<MqttIntake>>())
        {
            Alarms = provider.GetRequiredService<SensorWorld>().Alarms,
        })
        .AddSingleton<MqttIntake>();

    // Buffer -> Forwarding -> EdgeHub or HTTP
    static void AddForwarding(IServiceCollection services, BootOptions boot, TimeProvider timeProvider)
    {
        services.AddSingleton(new BatchEncoder(boot.DeviceId, boot.ModuleId));
        services.AddSingleton(boot.Http).AddSingleton<HttpSink>();
        services.AddSingleton<IReadOnlyDictionary<SinkKind, ISink>>(provider =>
        {
            var sinks = new Dictionary<SinkKind, ISink> { [SinkKind.Http] = provider.GetRequiredService<HttpSink>() };
            if (provider.GetService<IEdgeHubClient>() is { } client)
                sinks[SinkKind.IotHub] = new IotHubSink(client, provider.GetService<Handovers>());
            return sinks;
        });
        services.AddSingleton<Forwarder>();
        if (boot.Identity is not { } identity) return;

        services.AddSingleton(identity).AddSingleton(boot.Hub).AddSingleton<ModuleInputs>();
#if DEVICE_SDK
        services.AddSingleton(provider => EdgeHub.DeviceSdk.SdkProtocol.NewConnection(
            identity, boot.Hub, timeProvider, provider.GetRequiredService<Random>(),
            provider.GetRequiredService<ILogger<EdgeHubConnection>>()));
#else
        services.AddSingleton<EdgeHubConnection>();
#endif
        services.AddSingleton<IEdgeHubClient>(provider => provider.GetRequiredService<EdgeHubConnection>());
        if (identity.GatewayHostName is null && boot.EdgeHubMetricsUrl is null) return;
        services.AddSingleton(provider => new MetricsPageReader(
            boot.EdgeHubMetricsUrl, identity.ClientId, timeProvider, provider.GetRequiredService<Dialer>()));
        services.AddSingleton(provider =>
        {
            var page = provider.GetRequiredService<MetricsPageReader>();
            var log = provider.GetRequiredService<ILogger<Handovers>>();
            return new Handovers(identity.ModuleId ?? "*", page.Place, page.ReadAsync, timeProvider, log);
        });
    }

    // Settings file, overridden by the twin
    static void AddConfiguration(IServiceCollection services, BootOptions boot)
    {
        services.AddSingleton<SensorsParser>().AddSingleton<SettingsApplier>().AddSingleton<SettingsStore>();
        services.AddSingleton(provider => new SettingsParser(
            Settings.Defaults(boot), boot.Identity is not null, provider.GetRequiredService<SensorsParser>(),
            boot.Http));
        services.AddSingleton<SettingsFile>().AddSingleton<SettingsTrial>();
        if (boot.Identity is not null) services.AddSingleton<ReportedProperties>().AddSingleton<TwinSynchronizer>();
    }

    static void AddOperations(IServiceCollection services, RecentEvents events, RequestGuard guard)
    {
        services.AddSingleton<StatusSource>().AddSingleton<DirectMethods>().AddSingleton<Health>();
        services.AddSingleton<ModuleMetrics>().AddSingleton<MetricsText>();
        services.AddSingleton(events).AddSingleton<Trends>().AddSingleton<ReadingHistory>()
            .AddSingleton<Dashboard>();
        services.AddSingleton(guard).AddSingleton<Endpoints>();
    }

    // Started in this order and stopped in reverse: intake and sensing, forwarding, the hub connection, reports.
    static void AddHostedServices(IServiceCollection services, BootOptions boot)
    {
        services.AddHostedService<CertificateWatch>();
        if (boot.Otlp is { } otlp) services.AddSingleton(otlp).AddHostedService<OtlpExport>();
        if (boot.Identity is not null)
        {
            services.AddSingleton<StatusReporter>().AddSingleton<HubHandler>();
            services.AddHostedService(provider => provider.GetRequiredService<ReportedProperties>());
            services.AddHostedService(provider => provider.GetRequiredService<TwinSynchronizer>());
            services.AddHostedService(provider => provider.GetRequiredService<StatusReporter>());
            services.AddSingleton<IHostedService>(provider =>
            {
                var client = provider.GetRequiredService<IEdgeHubClient>();
                client.Handler = provider.GetRequiredService<HubHandler>();
                return client;
            });
        }

        services.AddHostedService(provider => provider.GetRequiredService<Forwarder>());
        services.AddHostedService(provider => provider.GetRequiredService<SensorScheduler>());
        services.AddHostedService(provider => provider.GetRequiredService<MqttIntake>());
        services.AddHostedService(provider => provider.GetRequiredService<SettingsFile>());
        services.AddHostedService(provider => provider.GetRequiredService<SettingsTrial>());
        services.AddHostedService(provider => provider.GetRequiredService<Health>());
        services.AddHostedService(provider => provider.GetRequiredService<Trends>());
        services.AddHostedService<WebServer>().AddHostedService<HealthSocket>().AddHostedService<MethodSocket>()
            .AddHostedService<EnqueueSocket>();
        if (boot.Intake.Http is not null) services.AddHostedService<HttpIntake>();
    }
}
