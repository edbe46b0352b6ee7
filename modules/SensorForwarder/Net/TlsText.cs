using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using SensorForwarder.Text;

namespace SensorForwarder.Net;

/// <summary>Describes failures of a TLS handshake in words. Stateless.</summary>
internal static class TlsText
{
    /// <summary>Describes a failure in one line, more clearly than .NET if the other side does not speak TLS.</summary>
    /// <param name="exception">An <see cref="AuthenticationException"/>, or the handshake's <see cref="IOException"/>.
    /// </param>
    public static string Describe(Exception exception)
    {
        var message = (exception.InnerException ?? exception).Message;
        if (message.Contains("frame size", StringComparison.Ordinal))
            return "the other side does not speak TLS on this port; is it an http port?";
        return message.Contains("unexpected EOF", StringComparison.Ordinal)
            ? "the connection was closed during the TLS handshake; does this port speak TLS?"
            : LogText.Clean(message);
    }

    /// <summary>The same, with the time of this machine's clock if a certificate is not valid now.</summary>
    public static string Describe(Exception exception, TimeProvider timeProvider)
    {
        var text = Describe(exception);
        return text.Contains(nameof(X509ChainStatusFlags.NotTimeValid), StringComparison.Ordinal)
            ? $"{text}. This machine's clock says {LogText.Show(timeProvider.GetUtcNow())}: set the clock if it is "
                + "wrong, otherwise renew the certificate"
            : text;
    }
}
