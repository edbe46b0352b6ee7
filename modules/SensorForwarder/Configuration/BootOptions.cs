using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Net;
using SensorForwarder.Sensors;

namespace SensorForwarder.Configuration;

/// <summary>
/// What can't change while the module runs, and secrets: read once from the environment (<c>Section__Name</c>) or
/// appsettings.json. Immutable, but for the content of the files in <see cref="Tls"/>.
/// </summary>
internal sealed record BootOptions
{
    /// <summary>The Plug and Play model that the module announces; <c>model/</c> has it.</summary>
    public const string ModelId = "dtmi:sensorforwarder:SensorForwarder;1";

    /// <summary>Where <c>telemetry.db</c> and what belongs to it lives.</summary>
    public required string BufferDirectory { get; init; }

    /// <summary>Key file for encryption at rest; null: none.</summary>
    public string? BufferKeyFile { get; init; }

    /// <summary>Whether the key for encryption at rest is made here and wrapped by IoT Edge's workload API.</summary>
    public bool WrapsBufferKey { get; init; }

    /// <summary>Settings document to watch; null: none.</summary>
    public string? SettingsFile { get; init; }

    public Uri? HttpEndpoint { get; init; }

    public required HttpSinkOptions Http { get; init; }

    /// <summary>Port of metrics and health; 0: off.</summary>
    public int WebPort { get; init; }

    /// <summary>Names under which the pages are asked for, beside those of the local network.</summary>
    public IReadOnlyList<string> WebAllowedHosts { get; init; } = [];

    /// <summary>Whether the page for people is served.</summary>
    public bool WebDashboard { get; init; } = true;

    /// <summary>Where metrics are pushed by OTLP; null: nowhere.</summary>
    public OtlpOptions? Otlp { get; init; }

    public required SensorRoots Sensors { get; init; }

    /// <summary>The identity at the hub; null: none, and no hub.</summary>
    public EdgeIdentity? Identity { get; init; }

    /// <summary>How the hub is reached.</summary>
    public required HubOptions Hub { get; init; }

    /// <summary>edgeHub's metrics page.</summary>
    public required UpstreamWatchOptions Upstream { get; init; }

    /// <summary>The device in the body of batches.</summary>
    public required string DeviceId { get; init; }

    /// <summary>The module in the body of batches.</summary>
    public required string ModuleId { get; init; }

    /// <summary>The files of certificates and keys, for each receiver.</summary>
    public IEnumerable<TlsFiles> Tls => new[] { Http.Tls, Otlp?.Tls, Identity?.Tls }.OfType<TlsFiles>();

    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <exception cref="BootValueException">A value is malformed; the message names the variable.</exception>
    public static BootOptions Read(IConfiguration configuration)
    {
        var identity = EdgeIdentityReader.Read(configuration);
        var directory = PathOf(configuration, "Buffer:Directory") ?? "data";
        var endpoint = ReadEndpoint(configuration);
        return new BootOptions
        {
            BufferDirectory = directory,
            BufferKeyFile = PathOf(configuration, "Buffer:KeyFile"),
            WrapsBufferKey = ReadWrapsBufferKey(configuration, identity),
            SettingsFile = PathOf(configuration, "Settings:File"),
            HttpEndpoint = endpoint,
            Http = HttpBootReader.Read(configuration, endpoint),
            WebPort = ReadPort(configuration),
            WebAllowedHosts = Text(configuration, "Web:AllowedHosts")
                ?.Split([',', ' ', '\t', '\r', '\n'], StringSplitOptions.RemoveEmptyEntries) ?? [],
            WebDashboard = ReadDashboard(configuration),
            Otlp = OtlpBootReader.Read(configuration),
            Sensors = ReadSensors(configuration, directory),
            Identity = identity,
            Hub = new() { ModelId = ModelId, Transport = ReadTransport(configuration) },
            Upstream = new(ReadMetricsUrl(configuration, identity)),
            DeviceId = identity?.DeviceId ?? Text(configuration, "Device:Id") ?? Environment.MachineName,
            ModuleId = identity?.ModuleId ?? Text(configuration, "Module:Id") ?? "SensorForwarder",
            LogLevel = ReadLogLevel(configuration),
        };
    }

