using System.Diagnostics;
using System.Globalization;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Modules;

/// <summary>How a module learns who it is.</summary>
internal enum IdentitySource
{
    /// <summary>IOTEDGE_* and the workload API, as edgeAgent does (CreateOrUpdateCommand.cs).</summary>
    Workload,

    /// <summary>EdgeHubConnectionString and the file of the CA, as iotedgehubdev does.</summary>
    ConnectionString,
}

/// <summary>The environment that a module gets: its identity, and what lets several run on one machine.</summary>
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

    /// <summary>With what the manifest says. What the simulator sets itself stays, but for the log level, as with edgeAgent.</summary>
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

    static IEnumerable<KeyValuePair<string, string>> ConnectionString(ModuleIdentity identity, string authorityFile) =>
    [
        new("EdgeHubConnectionString",
            $"HostName={identity.HubHost};GatewayHostName={identity.GatewayHost};DeviceId={identity.DeviceId};" +
            $"ModuleId={identity.ModuleId};SharedAccessKey={Convert.ToBase64String(identity.Key)}"),
        new("EdgeModuleCACertificateFile", authorityFile),
    ];
}
