using SensorForwarder.Net;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// The identity of this module, and what proves it. Immutable. Exactly one of <see cref="SharedAccessKey"/>,
/// <see cref="Workload"/> and the certificate in <see cref="Tls"/> is set.
/// </summary>
internal sealed record EdgeIdentity
{
    /// <summary>Host name of the IoT Hub; also the audience of tokens for edgeHub.</summary>
    public required string HubHostName { get; init; }

    /// <summary>Host name of edgeHub; null: connect to IoT Hub directly.</summary>
    public string? GatewayHostName { get; init; }

    public required string DeviceId { get; init; }

    /// <summary>Null: a device identity, without IoT Edge.</summary>
    public string? ModuleId { get; init; }

    /// <summary>The environment variable that the identity was read from, for messages.</summary>
    public required string Source { get; init; }

    /// <summary>The key from a connection string.</summary>
    public ReadOnlyMemory<byte>? SharedAccessKey { get; init; }

    /// <summary>The workload API of IoT Edge that signs for the module.</summary>
    public WorkloadEndpoint? Workload { get; init; }

    /// <summary>The X.509 certificate that proves the identity, with its key, and the only roots to trust
    /// (iotedgehubdev). Without roots: the trust bundle of the workload API, or the system's roots.</summary>
    public TlsFiles Tls { get; init; } = new();

    /// <summary>The host to connect to.</summary>
    public string DialledHostName => GatewayHostName ?? HubHostName;

    /// <summary><c>device/module</c>, or <c>device</c>: the MQTT client id, and the name in log lines.</summary>
    public string ClientId => ModuleId is null ? DeviceId : $"{DeviceId}/{ModuleId}";

    // A record's own ToString would print the key.
    public override string ToString() => $"{ClientId} ({Source})";
}

/// <summary>The endpoint of the workload API, and this module's identity for it.</summary>
/// <param name="SocketPath">Path of the Unix socket.</param>
/// <param name="ModuleId">This module.</param>
/// <param name="GenerationId">The module's generation, from edgeAgent.</param>
internal sealed record WorkloadEndpoint(string SocketPath, string ModuleId, string GenerationId);
