using EdgeSimulator.Faults;
using MQTTnet.Formatter;
using MQTTnet.Protocol;

namespace EdgeSimulator.Hub;

/// <summary>Accepts or refuses a CONNECT with edgeHub's return codes: 1 protocol level, 3 cannot be parsed, 5 not
/// authorized.</summary>
internal sealed class ConnectionGate(ModuleIdentity identity, ModuleIdentity? sender, FaultSwitches faults, TimeProvider time)
{
    /// <param name="Code">The return code of CONNACK.</param>
    /// <param name="Reason">Why the connection is refused; empty if it is accepted.</param>
    /// <param name="TokenExpiry">When the token expires.</param>
    /// <param name="ModelId">The module's Plug and Play model id; empty if none.</param>
    public record struct Decision(MqttConnectReasonCode Code, string Reason, DateTimeOffset TokenExpiry, string ModelId);

    public Decision Decide(MqttProtocolVersion version, string? clientId, string? userName, string? password)
    {
        var fault = faults.Current;
        if (fault.Connack != 0)
        {
            return Refuse(Code(fault.Connack), "fault connack is set");
        }

        if (version != MqttProtocolVersion.V311)
        {
            return Refuse(MqttConnectReasonCode.UnsupportedProtocolVersion, $"protocol {version}, not MQTT 3.1.1");
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
            return Refuse(
                MqttConnectReasonCode.NotAuthorized, $"client id '{clientId}', but the user name says '{claimed}'");
        }

        var known = clientId == sender?.ClientId ? sender : identity;
        if (clientId != known.ClientId)
        {
            return Refuse(
                MqttConnectReasonCode.NotAuthorized, $"unknown client id '{clientId}'; expected '{identity.ClientId}'");
        }

        var now = time.GetUtcNow().AddSeconds(fault.TokenClockSkewSeconds);
        return SasToken.Refusal(password, known, now, out var expiry) is { } refusal
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
