using Microsoft.Extensions.Configuration;

namespace SensorForwarder.EdgeHub;

/// <summary>A boot value is missing or malformed. The message is one line: the variable, its value, the remedy.</summary>
internal sealed class BootValueException(string message) : Exception(message);

/// <summary>
/// Finds the identity in the environment, in the order of Microsoft's device SDK: <c>EdgeHubConnectionString</c>,
/// <c>IotHubConnectionString</c>, then the <c>IOTEDGE_*</c> variables that edgeAgent sets.
/// </summary>
internal static class EdgeIdentityReader
{
    /// <summary>The identity, or null when the environment names none (the module then runs without a hub).</summary>
    /// <exception cref="BootValueException">An identity is named, but not completely or not correctly.</exception>
    public static EdgeIdentity? Read(IConfiguration configuration)
    {
        foreach (var name in (string[])["EdgeHubConnectionString", "IotHubConnectionString"])
        {
            var text = configuration[name];
            if (!string.IsNullOrWhiteSpace(text))
                return ParseConnectionString(name, text, NullIfBlank(configuration["EdgeModuleCACertificateFile"]));
        }

        return string.IsNullOrWhiteSpace(configuration["IOTEDGE_WORKLOADURI"])
            ? null
            : ReadFromEdgeAgent(configuration);
    }

    private static EdgeIdentity ParseConnectionString(string variable, string text, string? caFile)
    {
        var parts = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var part in text.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            // The value may contain '=' (Base64 padding), so only the first one separates.
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                throw new BootValueException(
                    $"{variable}: not a list of Name=Value pairs separated by ';'. Copy it whole from IoT Hub.");
            }

            parts[part[..equals]] = part[(equals + 1)..];
        }

        string Need(string name) => parts.TryGetValue(name, out var value) && value.Length > 0
            ? value
            : throw new BootValueException($"{variable}: {name} is missing. Copy the connection string whole.");

        var key = new byte[512];
        if (!Convert.TryFromBase64String(Need("SharedAccessKey"), key, out var keyLength))
            throw new BootValueException($"{variable}: SharedAccessKey is not Base64. Copy the connection string whole.");

        return new EdgeIdentity
        {
            HubHostName = HostName(variable, "HostName", Need("HostName")),
            GatewayHostName = parts.TryGetValue("GatewayHostName", out var gateway)
                ? HostName(variable, "GatewayHostName", gateway)
                : null,
            DeviceId = Need("DeviceId"),
            ModuleId = parts.GetValueOrDefault("ModuleId"),
            SharedAccessKey = key.AsMemory(0, keyLength),
            TrustedCaFile = caFile,
            Source = variable,
        };
    }

    private static EdgeIdentity ReadFromEdgeAgent(IConfiguration configuration)
    {
        string Need(string name) => NullIfBlank(configuration[name]) ?? throw new BootValueException(
            $"{name}: missing, while IOTEDGE_WORKLOADURI is set. edgeAgent sets it; outside IoT Edge unset IOTEDGE_WORKLOADURI.");

        var scheme = Need("IOTEDGE_AUTHSCHEME");
        if (!scheme.Equals("SasToken", StringComparison.OrdinalIgnoreCase))
            throw new BootValueException($"IOTEDGE_AUTHSCHEME: '{scheme}' is not supported; it must be 'sasToken'.");

        var workload = Need("IOTEDGE_WORKLOADURI");
        if (!Uri.TryCreate(workload, UriKind.Absolute, out var uri) || uri.Scheme != "unix" || uri.AbsolutePath.Length < 2)
        {
            throw new BootValueException(
                $"IOTEDGE_WORKLOADURI: '{workload}' is not a Unix socket such as unix:///var/run/iotedge/workload.sock.");
        }

        var moduleId = Need("IOTEDGE_MODULEID");
        var gateway = NullIfBlank(configuration["IOTEDGE_GATEWAYHOSTNAME"]);
        return new EdgeIdentity
        {
            HubHostName = HostName("IOTEDGE_IOTHUBHOSTNAME", null, Need("IOTEDGE_IOTHUBHOSTNAME")),
            GatewayHostName = gateway is null ? null : HostName("IOTEDGE_GATEWAYHOSTNAME", null, gateway),
            DeviceId = Need("IOTEDGE_DEVICEID"),
            ModuleId = moduleId,
            Workload = new(Uri.UnescapeDataString(uri.AbsolutePath), moduleId, Need("IOTEDGE_MODULEGENERATIONID")),
            Source = "IOTEDGE_WORKLOADURI",
        };
    }

    private static string HostName(string variable, string? part, string value) =>
        Uri.CheckHostName(value) is not UriHostNameType.Unknown
            ? value
            : throw new BootValueException(
                $"{variable}: {(part is null ? "" : part + " ")}'{value}' is not a host name. Give the name alone, without scheme and port.");

    private static string? NullIfBlank(string? value) => string.IsNullOrWhiteSpace(value) ? null : value;
}
