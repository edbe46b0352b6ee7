namespace EdgeSimulator.Faults;

/// <summary>Which certificate the gateway shows.</summary>
internal enum CertificateFault
{
    None,
    Expired,
    OtherHost,
    Untrusted,
}

/// <summary>What is wrong with the world at the moment. The default is: nothing. Immutable; <see cref="FaultSwitches"/> swaps it.</summary>
internal sealed record FaultSettings
{
    /// <summary>No connection is accepted, open ones are cut; the workload socket stays.</summary>
    public bool Blackout { get; init; }

    /// <summary>Port 8883 accepts no connection, and open ones there are cut, as by a firewall; the WebSocket on 443 stays.</summary>
    public bool MqttPortBlocked { get; init; }

    /// <summary>Added to everything that goes to the module.</summary>
    public int LatencyMilliseconds { get; init; }

    /// <summary>How fast the gateway reads; 0 is no limit.</summary>
    public int BandwidthBytesPerSecond { get; init; }

    /// <summary>Connections are accepted and then stay silent.</summary>
    public bool HalfOpen { get; init; }

    /// <summary>The return code of CONNACK, 1 to 5; 0 is: as it should be.</summary>
    public int Connack { get; init; }

    /// <summary>CONNECT is read and never answered.</summary>
    public bool NoConnack { get; init; }

    public CertificateFault Certificate { get; init; }

    /// <summary>How many telemetry messages are taken whose PUBACK is then lost.</summary>
    public int LosePubacks { get; init; }

    /// <summary>How many telemetry messages are acknowledged and dropped, as edgeHub does without a route.</summary>
    public int DropAcknowledged { get; init; }

    /// <summary>edgeHub has no connection to the cloud: it acknowledges and keeps what comes.</summary>
    public bool UpstreamOffline { get; init; }

    /// <summary>How many of the messages that wait in edgeHub are lost when the cloud is back.</summary>
    public int LoseQueued { get; init; }

    /// <summary>What has waited longer is dropped when the cloud is back; 0 is: as the routes say.</summary>
    public int QueueTimeToLiveSeconds { get; init; }

    /// <summary>edgeHub's store takes nothing: no PUBACK, and the connection is closed.</summary>
    public bool StoreFull { get; init; }

    /// <summary>Connections are accepted, and nothing is ever sent to them but acknowledgements.</summary>
    public bool OverConnectionLimit { get; init; }

    /// <summary>The twin is answered with 200 and no property, not even a version, as by an edgeHub that never had it.</summary>
    public bool EmptyTwin { get; init; }

    /// <summary>How many pairs of PUBACKs are sent in the wrong order.</summary>
    public int SwapPubacks { get; init; }

    /// <summary>How long each telemetry message takes, one after the other: throttling.</summary>
    public int PubackDelayMilliseconds { get; init; }

    /// <summary>How long each twin request takes; everything behind it waits, as with edgeHub while its cloud is away.</summary>
    public int TwinDelayMilliseconds { get; init; }

    /// <summary>The status of the answer to twin requests, such as 429 or 500; 0 is: as it should be.</summary>
    public int TwinStatus { get; init; }

    /// <summary>Seconds by which the hub's clock is ahead of the module's when it checks tokens.</summary>
    public int TokenClockSkewSeconds { get; init; }

    /// <summary>The status of the workload API's answers, such as 403, 404 or 500; 0 is: as it should be.</summary>
    public int WorkloadStatus { get; init; }

    /// <summary>The workload API closes its socket without an answer.</summary>
    public bool WorkloadCloses { get; init; }

    /// <summary>The status of the HTTP endpoint's answers, such as 429 or 503; 0 is: as it should be.</summary>
    public int HttpStatus { get; init; }

    /// <summary>Seconds in the Retry-After header that goes with <see cref="HttpStatus"/>; 0 is no header.</summary>
    public int HttpRetryAfterSeconds { get; init; }
}
