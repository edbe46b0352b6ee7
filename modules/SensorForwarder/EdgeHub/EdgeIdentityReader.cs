using Microsoft.Extensions.Configuration;
using SensorForwarder.Net;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Reads the identity from the environment, in the order of Microsoft's device SDK: <c>EdgeHubConnectionString</c>,
/// <c>IotHubConnectionString</c>, then the <c>IOTEDGE_*</c> variables that edgeAgent sets. Used once, at the start.
/// </summary>
internal static class EdgeIdentityReader
{
    public const string CertificateVariable = "EdgeHub__ClientCertificateFile";
    public const string KeyVariable = "EdgeHub__ClientKeyFile";
    public const string CaVariable = "EdgeModuleCACertificateFile";
    const int MaxIdLength = 128;

    /// <summary>An X.509 identity, for a connection string with <c>x509=true</c>.</summary>
    public static readonly Option<string?> CertificateFile = Option.Path(
        CertificateVariable, "Certificate (PEM) of an X.509 identity for a direct connection to IoT Hub, with "
            + "`x509=true` in the connection string.");

    public static readonly Option<string?> KeyFile = Option.Path(
        KeyVariable, "Its key (PEM), if that is not in the same file.");

    static readonly Option<string?> CaFile = Option.Path(CaVariable, "Roots of edgeHub, as edgeAgent names them.");

    // If only some of these are set, the deployment is invalid, and the start fails.
    static readonly string[] EdgeAgentVariables =
    [
        "IOTEDGE_WORKLOADURI", "IOTEDGE_DEVICEID", "IOTEDGE_MODULEID", "IOTEDGE_IOTHUBHOSTNAME", "IOTEDGE_AUTHSCHEME",
        "IOTEDGE_MODULEGENERATIONID",
    ];

    /// <summary>Reads the identity; null: the environment has none, and the module runs without a hub.</summary>
    /// <exception cref="BootValueException">The identity is incomplete or malformed.</exception>
    public static EdgeIdentity? Read(IConfiguration configuration)
    {
        var values = new BootValues(configuration);
        foreach (var name in (string[])["EdgeHubConnectionString", "IotHubConnectionString"])
        {
            if (values.Find(name) is { } text) return ReadConnectionString(name, text, values);
        }

        return EdgeAgentVariables.Any(name => values.Find(name) is not null)
            ? ReadFromEdgeAgent(values)
            : null;
    }

    static EdgeIdentity ReadConnectionString(string variable, string text, BootValues values)
    {
        var parts = Split(variable, text);
        string? Part(string name) => !parts.TryGetValue(name, out var value) ? null : value.Length > 0
            ? value
            : throw new BootValueException($"{variable}: {name} is empty. Copy the whole connection string.");

        string Need(string name) =>
            Part(name)
                ?? throw new BootValueException($"{variable}: {name} is missing. Copy the whole connection string.");

        var certificate = ReadCertificate(variable, parts, values);
        return new EdgeIdentity
        {
            HubHostName = HostName(variable, "HostName ", Need("HostName")),
            GatewayHostName = Part("GatewayHostName") is { } gateway
                ? HostName(variable, "GatewayHostName ", gateway)
                : null,
            DeviceId = Id(variable, "DeviceId ", Need("DeviceId")),
            ModuleId = Part("ModuleId") is { } module ? Id(variable, "ModuleId ", module) : null,
            SharedAccessKey = certificate is null
                ? Key(variable, Need("SharedAccessKey"))
                : default(ReadOnlyMemory<byte>?),
            Tls = new()
            {
                Roots = Named(values, CaFile),
                Certificate = certificate,
                Key = Named(values, KeyFile),
            },
            Source = variable,
        };
    }

    static Dictionary<string, string> Split(string variable, string text)
    {
        var parts = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var part in text.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            // The value may contain '=' (Base64 padding), so only the first one separates.
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                throw new BootValueException(
                    $"{variable}: not a list of Name=Value pairs separated by ';'. Copy all of it from IoT Hub.");
            }

