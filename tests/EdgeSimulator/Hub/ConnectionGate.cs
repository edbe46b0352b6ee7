using EdgeSimulator.Faults;
using MQTTnet.Formatter;
using MQTTnet.Protocol;

namespace EdgeSimulator.Hub;

/// <summary>Decides about a CONNECT, with edgeHub's return codes: 1 protocol level, 3 what cannot be parsed, 5 what is not authorised.</summary>
internal sealed class ConnectionGate(ModuleIdentity identity, FaultSwitches faults, TimeProvider time)
{
    /// <param name="Code">What CONNACK says.</param>
    /// <param name="Reason">Why it is refused.</param>
    /// <param name="TokenExpiry">When the token ends.</param>
    /// <param name="ModelId">The Plug and Play model that the module announces; empty without one.</param>
    public record struct Decision(MqttConnectReasonCode Code, string Reason, DateTimeOffset TokenExpiry, string ModelId);

    public Decision Decide(MqttProtocolVersion version, string? clientId, string? userName, string? password)
    {
        var fault = faults.Current;
        if (fault.Connack != 0)
        {
            return Refuse(Code(fault.Connack), "refused on command");
        }

        if (version != MqttProtocolVersion.V311)
        {
            return Refuse(MqttConnectReasonCode.UnsupportedProtocolVersion, $"protocol {version}; edgeHub speaks MQTT 3.1.1 only");
        }

        if (string.IsNullOrEmpty(clientId))
        {
            return Refuse(MqttConnectReasonCode.ServerUnavailable, "the client id is empty");
        }

        if (!MqttUserName.TryParse(userName, out var parsed, out var error))
        {
            return Refuse(MqttConnectReasonCode.ServerUnavailable, error);
        }

        var claimed = parsed.ModuleId is null ? parsed.DeviceId : $"{parsed.DeviceId}/{parsed.ModuleId}";
        if (claimed != clientId)
        {
            return Refuse(MqttConnectReasonCode.NotAuthorized, $"the client id '{clientId}' is not '{claimed}' of the user name");
        }

        if (clientId != identity.ClientId)
        {
            return Refuse(MqttConnectReasonCode.NotAuthorized, $"'{clientId}' is unknown; the only module here is '{identity.ClientId}'");
        }

        var now = time.GetUtcNow().AddSeconds(fault.TokenClockSkewSeconds);
        return SasToken.Refusal(password, identity, now, out var expiry) is { } refusal
            ? Refuse(MqttConnectReasonCode.NotAuthorized, refusal)
            : new Decision(MqttConnectReasonCode.Success, "", expiry, parsed.Query.GetValueOrDefault("model-id") ?? "");
    }

    static Decision Refuse(MqttConnectReasonCode code, string reason) => new(code, reason, DateTimeOffset.MinValue, "");

    static MqttConnectReasonCode Code(int returnCode) => returnCode switch
    {
        1 => MqttConnectReasonCode.UnsupportedProtocolVersion,
        2 => MqttConnectReasonCode.ClientIdentifierNotValid,
        3 => MqttConnectReasonCode.ServerUnavailable,
        4 => MqttConnectReasonCode.BadUserNameOrPassword,
        _ => MqttConnectReasonCode.NotAuthorized,
    };
}
