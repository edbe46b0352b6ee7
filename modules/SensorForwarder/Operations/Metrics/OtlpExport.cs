using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using SensorForwarder.Configuration;
using SensorForwarder.Net;
using SensorForwarder.Operations.Status;

namespace SensorForwarder.Operations.Metrics;

/// <summary>
/// Pushes the instruments of <see cref="ModuleMetrics"/> to an OpenTelemetry collector, if one is configured. The SDK
/// pushes on its own thread: a slow or missing collector delays nothing else, and the next push contains what a failed
/// one did not deliver.
/// </summary>
internal sealed class OtlpExport(
    OtlpOptions options, ModuleMetrics metrics, Dialer dialer, TimeProvider timeProvider, ILogger<OtlpExport> logger)
    : IHostedService, IDisposable
{
    /// <summary>Timeout of the last push, during a stop.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(1);

    // The SDK's limits of series for each instrument. Removed sensors keep their series.
    const int MaxSeriesOfSensors = 4 * ModuleMetrics.MaxSensors;
    const int MaxSeriesOfValues = 4 * MaxSeriesOfSensors;
    const int MaxSeries = 20;

    MeterProvider? _provider;

    public Task StartAsync(CancellationToken cancellationToken)
    {
        var exporter = new WatchedOtlpExporter(options, dialer, timeProvider, logger);
        var reader = new PeriodicExportingMetricReader(exporter, (int)options.Interval.TotalMilliseconds)
        {
            TemporalityPreference = options.Temporality,
        };
        _provider = Sdk.CreateMeterProviderBuilder()
            .SetResourceBuilder(ResourceBuilder.CreateEmpty().AddTelemetrySdk().AddAttributes(Describe()))
            .AddMeter(ModuleMetrics.MeterName)
            .AddView(instrument => new MetricStreamConfiguration
            {
                CardinalityLimit = instrument.Name == ModuleMetrics.ValueName ? MaxSeriesOfValues
                    : instrument.Name.StartsWith(ModuleMetrics.SensorPrefix, StringComparison.Ordinal)
                        ? MaxSeriesOfSensors
                        : MaxSeries,
            })
            .AddReader(reader)
            .Build();
        OperationsLog.OtlpStarts(logger, WatchedOtlpExporter.Show(options.Endpoint), options.Interval.TotalSeconds);
        return Task.CompletedTask;
    }

    /// <summary>Pushes a last time, within <see cref="StopPatience"/>.</summary>
    public Task StopAsync(CancellationToken cancellationToken) =>
        Task.Run(() => _provider?.Shutdown((int)StopPatience.TotalMilliseconds), CancellationToken.None);

    public void Dispose() => _provider?.Dispose();

    Dictionary<string, object> Describe()
    {
        var labels = metrics.Labels.ToDictionary(label => label.Key, label => label.Value ?? "");
        labels.Remove("instance_number", out var instance);
        labels["service.name"] = "SensorForwarder";
        labels["service.version"] = ModuleStatus.Version;
        labels["service.instance.id"] = instance!;
        foreach (var (name, value) in options.ResourceAttributes) labels[name] = value;
        return labels;
    }
}
