using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

namespace SensorForwarder.Net;

/// <summary>Why a TLS handshake failed, in words.</summary>
internal static class TlsText
{
    /// <summary>One line, without the framework's terms where the other side does not speak TLS.</summary>
    /// <param name="exception">An <see cref="AuthenticationException"/>, or the handshake's <see cref="IOException"/>.
    /// </param>
    public static string Describe(Exception exception)
    {
        var message = (exception.InnerException ?? exception).Message;
        if (message.Contains("frame size", StringComparison.Ordinal))
            return "the other side does not speak TLS on this port; is the port one for http?";
        return message.Contains("unexpected EOF", StringComparison.Ordinal)
            ? "the connection was closed during the TLS handshake; does this port speak TLS?"
            : LogText.Clean(message);
    }

    /// <summary>The same, and for a certificate that is not valid now what this machine's clock says.</summary>
    public static string Describe(Exception exception, TimeProvider timeProvider)
    {
        var text = Describe(exception);
        return text.Contains(nameof(X509ChainStatusFlags.NotTimeValid), StringComparison.Ordinal)
            ? $"{text}. This machine's clock says {LogText.Show(timeProvider.GetUtcNow())}: set the clock if that is "
                + "wrong, else renew the certificate"
            : text;
    }
}
