namespace Deployment.Tests;

/// <summary>
/// How iotedgehubdev 0.14.18 handles createOptions (iotedgehubdev/compose_parser.py): what it maps to docker-compose,
/// what it ignores silently, and where it fails.
/// </summary>
static class Hubdev
{
    static readonly string[] Mapped =
    [
        "Hostname", "Domainname", "User", "ExposedPorts", "Tty", "Env", "Cmd", "Healthcheck", "Image", "WorkingDir", "Entrypoint",
        "MacAddress", "Labels", "StopSignal", "StopTimeout", "HostConfig", "NetworkingConfig",
    ];

    static readonly string[] MappedInHostConfig =
    [
        "PortBindings", "Privileged", "NetworkMode", "Devices", "Dns", "DnsSearch", "RestartPolicy", "CapAdd", "CapDrop", "Ulimits",
        "LogConfig", "ExtraHosts", "ReadonlyRootfs", "PidMode", "SecurityOpt", "IpcMode", "CgroupParent", "Sysctls", "UsernsMode",
        "Isolation", "Mounts", "Binds",
    ];

    /// <summary>The keys that iotedgehubdev ignores.</summary>
    public static IEnumerable<string> Dropped(JsonObject createOptions) => Keys(createOptions).Except(Mapped)
        .Concat(Keys(createOptions["HostConfig"] as JsonObject).Except(MappedInHostConfig).Select(key => $"HostConfig.{key}"));

    /// <summary>Keys whose absence causes a KeyError or a compose file that docker-compose rejects.</summary>
    public static IEnumerable<string> Failures(JsonObject createOptions)
    {
        var host = createOptions["HostConfig"] as JsonObject ?? [];
        foreach (var device in host["Devices"] as JsonArray ?? [])
        {
            foreach (var key in Missing(device, "PathOnHost", "PathInContainer", "CgroupPermissions")) yield return $"Devices: {key} is missing";
        }

        if (createOptions["Healthcheck"] is JsonObject health)
        {
            foreach (var key in Missing(health, "Test", "Interval", "Timeout", "Retries", "StartPeriod")) yield return $"Healthcheck: {key} is missing";
        }

        if (host["LogConfig"] is JsonObject log)
        {
            foreach (var key in Missing(log, "Type", "Config")) yield return $"LogConfig: {key} is missing";
        }

        foreach (var mount in host["Mounts"] as JsonArray ?? [])
        {
            foreach (var key in Missing(mount, "Type", "Target")) yield return $"Mounts: {key} is missing";
        }
    }

    static IEnumerable<string> Keys(JsonObject? map) => map?.Select(p => p.Key) ?? [];

    static IEnumerable<string> Missing(JsonNode? map, params string[] keys) => keys.Except(Keys(map as JsonObject));
}