    static SensorRoots ReadSensors(IConfiguration configuration, string dataDirectory)
    {
        var roots = new SensorRoots(
            Text(configuration, "Sensors:ProcRoot") ?? "/proc",
            Text(configuration, "Sensors:SysfsRoot") ?? "/sys",
            dataDirectory)
        {
            Dev = Text(configuration, "Sensors:DevRoot") ?? "/dev",
        };
        if (Text(configuration, "Sensors:FileRoots") is not { } text) return roots;
        var files = text.Split([':', ','], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        foreach (var path in files)
        {
            if (!path.StartsWith('/') || path.Split('/').Contains(".."))
            {
                throw new BootValueException(
                    $"Sensors__FileRoots: '{LogText.Clean(path)}' is not an absolute path without '..'.");
            }
        }

        return roots with
        {
            Files = [.. files.Select(path => Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)))],
        };
    }

    static Uri? ReadEndpoint(IConfiguration configuration)
    {
        if (Text(configuration, "Http:Endpoint") is not { } text) return null;
        return SettingDefinition.TryReadEndpoint(text, out var endpoint)
            ? endpoint
            : throw new BootValueException(
                $"Http__Endpoint: {UrlText.Rejected(text)} is not an absolute http or https URL "
                + "without user and password (Http__Authorization is for those).");
    }

    static bool ReadWrapsBufferKey(IConfiguration configuration, EdgeIdentity? identity)
    {
        if (Text(configuration, "Buffer:Encryption") is not { } text) return false;
        if (text != "workload")
        {
            throw new BootValueException("Buffer__Encryption: the value is not 'workload', the only one; "
                + "Buffer__KeyFile encrypts with a key of yours.");
        }

        if (identity?.Workload is null)
            throw new BootValueException(
                "Buffer__Encryption: 'workload' needs IoT Edge's workload API (IOTEDGE_WORKLOADURI); elsewhere use "
                + "Buffer__KeyFile.");
        return Text(configuration, "Buffer:KeyFile") is null
            ? true
            : throw new BootValueException(
                "Buffer__Encryption: 'workload' makes its own key, and Buffer__KeyFile names one; unset one of the "
                + "two.");
    }

    /// <summary>Inside IoT Edge edgeHub's page has a known name; an empty value turns it off.</summary>
    static Uri? ReadMetricsUrl(IConfiguration configuration, EdgeIdentity? identity)
    {
        if (configuration["EdgeHub:MetricsUrl"] is not { } text) return identity?.GatewayHostName is null
            ? null
            : new("http://edgeHub:9600/metrics");
        if (string.IsNullOrWhiteSpace(text)) return null;
        return SettingDefinition.TryReadEndpoint(text.Trim(), out var url)
            ? url
            : throw new BootValueException(
                $"EdgeHub__MetricsUrl: {UrlText.Rejected(text.Trim())} is not an absolute http or https "
                + "URL without user and password; empty turns it off.");
    }

    static HubTransport ReadTransport(IConfiguration configuration) =>
        Text(configuration, "EdgeHub:Transport") switch
        {
            null or "auto" => HubTransport.Auto,
            "mqtt" => HubTransport.Mqtt,
            "mqttws" => HubTransport.MqttWs,
            var text => throw new BootValueException(
                $"EdgeHub__Transport: {LogText.Quote(text)} is not one of auto, mqtt (port 8883), mqttws (WebSocket on "
                + "port 443)."),
        };

    static int ReadPort(IConfiguration configuration)
    {
        if (Text(configuration, "Web:Port") is not { } text) return 9600;
        return int.TryParse(text, out var port) && port is >= 0 and <= 65535
            ? port
            : throw new BootValueException(
                $"Web__Port: {LogText.Quote(text)} is not a port from 1 to 65535, or 0 to turn it off.");
    }

    static bool ReadDashboard(IConfiguration configuration) => Text(configuration, "Web:Dashboard") switch
    {
        null => true,
        var text when bool.TryParse(text, out var isOn) => isOn,
        var text => throw new BootValueException($"Web__Dashboard: {LogText.Quote(text)} is neither true nor false."),
    };

    /// <summary>The names that IoT Edge uses for <c>RuntimeLogLevel</c>, and .NET's own.</summary>
    static LogLevel ReadLogLevel(IConfiguration configuration)
    {
        var text = Text(configuration, "RuntimeLogLevel") ?? "info";
        return text.ToLowerInvariant() switch
        {
            "fatal" => LogLevel.Critical,
            "warn" => LogLevel.Warning,
            "info" => LogLevel.Information,
            "verbose" => LogLevel.Trace,
            _ when Enum.TryParse<LogLevel>(text, ignoreCase: true, out var level) && Enum.IsDefined(level) => level,
            _ => throw new BootValueException(
                $"RuntimeLogLevel: {LogText.Quote(text)} is not one of fatal, error, warning, info, debug, verbose."),
        };
    }

    /// <summary>A path, which log lines show. A URL, or what a file holds, in its place may be a secret.</summary>
    static string? PathOf(IConfiguration configuration, string key)
    {
        var path = Text(configuration, key);
        if (path is null || (!path.Contains("://", StringComparison.Ordinal) && !path.Any(char.IsControl))) return path;
        var variable = key.Replace(":", "__", StringComparison.Ordinal);
        throw new BootValueException($"{variable}: the value is a URL or has several lines; it must be a path.");
    }

    static string? Text(IConfiguration configuration, string key) =>
        configuration[key] is { } value && !string.IsNullOrWhiteSpace(value) ? value.Trim() : null;
}
