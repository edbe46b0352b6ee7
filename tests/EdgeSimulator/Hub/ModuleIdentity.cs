namespace EdgeSimulator.Hub;

/// <summary>The identity of the simulated module. Immutable.</summary>
internal sealed record ModuleIdentity
{
    /// <summary>IoT Hub's host name. Used only in the audience of tokens; nothing connects to it.</summary>
    public required string HubHost { get; init; }

    /// <summary>The host name that the module connects to: <c>localhost</c> or an address.</summary>
    public required string GatewayHost { get; init; }

    public required string DeviceId { get; init; }

    public required string ModuleId { get; init; }

    public required string GenerationId { get; init; }

    /// <summary>The key that signs the module's tokens. The module gets it only with a connection string.</summary>
    public required byte[] Key { get; init; }

    /// <summary>The client id that edgeHub requires (ordinal comparison).</summary>
    public string ClientId => $"{DeviceId}/{ModuleId}";
}
