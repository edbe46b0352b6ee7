using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Authentication;
using MQTTnet.Exceptions;
using SensorForwarder.Net;

namespace SensorForwarder.EdgeHub;

/// <summary>Why there is no connection; it decides how long the next attempt waits.</summary>
internal enum DialFailure
{
    /// <summary>Nobody answered, or the line broke.</summary>
    Unreachable,

    /// <summary>CONNACK 3: the hub is there and will take us, later.</summary>
    NotReady,

    /// <summary>CONNACK 4, 5: the hub does not take this identity; a person has to act, or the clock
    /// has to be set.</summary>
    Refused,

    /// <summary>CONNACK 1, 2 and other answers that this module can't do anything about.</summary>
    Unsupported,

    /// <summary>The server's certificate is not good.</summary>
    Untrusted,

    /// <summary>The server's certificate is not valid at the time that this machine believes it is.</summary>
    Clock,

    /// <summary>There is no token, no trust bundle, or no client certificate to connect with.</summary>
    Credentials,
}

/// <summary>A connection could not be opened. The message is one line for people, without anything secret.</summary>
internal sealed class DialException(DialFailure failure, string message, Exception? inner = null)
    : Exception(message, inner)
{
    public DialFailure Failure => failure;
}

/// <summary>What the network says, in words.</summary>
internal static class NetworkText
{
    /// <summary>Why a connection could not be opened, or was lost. MQTTnet wraps the cause several times.</summary>
    public static string Describe(Exception exception) => exception switch
    {
        SocketException socket => socket.SocketErrorCode switch
        {
            SocketError.ConnectionReset => "the connection was reset",
            SocketError.TimedOut => "it does not answer",
            SocketError.NetworkUnreachable or SocketError.HostUnreachable => "there is no route to it",
            _ => LogText.Clean(socket.Message),
        },
        MqttClientDisconnectedException { InnerException: null } => "the connection was closed",
        OperationCanceledException => "the connection was given up",
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
