namespace SensorForwarder.EdgeHub;

/// <summary>How the hub is reached.</summary>
internal enum HubTransport
{
    /// <summary>Port 8883, and 443 if 8883 can't be reached; then the port that worked.</summary>
    Auto,

    /// <summary>MQTT over TLS on port 8883.</summary>
    Mqtt,

    /// <summary>MQTT over a WebSocket on port 443, for networks that block other ports; uses the proxy in
    /// <c>https_proxy</c>.</summary>
    MqttWs,
}

/// <summary>The options of the connection, besides the identity. Immutable.</summary>
internal sealed record HubOptions
{
    public HubTransport Transport { get; init; }

    /// <summary>The Plug and Play model (a DTMI) to announce; null: none.</summary>
    public string? ModelId { get; init; }

    /// <summary>How long a token is valid. MQTT can't renew a token within a connection, so the module reconnects after
    /// <see cref="RenewAt"/> of this time.</summary>
    public TimeSpan TokenLife { get; init; } = TimeSpan.FromHours(1);

    /// <summary>The part of a token's life after which it is replaced.</summary>
    public const double RenewAt = 0.8;
}

/// <summary>Which transports the next attempt may use. Not thread-safe: used by the connection's loop only.</summary>
internal sealed class TransportChoice(HubTransport wanted)
{
    // The transport that worked is kept, but a device may be moved to a network that blocks it.
    const int FailuresBeforeBothAgain = 10;

    HubTransport _preferred = HubTransport.Mqtt;
    bool _known;
    int _failures;

    /// <summary>The transports to try, in order.</summary>
    public IReadOnlyList<HubTransport> Candidates() => (wanted, _preferred) switch
    {
        (not HubTransport.Auto, _) => [wanted],
        _ when _known && _failures < FailuresBeforeBothAgain => [_preferred],
        (_, HubTransport.MqttWs) => [HubTransport.MqttWs, HubTransport.Mqtt],
        _ => [HubTransport.Mqtt, HubTransport.MqttWs],
    };

    /// <summary>A hub answered over this transport, even if it refused the connection.</summary>
    public void Answered(HubTransport transport) => (_preferred, _known, _failures) = (transport, true, 0);

    /// <summary>No candidate reached a hub.</summary>
    public void NoneReached() => _failures++;
}
