using System.Globalization;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Modules;

/// <summary>The environment that edgeAgent gives a module (CreateOrUpdateCommand.cs), and what lets several run on one machine.</summary>
internal static class ModuleEnvironment
{
    public static IReadOnlyList<KeyValuePair<string, string>> For(
        ModuleIdentity identity, string workloadSocket, string dataDirectory, int webPort) =>
    [
        new("IOTEDGE_WORKLOADURI", $"unix://{workloadSocket}"),
        new("IOTEDGE_AUTHSCHEME", "sasToken"),
        new("IOTEDGE_MODULEGENERATIONID", identity.GenerationId),
        new("IOTEDGE_IOTHUBHOSTNAME", identity.HubHost),
        new("IOTEDGE_GATEWAYHOSTNAME", identity.GatewayHost),
        new("IOTEDGE_DEVICEID", identity.DeviceId),
        new("IOTEDGE_MODULEID", identity.ModuleId),
        new("IOTEDGE_APIVERSION", "2018-06-28"),
        new("RuntimeLogLevel", "info"),
        new("Buffer__Directory", dataDirectory),
        new("Web__Port", webPort.ToString(CultureInfo.InvariantCulture)),
    ];
}
