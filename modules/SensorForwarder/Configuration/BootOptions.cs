using System.Net;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Net;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Configuration;

/// <summary>
/// The boot values: secrets, and everything that only a restart changes. Read once, at start, from the environment
/// (<c>Section__Name</c>) or appsettings.json. Immutable, except for the content of the files in <see cref="Tls"/>.
/// </summary>
internal sealed record BootOptions
{
    /// <summary>The Plug and Play model that the module announces; its file is in <c>model/</c>.</summary>
    public const string ModelId = "dtmi:sensorforwarder:SensorForwarder;1";

    // One property a variable; BootTable describes them.
    public required string BufferDirectory { get; init; }
    public string? BufferKeyFile { get; init; }
    public string? SettingsFile { get; init; }
    public Uri? HttpEndpoint { get; init; }
    public required HttpSinkOptions Http { get; init; }
    public int WebPort { get; init; }
    public IReadOnlyList<string> WebAllowedHosts { get; init; } = [];
    public bool WebDashboard { get; init; } = true;
    public required IntakeOptions Intake { get; init; }
    public MqttOptions Mqtt { get; init; } = new();
    public required SensorRoots Sensors { get; init; }
    public required HubOptions Hub { get; init; }
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>Whether the module creates the buffer's key and has IoT Edge's workload API wrap it.</summary>
    public bool WrapsBufferKey { get; init; }

    /// <summary>The OTLP push of metrics; null: off.</summary>
    public OtlpOptions? Otlp { get; init; }

    /// <summary>The identity at IoT Hub; null: the module runs without a hub.</summary>
    public EdgeIdentity? Identity { get; init; }

    /// <summary>URL of edgeHub's metrics page; null: unknown, or turned off.</summary>
    public required Uri? EdgeHubMetricsUrl { get; init; }

    /// <summary>The device id in the body of batches.</summary>
    public required string DeviceId { get; init; }

    /// <summary>The module id in the body of batches.</summary>
    public required string ModuleId { get; init; }

    /// <summary>The certificate and key files of each receiver.</summary>
    public IEnumerable<TlsFiles> Tls => new[] { Http.Tls, Otlp?.Tls, Identity?.Tls }
        .Concat(Mqtt.ByName.Values.Select(secrets => secrets.Tls)).OfType<TlsFiles>();

    /// <exception cref="BootValueException">A value is malformed; the message names the variable.</exception>
    public static BootOptions Read(IConfiguration configuration)
    {
        var values = new BootValues(configuration);
        var identity = EdgeIdentityReader.Read(configuration);
        var directory = values.Get(BootTable.BufferDirectory);
        var endpoint = values.Get(BootTable.HttpEndpoint);
        return new BootOptions
        {
            BufferDirectory = directory,
            BufferKeyFile = values.Get(BootTable.BufferKeyFile),
            WrapsBufferKey = ReadWrapsBufferKey(values, identity),
            SettingsFile = values.Get(BootTable.SettingsFile),
            HttpEndpoint = endpoint,
            Http = HttpBootReader.Read(values, endpoint),
            WebPort = values.Get(BootTable.WebPort),
            WebAllowedHosts = values.Get(BootTable.WebAllowedHosts),
            WebDashboard = values.Get(BootTable.WebDashboard),
            Intake = ReadIntake(values),
            Mqtt = MqttBootReader.Read(values),
            Otlp = OtlpBootReader.Read(values),
            Sensors = ReadSensors(values, directory),
            Identity = identity,
            Hub = new() { ModelId = ModelId, Transport = values.Get(BootTable.Transport) },
            EdgeHubMetricsUrl = ReadMetricsUrl(values, identity),
            DeviceId = identity?.DeviceId ?? values.Get(BootTable.DeviceId),
            ModuleId = identity?.ModuleId ?? values.Get(BootTable.ModuleId),
            LogLevel = values.Get(BootTable.RuntimeLogLevel),
        };
    }

    static IntakeOptions ReadIntake(BootValues values)
    {
        var options = new IntakeOptions
        {
            Http = values.Get(BootTable.IntakeHttp),
            TokenFile = values.Get(BootTable.IntakeTokenFile),
            ReadingsPerSecond = values.Get(BootTable.IntakeReadingsPerSecond),
            MaxSilence = TimeSpan.FromSeconds(values.Get(BootTable.IntakeMaxSilenceSeconds)),
        };
        return options is { Http: IPEndPoint address, TokenFile: null } && !IPAddress.IsLoopback(address.Address)
            ? throw new BootValueException($"Intake__Http: {address} is open to other machines, or other containers, "
                + "and there is no Intake__TokenFile; set it, or use a loopback address or a socket.")
            : options;
    }

    static SensorRoots ReadSensors(BootValues values, string dataDirectory)
    {
        var roots = new SensorRoots(values.Get(BootTable.ProcRoot), values.Get(BootTable.SysfsRoot), dataDirectory)
        {
            Dev = values.Get(BootTable.DevRoot),
        };
        return roots with { Files = values.Get(BootTable.FileRoots, roots.Files) };
    }

    static bool ReadWrapsBufferKey(BootValues values, EdgeIdentity? identity)
    {
        if (values.Get(BootTable.BufferEncryption) == "none") return false;
        var problem = identity?.Workload is null
            ? "needs IoT Edge's workload API (IOTEDGE_WORKLOADURI); elsewhere use Buffer__KeyFile."
            : values.Get(BootTable.BufferKeyFile) is not null
                ? "creates its own key, but Buffer__KeyFile names another; unset one of the two."
                : null;
        return problem is null ? true : throw new BootValueException($"Buffer__Encryption: 'workload' {problem}");
    }

    /// <summary>The default is the page of the gateway; an empty variable turns it off. The URL has the gateway's host
    /// name, not "edgeHub": the container of iotedgehubdev has another name.</summary>
    static Uri? ReadMetricsUrl(BootValues values, EdgeIdentity? identity) =>
        !values.Has(BootTable.MetricsUrl.Name)
        && Uri.TryCreate($"http://{identity?.GatewayHostName}:9600/metrics", UriKind.Absolute, out var page)
            ? page
            : values.Get(BootTable.MetricsUrl);
}
