using System.Diagnostics;
using System.Globalization;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Modules;

/// <summary>How the module gets its identity.</summary>
internal enum IdentitySource
{
    /// <summary>IOTEDGE_* and the workload API, as set by edgeAgent (CreateOrUpdateCommand.cs).</summary>
    Workload,

    /// <summary>EdgeHubConnectionString and a CA certificate file, as set by iotedgehubdev.</summary>
    ConnectionString,
}

/// <summary>Builds the module's environment: its identity, and its own directory and ports, so that several simulators
/// can run on one machine.</summary>
internal static class ModuleEnvironment
{
    const string LogLevel = "RuntimeLogLevel";

    public static IReadOnlyList<KeyValuePair<string, string>> For(
        ModuleIdentity identity, IdentitySource source, string workloadSocket, string authorityFile, string dataDirectory, int webPort,
        string metricsUrl) =>
    [
        .. source switch
        {
            IdentitySource.Workload => Workload(identity, workloadSocket),
            IdentitySource.ConnectionString => ConnectionString(identity, authorityFile),
            _ => throw new UnreachableException($"identity source {source}"),
        },
        new(LogLevel, "info"),
        new("Buffer__Directory", dataDirectory),
        new("EdgeHub__MetricsUrl", metricsUrl),
        new("Web__Port", webPort.ToString(CultureInfo.InvariantCulture)),
    ];

    /// <summary>Adds the manifest's variables. The simulator's variables take precedence, except for the log level, as in
    /// edgeAgent.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> With(
        IReadOnlyList<KeyValuePair<string, string>> own, IReadOnlyList<KeyValuePair<string, string>> manifest)
    {
        var kept = own.Where(variable => variable.Key != LogLevel || manifest.All(given => given.Key != LogLevel)).ToList();
        return [.. kept, .. manifest.Where(given => kept.TrueForAll(variable => variable.Key != given.Key))];
    }


    static IEnumerable<KeyValuePair<string, string>> Workload(ModuleIdentity identity, string workloadSocket) =>
    [
        new("IOTEDGE_WORKLOADURI", $"unix://{workloadSocket}"),
        new("IOTEDGE_AUTHSCHEME", "sasToken"),
        new("IOTEDGE_MODULEGENERATIONID", identity.GenerationId),
        new("IOTEDGE_IOTHUBHOSTNAME", identity.HubHost),
        new("IOTEDGE_GATEWAYHOSTNAME", identity.GatewayHost),
        new("IOTEDGE_DEVICEID", identity.DeviceId),
        new("IOTEDGE_MODULEID", identity.ModuleId),
        new("IOTEDGE_APIVERSION", "2018-06-28"),
    ];

    /// <summary>The identity from a connection string.</summary>
    public static IEnumerable<KeyValuePair<string, string>> ConnectionString(ModuleIdentity identity, string authorityFile) =>
    [
        new("EdgeHubConnectionString",
            $"HostName={identity.HubHost};GatewayHostName={identity.GatewayHost};DeviceId={identity.DeviceId};" +
            $"ModuleId={identity.ModuleId};SharedAccessKey={Convert.ToBase64String(identity.Key)}"),
        new("EdgeModuleCACertificateFile", authorityFile),
    ];
}
