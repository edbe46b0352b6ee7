namespace EdgeSimulator.Faults;

/// <summary>The server certificate that the gateway presents.</summary>
internal enum CertificateFault
{
    None,
    Expired,
    OtherHost,
    Untrusted,
}

/// <summary>State of edgeHub's connection to the cloud.</summary>
internal enum Cloud
{
    Reachable,

    /// <summary>Packets are lost: edgeHub keeps the messages that it has acknowledged.</summary>
    Unreachable,

    /// <summary>Connections are refused: after a while edgeHub discards messages that it has acknowledged.</summary>
    Refusing,

    /// <summary>The connection is open, but nothing is acknowledged: edgeHub keeps its messages.</summary>
    Stalled,

    /// <summary>The cloud accepts a message and closes the connection without an acknowledgement: edgeHub sends it
    /// again.</summary>
    Swallowing,
}

/// <summary>The faults in force; none by default. Immutable; replaced by <see cref="FaultSwitches"/>.</summary>
internal sealed record FaultSettings
{
    /// <summary>Connections are refused and open ones reset; the workload socket stays open.</summary>
    public bool Blackout { get; init; }

    /// <summary>Port 8883 refuses connections and open ones are reset, as by a firewall; WebSocket on 443 still
    /// works.</summary>
    public bool MqttPortBlocked { get; init; }

    /// <summary>Delay of everything sent to the module.</summary>
    public int LatencyMilliseconds { get; init; }

    /// <summary>How fast the gateway reads; 0: no limit.</summary>
    public int BandwidthBytesPerSecond { get; init; }

    /// <summary>Connections, new and open, stay open without any data from the gateway.</summary>
    public bool HalfOpen { get; init; }

    /// <summary>The return code of CONNACK, 1 to 5; 0: no fault.</summary>
    public int Connack { get; init; }

    /// <summary>CONNECT is never answered.</summary>
    public bool NoConnack { get; init; }

    public CertificateFault Certificate { get; init; }

    /// <summary>Number of telemetry messages that are accepted without sending their PUBACK.</summary>
    public int LosePubacks { get; init; }

    /// <summary>Number of telemetry messages that edgeHub loses after their PUBACK. No metric shows the loss.</summary>
    public int DropAcknowledged { get; init; }

    public Cloud Cloud { get; init; }

    public bool IsCloudAway => Cloud != Cloud.Reachable;

    /// <summary>Time from <see cref="Cloud.Refusing"/> until edgeHub discards messages; 75 to 85 s in the real
    /// edgeHub.</summary>
    public int DiscardAfterSeconds { get; init; } = 80;

    /// <summary>Round trip to the cloud for a group of up to ten messages.</summary>
    public int CloudLatencyMilliseconds { get; init; }

    /// <summary>edgeHub is stopped: no MQTT, no metrics page. It restarts as a new instance with the same
    /// store.</summary>
    public bool HubStopped { get; init; }

    /// <summary>The output without a route; *: all outputs; empty: as the routes say.</summary>
    public string NoRoute { get; init; } = "";

    /// <summary>Number of messages in edgeHub's queue that are lost when the cloud is reachable again.</summary>
    public int LoseQueued { get; init; }

    /// <summary>Time after which messages in edgeHub's queue expire; zero: as the routes say.</summary>
    public TimeSpan TimeToLive { get; init; }

    /// <summary>edgeHub's store is full: it closes the connection without a PUBACK.</summary>
    public bool StoreFull { get; init; }

    /// <summary>Connections are accepted, but edgeHub sends nothing except acknowledgements.</summary>
    public bool OverConnectionLimit { get; init; }

    /// <summary>Twin requests get 200 with an empty twin without version, as from an edgeHub that never had the
    /// twin.</summary>
    public bool EmptyTwin { get; init; }

    /// <summary>Number of PUBACK pairs sent in reverse order.</summary>
    public int SwapPubacks { get; init; }

    /// <summary>Processing time of each telemetry message, one at a time: throttling.</summary>
    public int PubackDelayMilliseconds { get; init; }

    /// <summary>Duration of each twin request; later packets wait, as with an edgeHub that cannot reach the cloud (20
    /// s).</summary>
    public int TwinDelayMilliseconds { get; init; }

    /// <summary>Status of responses to twin requests, such as 429 or 500; 0: no fault.</summary>
    public int TwinStatus { get; init; }

    /// <summary>How far edgeHub's clock is ahead of the module's when it checks tokens.</summary>
    public int TokenClockSkewSeconds { get; init; }

    /// <summary>Status of the workload API's responses, such as 403, 404 or 500; 0: no fault.</summary>
    public int WorkloadStatus { get; init; }

    /// <summary>The workload API closes connections without a response.</summary>
    public bool WorkloadCloses { get; init; }

    /// <summary>Status of the HTTP endpoint's responses, such as 429 or 503; 0: no fault.</summary>
    public int HttpStatus { get; init; }

    /// <summary>The Retry-After header sent with <see cref="HttpStatus"/>; 0: no header.</summary>
    public int HttpRetryAfterSeconds { get; init; }
}
