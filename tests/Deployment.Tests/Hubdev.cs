namespace Deployment.Tests;

/// <summary>
/// What iotedgehubdev 0.14.18 makes of createOptions (iotedgehubdev/compose_parser.py): what it maps to docker-compose,
/// what it drops without a word, and where it fails.
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

    /// <summary>The keys that a container started by iotedgehubdev would lack.</summary>
    public static IEnumerable<string> Dropped(JsonObject createOptions) => Keys(createOptions).Except(Mapped)
        .Concat(Keys(createOptions["HostConfig"] as JsonObject).Except(MappedInHostConfig).Select(key => $"HostConfig.{key}"));

    /// <summary>Where it would end with a KeyError, or with a compose file that docker-compose refuses.</summary>
    public static IEnumerable<string> Failures(JsonObject createOptions)
    {
        var host = createOptions["HostConfig"] as JsonObject ?? [];
        foreach (var device in host["Devices"] as JsonArray ?? [])
        {
            foreach (var key in Lacks(device, "PathOnHost", "PathInContainer", "CgroupPermissions")) yield return $"Devices: {key} is missing";
        }

        if (createOptions["Healthcheck"] is JsonObject health)
        {
            foreach (var key in Lacks(health, "Test", "Interval", "Timeout", "Retries", "StartPeriod")) yield return $"Healthcheck: {key} is missing";
        }

        if (host["LogConfig"] is JsonObject log)
        {
            foreach (var key in Lacks(log, "Type", "Config")) yield return $"LogConfig: {key} is missing";
        }

        foreach (var mount in host["Mounts"] as JsonArray ?? [])
        {
            foreach (var key in Lacks(mount, "Type", "Target")) yield return $"Mounts: {key} is missing";
        }
    }

    static IEnumerable<string> Keys(JsonObject? map) => map?.Select(p => p.Key) ?? [];

    static IEnumerable<string> Lacks(JsonNode? map, params string[] keys) => keys.Except(Keys(map as JsonObject));
}
