using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Authentication;
using MQTTnet.Exceptions;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>Why a connection could not be opened; decides the back-off.</summary>
internal enum DialFailure
{
    /// <summary>No server answered, or the connection was lost.</summary>
    Unreachable,

    /// <summary>CONNACK 3: the hub is reachable but not ready yet.</summary>
    NotReady,

    /// <summary>CONNACK 4, 5: the hub refuses the identity. The identity must be corrected, or the clock must be set.
    /// </summary>
    Refused,

    /// <summary>CONNACK 1, 2 and other answers that a retry alone will not change.</summary>
    Unsupported,

    /// <summary>The server's certificate is not trusted.</summary>
    Untrusted,

    /// <summary>The server's certificate is expired or not valid yet, according to this machine's clock.</summary>
    Clock,

    /// <summary>No token, no trust bundle or no client certificate is available.</summary>
    Credentials,
}

/// <summary>A connection could not be opened. The message says why, in one line without secrets.</summary>
internal sealed class DialException(DialFailure failure, string message, Exception? inner = null)
    : Exception(message, inner)
{
    public DialFailure Failure => failure;

    /// <summary>The hub refuses the identity.</summary>
    /// <param name="answer">The hub's answer in brackets, such as <c> (CONNACK 5)</c>; may be empty.</param>
    public static DialException IdentityRefused(
        EdgeIdentity identity, string answer, TimeProvider timeProvider, Exception? cause = null) =>
        new(DialFailure.Refused, $"{identity.DialledHostName} refuses the identity {identity.ClientId} from "
            + $"{identity.Source}{answer}. Is it registered and enabled, and is the key correct? This machine's clock "
            + $"says {timeProvider.GetUtcNow():u}: is the time correct?", cause);
}

/// <summary>Describes failures of the network in words. Stateless.</summary>
internal static class NetworkText
{
    /// <summary>Why a connection could not be opened, or was lost. MQTTnet wraps the cause several times.</summary>
    public static string Describe(Exception exception) => exception switch
    {
        SocketException socket => socket.SocketErrorCode switch
        {
            SocketError.ConnectionReset => "the connection was reset",
            SocketError.TimedOut => "the other side does not respond",
            SocketError.NetworkUnreachable or SocketError.HostUnreachable => "there is no route to the host",
            _ => LogText.Clean(socket.Message),
        },
        MqttClientDisconnectedException { InnerException: null } => "the connection was closed",
        OperationCanceledException => "the attempt was cancelled",
        AggregateException { InnerException: { } inner } => Describe(inner),
        HttpRequestException
        {
            HttpRequestError: HttpRequestError.SecureConnectionError,
            InnerException: IOException { InnerException: null } eof,
        } => TlsText.Describe(eof),
        WebSocketException or AuthenticationException or IOException or HttpRequestException
            or MqttCommunicationException
            when exception.InnerException is { } inner => Describe(inner),
        NotConnectedException dial => dial.Message,
        AuthenticationException tls => $"TLS: {TlsText.Describe(tls)}",
        HttpRequestException { HttpRequestError: HttpRequestError.ProxyTunnelError } proxy => ProxyText.Describe(proxy),
        MqttCommunicationException or MqttProtocolViolationException or WebSocketException or HttpRequestException
            or IOException => LogText.Clean(exception.Message),
        _ => $"{exception.GetType().Name}: {LogText.Clean(exception.Message)}",
    };
}