            if (!parts.TryAdd(part[..equals].TrimEnd(), part[(equals + 1)..].TrimStart()))
            {
                var name = IsKnown(part[..equals]) ? part[..equals].TrimEnd() : "a name";
                throw new BootValueException($"{variable}: {name} occurs twice. Copy it from IoT Hub again.");
            }
        }

        if (parts.ContainsKey("SharedAccessKeyName"))
        {
            throw new BootValueException(
                $"{variable}: SharedAccessKeyName belongs to a service connection string. Use the connection string of "
                + "the device or module.");
        }

        return parts;
    }

    // In a truncated string, the text before a '=' may be a part of the key: only known names are shown.
    static bool IsKnown(string name) => name.TrimEnd().ToUpperInvariant()
        is "HOSTNAME" or "GATEWAYHOSTNAME" or "DEVICEID" or "MODULEID" or "SHAREDACCESSKEY" or "X509";

    /// <summary>The file of the X.509 certificate; null: the connection string has a key instead.</summary>
    static NamedFile? ReadCertificate(string variable, Dictionary<string, string> parts, BootValues values)
    {
        var file = Named(values, CertificateFile);
        var wanted = parts.TryGetValue("x509", out var text);
        if (wanted && !bool.TryParse(text, out wanted))
            throw new BootValueException($"{variable}: x509 is neither true nor false.");
        if (wanted && file is null)
            throw new BootValueException(
                $"{CertificateVariable}: missing, while {variable} says x509=true. Name the PEM file of the "
                + "certificate.");
        if (wanted && parts.ContainsKey("SharedAccessKey"))
            throw new BootValueException($"{variable}: has both SharedAccessKey and x509=true. Leave one of them out.");
        if (!wanted && file is not null)
            throw new BootValueException(
                $"{CertificateVariable}: set, but {variable} does not say x509=true. Add that, or unset the variable.");
        if (file is null && Named(values, KeyFile) is { } key)
            throw new BootValueException($"{key} is set without a certificate; set {CertificateVariable} too.");
        return file;
    }

    static ReadOnlyMemory<byte> Key(string variable, string text)
    {
        var key = new byte[512];
        return Convert.TryFromBase64String(text, key, out var length) && length > 0
            ? key.AsMemory(0, length)
            : throw new BootValueException(
                $"{variable}: SharedAccessKey is not Base64. Copy the whole connection string.");
    }

    static EdgeIdentity ReadFromEdgeAgent(BootValues values)
    {
        string Need(string name) => values.Find(name) ?? throw new BootValueException(
            $"{name}: missing, while other IOTEDGE_ variables are set. edgeAgent sets them all; outside IoT Edge unset "
            + "the others.");

        var workload = Need("IOTEDGE_WORKLOADURI");
        if (!Uri.TryCreate(workload, UriKind.Absolute, out var uri) || uri.Scheme != "unix"
            || uri.AbsolutePath.Length < 2)
        {
            throw new BootValueException(
                $"IOTEDGE_WORKLOADURI: {UrlText.Rejected(workload)} is not a Unix socket such as "
                + "unix:///var/run/iotedge/workload.sock.");
        }

        var scheme = Need("IOTEDGE_AUTHSCHEME");
        if (!scheme.Equals("SasToken", StringComparison.OrdinalIgnoreCase))
            throw new BootValueException(
                $"IOTEDGE_AUTHSCHEME: {LogText.Quote(scheme)} is not supported; it must be 'sasToken'.");

        var moduleId = Id("IOTEDGE_MODULEID", "", Need("IOTEDGE_MODULEID"));
        var gateway = values.Find("IOTEDGE_GATEWAYHOSTNAME");
        return new EdgeIdentity
        {
            HubHostName = HostName("IOTEDGE_IOTHUBHOSTNAME", "", Need("IOTEDGE_IOTHUBHOSTNAME")),
            GatewayHostName = gateway is null ? null : HostName("IOTEDGE_GATEWAYHOSTNAME", "", gateway),
            DeviceId = Id("IOTEDGE_DEVICEID", "", Need("IOTEDGE_DEVICEID")),
            ModuleId = moduleId,
            Workload = new(Uri.UnescapeDataString(uri.AbsolutePath), moduleId, Need("IOTEDGE_MODULEGENERATIONID")),
            Source = "IOTEDGE_WORKLOADURI",
        };
    }

    static string HostName(string variable, string part, string value) =>
        Uri.CheckHostName(value) is not UriHostNameType.Unknown
            ? value
            : throw new BootValueException(
                $"{variable}: {part}{LogText.Quote(value)} is not a host name. Use the name alone, without scheme and "
                + "port.");

    /// <summary>Ids are not escaped in topics, so '/', '+' and '#' are not allowed.</summary>
    static string Id(string variable, string part, string value) =>
        value.Length <= MaxIdLength && value.All(c => c is > ' ' and < (char)127 and not ('/' or '+' or '#'))
            ? value
            : throw new BootValueException(
                $"{variable}: {part}{LogText.Quote(value)} is not an id: at most {MaxIdLength} "
                + "printable ASCII characters without blanks, '/', '+' and '#'.");

    static NamedFile? Named(BootValues values, Option<string?> option) =>
        values.Get(option) is { } path ? new(option.Name, path) : null;
}
