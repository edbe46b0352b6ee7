using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Options;
using SensorForwarder.Text;
using static SensorForwarder.Options.Option;

namespace SensorForwarder.Configuration;

/// <summary>Describes the boot values of the module, except those of OTLP (<see cref="OtlpBootReader"/>) and those that
/// IoT Edge sets (<see cref="EdgeIdentityReader"/>).</summary>
internal static class BootTable
{
    public static readonly Option<string> BufferDirectory = Path(
        "Buffer__Directory", "data", "Directory of `telemetry.db`.")
        .From("`/data` in the image, `./data` elsewhere");
    public static readonly Option<string?> BufferKeyFile = Path(
        "Buffer__KeyFile", "File with a 32-byte key for encryption at rest.");
    /// <summary>Secret, since a key may be set here by mistake.</summary>
    public static readonly Option<string> BufferEncryption = Choice(
        "Buffer__Encryption", ["none", "workload"], "none", "`workload`: encrypts at rest with a key that the module "
            + "creates and IoT Edge's workload API wraps; it is stored as `telemetry.key` beside the database. To use "
            + "your own key, set `Buffer__KeyFile`.")
        .Secret();
    public static readonly Option<string?> SettingsFile = Path(
        "Settings__File", "Settings file (JSON), watched: a change is in effect within a second, or within 30 s on a "
            + "network file system, which does not signal changes.");

    public static readonly Option<Uri?> HttpEndpoint = Url(
        "Http__Endpoint", "Receiver of the `http` sink; user and password belong in `Http__Authorization`.");
    public static readonly Option<string?> HttpAuthorization = HeaderValue(
        "Http__Authorization", "`Authorization` header, sent only to the origin (scheme, host and port) of "
            + "`Http__Endpoint`; never logged.");
    public static readonly Option<string?> HttpHeaders = HeaderValue(
        "Http__Headers__NAME", "Further headers, such as `Http__Headers__X-Api-Key`; sent to the same origins as "
            + "`Http__Authorization`, and never logged.");
    public static readonly Option<IReadOnlyList<string>> HttpSecretsFor = List(
        "Http__SecretsFor", "origins such as https://receiver.example:8443 (scheme, host and port, without user, path "
            + "and query), separated by commas", ",", ReadOrigin,
        "The only origins that get these headers and the client certificate, such as "
            + "`https://a.example,https://b.example:8443`. An `httpEndpoint` of another origin is used without them; "
            + "its acknowledgement and the log say so. With neither `Http__SecretsFor` nor `Http__Endpoint`, no "
            + "receiver gets them.")
        .From("the origin of `Http__Endpoint`");
    public static readonly Option<IReadOnlyList<string>> HttpAllowedHosts = List(
        "Http__AllowedHosts", "host names, addresses and *.example.com, without scheme and port, separated by commas",
        ",", ReadHost,
        "The only hosts that `httpEndpoint` may name, separated by commas: names, addresses, `*.example.com`. The host "
            + "of `Http__Endpoint` is allowed as well. A link-local address (169.254.0.0/16, fe80::/10), where clouds "
            + "serve credentials, is reached only if `Http__AllowedHosts` or `Http__Endpoint` names its host.")
        .From("any");
    public static readonly Option<string?> HttpCaFile = Path(
        "Http__CaFile", "The only root certificates (PEM or DER) that are trusted for the receiver.")
        .From("the system's roots");
    public static readonly Option<string?> HttpClientCertificateFile = Path(
        "Http__ClientCertificateFile", "Client certificate (PEM), presented to the origins that get the headers.");
    public static readonly Option<string?> HttpClientKeyFile = Path(
        "Http__ClientKeyFile", "Key (PEM) of the client certificate, if it is in another file.");

    public static readonly Option<HubTransport> Transport = Choice(
        "EdgeHub__Transport",
        [("auto", HubTransport.Auto), ("mqtt", HubTransport.Mqtt), ("mqttws", HubTransport.MqttWs)], HubTransport.Auto,
        "`mqtt` (8883), `mqttws` (WebSocket on 443), or `auto`: whichever works.");
    public static readonly Option<Uri?> MetricsUrl = Url(
        "EdgeHub__MetricsUrl", "edgeHub's metrics page. Readings are kept until it shows that the cloud has them, and "
            + "held back while edgeHub has no connection to the cloud. Empty: off; readings that edgeHub accepted "
            + "count as delivered.")
        .From("`http://GATEWAY:9600/metrics` behind a gateway, else none");

