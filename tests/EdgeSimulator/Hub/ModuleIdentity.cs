namespace EdgeSimulator.Hub;

/// <summary>The one module that the simulator plays edgeAgent and edgeHub for. Immutable.</summary>
internal sealed record ModuleIdentity
{
    /// <summary>IoT Hub's host name: only the audience of tokens, never dialled.</summary>
    public required string HubHost { get; init; }

    /// <summary>What the module dials: <c>localhost</c> or a loopback address.</summary>
    public required string GatewayHost { get; init; }

    public required string DeviceId { get; init; }

    public required string ModuleId { get; init; }

    public required string GenerationId { get; init; }

    /// <summary>The key that signs the module's tokens; it never leaves the simulator.</summary>
    public required byte[] Key { get; init; }

    /// <summary>The client id that edgeHub requires, by ordinal comparison.</summary>
    public string ClientId => $"{DeviceId}/{ModuleId}";
}
