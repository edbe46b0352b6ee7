using SensorForwarder.Net;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Who this module is, and what proves it. Immutable. Exactly one of <see cref="SharedAccessKey"/>,
/// <see cref="Workload"/> and the certificate in <see cref="Tls"/> is set.
/// </summary>
internal sealed record EdgeIdentity
{
    /// <summary>Host name of the IoT Hub: the audience of tokens, also when a gateway is dialled.</summary>
    public required string HubHostName { get; init; }

    /// <summary>Host name of edgeHub; null when IoT Hub is dialled straight.</summary>
    public string? GatewayHostName { get; init; }

    public required string DeviceId { get; init; }

    /// <summary>Null for a device identity (no IoT Edge at all).</summary>
    public string? ModuleId { get; init; }

    /// <summary>Where this came from, for messages: the name of the environment variable.</summary>
    public required string Source { get; init; }

    /// <summary>The key from a connection string.</summary>
    public ReadOnlyMemory<byte>? SharedAccessKey { get; init; }

    /// <summary>The workload API that signs for the module inside IoT Edge.</summary>
    public WorkloadEndpoint? Workload { get; init; }

    /// <summary>The X.509 certificate that proves the identity, with its key, and the only certificate authorities to
    /// trust (iotedgehubdev). Without such a file the workload API's trust bundle, or the system's roots.</summary>
    public TlsFiles Tls { get; init; } = new();

    /// <summary>The host that the connection goes to.</summary>
    public string DialledHostName => GatewayHostName ?? HubHostName;

    /// <summary><c>device/module</c>, or <c>device</c>: the MQTT client id, and the name in log lines.</summary>
    public string ClientId => ModuleId is null ? DeviceId : $"{DeviceId}/{ModuleId}";

    // A record's own ToString would print the key.
    public override string ToString() => $"{ClientId} ({Source})";
}

/// <summary>Where the workload API listens, and which module this is for it.</summary>
/// <param name="SocketPath">Path of the Unix socket.</param>
/// <param name="ModuleId">The module that asks.</param>
/// <param name="GenerationId">Its generation, as edgeAgent says.</param>
internal sealed record WorkloadEndpoint(string SocketPath, string ModuleId, string GenerationId);
