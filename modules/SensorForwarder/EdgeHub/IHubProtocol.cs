namespace SensorForwarder.EdgeHub;

/// <summary>
/// The protocol under <see cref="EdgeHubConnection"/>: opens sessions, and passes twin changes, methods and messages to
/// inputs to the connection's handler. There are two: our own MQTT client, and Microsoft's device SDK.
/// </summary>
internal interface IHubProtocol : IDisposable
{
    /// <summary>Direct methods called since the start.</summary>
    long MethodCalls { get; }

    /// <summary>Method calls without an answer yet.</summary>
    int OpenCalls { get; }

    /// <summary>Opens a session and subscribes. Called by one loop only.</summary>
    /// <param name="openTimeout">The timeout of TCP, and again of TLS.</param>
    /// <param name="stoppingToken">Cancels the attempt, and later the handler.</param>
    /// <returns>The session, and the time until its token must be renewed; infinite: never.</returns>
    /// <exception cref="DialException">No session could be opened; the message says why.</exception>
    Task<(Session Session, TimeSpan RenewIn)> OpenAsync(TimeSpan openTimeout, CancellationToken stoppingToken);

    /// <summary>What the log adds to the transport of a session, such as its proxy; may be empty.</summary>
    string Note(Session session);

    /// <summary>Discards the token after the clock has stepped: its expiry was computed from a wrong time.</summary>
    void ForgetCredentials();

    /// <summary>Passes messages to the handler until the module stops. Never throws.</summary>
    Task RunAsync(CancellationToken stoppingToken);
}