    public static readonly Option<int> WebPort = Integer(
        "Web__Port", 0, 65_535, 9600, "Port of the page, `/metrics`, `/status`, `/healthz` and `/readyz`; 0: off. "
            + "Listens on loopback, in a container on all interfaces.");
    public static readonly Option<bool> WebDashboard = Flag(
        "Web__Dashboard", true, "`false` turns the page off; the other paths remain.");
    public static readonly Option<IReadOnlyList<string>> WebAllowedHosts = List(
        "Web__AllowedHosts", "names, separated by commas", ", \t\r\n", static name => name,
        "Public host names that requests may use, separated by commas. Addresses, names without a dot, and names in "
            + "`.local`, `.lan`, `.internal` and `.home.arpa` are always served.");

    public static readonly Option<EndPoint?> IntakeHttp = Form(
        "Intake__Http", "an address with its port such as 127.0.0.1:8086, 0.0.0.0:8086 or [::1]:8086, or unix:/PATH",
        null, ReadPlace,
        "Address for readings of other programs over HTTP: `127.0.0.1:8086`, `0.0.0.0:8086`, or a Unix socket for the "
            + "same user and group, `unix:/run/sensorforwarder/intake.sock`. Addresses other than loopback need "
            + "`Intake__TokenFile`.");
    public static readonly Option<string?> IntakeTokenFile = Path(
        "Intake__TokenFile", "File with the token that these requests must have, as `Authorization: Token ..` (or "
            + "`Bearer`, or the password of `Basic`). Read again when the file changes.");
    public static readonly Option<int> IntakeReadingsPerSecond = Integer(
        "Intake__ReadingsPerSecond", 0, 1_000_000, 1_000, "Maximum average rate of one source, in readings per second "
            + "over ten seconds. A request counts as its readings or its KiB, whichever is more. A source above the "
            + "limit must retry later (429). 0: no limit.");
    public static readonly Option<int> IntakeMaxSilenceSeconds = Integer(
        "Intake__MaxSilenceSeconds", 0, 31_536_000, 0, "A source that has sent nothing for this long is shown as "
            + "silent; 0: never.");

    public static readonly Option<string?> MqttUserName = Form<string?>(
        "Mqtt__NAME__UserName", "a text", null, static given => given,
        "User name for the broker of the sensor NAME of kind `mqtt`.").Secret();
    public static readonly Option<string?> MqttPassword = Form<string?>(
        "Mqtt__NAME__Password", "a text", null, static given => given, "Password for that user; never logged.")
        .Secret();
    public static readonly Option<string?> MqttPasswordFile = Path(
        "Mqtt__NAME__PasswordFile", "File with the password, instead of `Mqtt__NAME__Password`; read for each "
            + "connection.");
    public static readonly Option<MqttBroker?> MqttSecretsFor = Form(
        "Mqtt__NAME__SecretsFor", MqttBroker.Form, null, MqttBroker.TryRead,
        "The only broker that gets user name, password and client certificate, such as `mqtts://broker.example:8883`; "
            + "required if one of them is set. If the settings name another broker, the sensor fails.");
    public static readonly Option<string?> MqttCaFile = Path(
        "Mqtt__NAME__CaFile", "The only root certificates (PEM or DER) that are trusted for the broker (`mqtts://`).")
        .From("the system's roots");
    public static readonly Option<string?> MqttClientCertificateFile = Path(
        "Mqtt__NAME__ClientCertificateFile", "Client certificate (PEM), presented to the broker.");
    public static readonly Option<string?> MqttClientKeyFile = Path(
        "Mqtt__NAME__ClientKeyFile", "Key (PEM) of the client certificate, if it is in another file.");

