namespace SensorForwarder.EdgeHub;

/// <summary>How the hub is reached.</summary>
internal enum HubTransport
{
    /// <summary>8883, and when nobody can be reached there 443; then the one that worked.</summary>
    Auto,

    /// <summary>MQTT over TLS on port 8883.</summary>
    Mqtt,

    /// <summary>MQTT over a WebSocket on port 443, for networks that let nothing else out; a proxy named by
    /// <c>https_proxy</c> is used.</summary>
    MqttWs,
}

/// <summary>What can be chosen about the connection, besides the identity. Immutable.</summary>
internal sealed record HubOptions
{
    public HubTransport Transport { get; init; }

    /// <summary>The Plug and Play model (a DTMI) to announce; null: none.</summary>
    public string? ModelId { get; init; }

    /// <summary>How long a token is good. MQTT can't renew it inside a connection; at <see cref="RenewAt"/> of this
    /// time the module connects anew.</summary>
    public TimeSpan TokenLife { get; init; } = TimeSpan.FromHours(1);

    /// <summary>The part of a token's life after which it is replaced.</summary>
    public const double RenewAt = 0.8;
}

/// <summary>Which transports the next attempt may use. Not thread-safe: used by the connection's loop alone.</summary>
internal sealed class TransportChoice(HubTransport wanted)
{
    // What worked is kept, but a device that was carried into another network must not be stuck with it.
    const int FailuresBeforeBothAgain = 10;

    HubTransport _preferred = HubTransport.Mqtt;
    bool _known;
    int _failures;

    /// <summary>The ones to try, in order.</summary>
    public IReadOnlyList<HubTransport> Candidates() => (wanted, _preferred) switch
    {
        (not HubTransport.Auto, _) => [wanted],
        _ when _known && _failures < FailuresBeforeBothAgain => [_preferred],
        (_, HubTransport.MqttWs) => [HubTransport.MqttWs, HubTransport.Mqtt],
        _ => [HubTransport.Mqtt, HubTransport.MqttWs],
    };

    /// <summary>A hub answered over it, even if it refused.</summary>
    public void Answered(HubTransport transport) => (_preferred, _known, _failures) = (transport, true, 0);

    /// <summary>None of the candidates reached anybody.</summary>
    public void NobodyThere() => _failures++;
}
