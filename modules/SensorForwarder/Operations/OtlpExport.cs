using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using SensorForwarder.Configuration;
using SensorForwarder.Net;

namespace SensorForwarder.Operations;

/// <summary>
/// Pushes the instruments of <see cref="ModuleMetrics"/> to an OpenTelemetry collector, where one is configured. The
/// SDK does it on a thread of its own: a collector that is slow, or not there, costs nobody else anything, and what was
/// not pushed is in the next push.
/// </summary>
internal sealed class OtlpExport(
    OtlpOptions options, ModuleMetrics metrics, Dialer dialer, TimeProvider timeProvider, ILogger<OtlpExport> logger)
    : IHostedService, IDisposable
{
    /// <summary>How long the last push may take.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(1);

    // What the SDK keeps room for, for each instrument. Sensors that were taken away count on.
    const int MaxSeriesOfSensors = 4 * ModuleMetrics.MaxSensors;
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
                CardinalityLimit = instrument.Name.StartsWith(ModuleMetrics.SensorPrefix, StringComparison.Ordinal)
                    ? MaxSeriesOfSensors
                    : MaxSeries,
            })
            .AddReader(reader)
            .Build();
        Log.OtlpStarts(logger, WatchedOtlpExporter.Show(options.Endpoint), options.Interval.TotalSeconds);
        return Task.CompletedTask;
    }

    /// <summary>Pushes a last time, but waits for no collector that does not answer.</summary>
    public Task StopAsync(CancellationToken cancellationToken) =>
        Task.Run(() => _provider?.Shutdown((int)StopPatience.TotalMilliseconds), CancellationToken.None);

    public void Dispose() => _provider?.Dispose();

    Dictionary<string, object> Describe()
    {
        var labels = metrics.Labels.ToDictionary(label => label.Key, label => label.Value ?? "");
        labels.Remove("instance_number", out var instance);
        labels["service.name"] = "SensorForwarder";
        labels["service.version"] = StatusWriter.Version;
        labels["service.instance.id"] = instance!;
        foreach (var (name, value) in options.ResourceAttributes) labels[name] = value;
        return labels;
    }
}