    public static readonly Option<string> SysfsRoot = Path(
        "Sensors__SysfsRoot", "/sys", "Where sysfs is mounted.");
    public static readonly Option<string> DevRoot = Path("Sensors__DevRoot", "/dev", "Directory of the device nodes.");
    public static readonly Option<string> ProcRoot = Path(
        "Sensors__ProcRoot", "/proc", "Where procfs is mounted; `host` sensors read it.");
    public static readonly Option<IReadOnlyList<string>> FileRoots = List(
        "Sensors__FileRoots", "absolute paths without '..', separated by colons or commas", ":,", ReadDirectory,
        "Directories whose files `file` sensors may read, separated by colons or commas. Symbolic links are resolved "
            + "first; files of processes in `/proc` are never read.")
        .From("`/sys`, `/proc`, `/run/sensors`, `/data/files`");

    public static readonly Option<string> DeviceId = AnyText(
        "Device__Id", Environment.MachineName, "Device id in the body of batches when there is no edge identity.")
        .From("machine name");
    public static readonly Option<string> ModuleId = AnyText(
        "Module__Id", "SensorForwarder", "Module id in the body of batches when there is no edge identity.");
    /// <summary>Accepts the level names of IoT Edge and of .NET.</summary>
    public static readonly Option<LogLevel> RuntimeLogLevel = Choice(
        "RuntimeLogLevel",
        [
            ("fatal", LogLevel.Critical), ("error", LogLevel.Error), ("warning", LogLevel.Warning),
            ("info", LogLevel.Information), ("debug", LogLevel.Debug), ("verbose", LogLevel.Trace),
            ("critical", LogLevel.Critical), ("warn", LogLevel.Warning), ("information", LogLevel.Information),
            ("trace", LogLevel.Trace), ("none", LogLevel.None),
        ],
        LogLevel.Information, "Lowest level that is logged: `fatal`, `error`, `warning`, `info`, `debug`, `verbose`.");

    public static IReadOnlyList<Option> All { get; } =
    [
        BufferDirectory, BufferKeyFile, BufferEncryption, SettingsFile, HttpEndpoint, HttpAuthorization, HttpHeaders,
        HttpSecretsFor, HttpAllowedHosts, HttpCaFile, HttpClientCertificateFile, HttpClientKeyFile, Transport,
        MetricsUrl, EdgeIdentityReader.CertificateFile, EdgeIdentityReader.KeyFile, WebPort, WebDashboard,
        WebAllowedHosts, IntakeHttp, IntakeTokenFile, IntakeReadingsPerSecond, IntakeMaxSilenceSeconds,
        MqttUserName, MqttPassword, MqttPasswordFile, MqttSecretsFor, MqttCaFile, MqttClientCertificateFile,
        MqttClientKeyFile, SysfsRoot, DevRoot, ProcRoot, FileRoots, DeviceId, ModuleId, RuntimeLogLevel,
    ];

    /// <summary>A text of any form.</summary>
    public static Option<string> AnyText(string name, string standard, string text) =>
        Form(name, "a text", standard, static given => given, text);

    /// <summary>Whether a text can be the value of a header.</summary>
    public static bool IsHeaderValue(string text) => text.All(c => c is '\t' or (>= ' ' and <= '~'));

    static Option<string?> HeaderValue(string name, string text) => Form(
        name, "one line of ASCII", null, static given => IsHeaderValue(given) ? given : null, text).Secret();

    static string? ReadOrigin(string text) =>
        TryUrl(text, out var url) && url.PathAndQuery == "/" && url.Fragment.Length == 0 ? UrlText.Origin(url) : null;

    static string? ReadHost(string text) => Uri.CheckHostName(
        text.StartsWith("*.", StringComparison.Ordinal) ? text[2..] : text) == UriHostNameType.Unknown ? null : text;

    static EndPoint? ReadPlace(string text)
    {
        const string Unix = "unix:";
        if (text.StartsWith(Unix, StringComparison.Ordinal))
            return text.Length is > 6 and <= 112 && text[5] == '/' && !text.Any(char.IsControl)
                ? new UnixDomainSocketEndPoint(text[Unix.Length..])
                : null;
        return IPEndPoint.TryParse(text, out var address) && address.Port > 0 ? address : null;
    }

    static string? ReadDirectory(string text) => text.StartsWith('/') && !text.Split('/').Contains("..")
        ? System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(text))
        : null;
}
