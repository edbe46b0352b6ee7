namespace SensorForwarder.Intake.Mqtt;

/// <summary>The address of a broker. Immutable.</summary>
/// <param name="Host">A host name or IP address.</param>
/// <param name="IsTls">Whether connections use TLS.</param>
internal sealed record MqttBroker(string Host, int Port, bool IsTls)
{
    public const string Form = "mqtt://HOST:PORT or mqtts://HOST:PORT, without user, password and path";

    /// <summary><see cref="Form"/> as a regular expression.</summary>
    public const string Pattern = @"^[Mm][Qq][Tt][Tt][Ss]?://[^/?#@\s]+/?$";

    const int StandardPort = 1883, StandardTlsPort = 8883;

    /// <summary>Parses a URL; null: it does not have the form.</summary>
    public static MqttBroker? TryRead(string text)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out var url) || url.Scheme is not ("mqtt" or "mqtts")
            || url.Host.Length == 0 || url.UserInfo.Length > 0 || url.PathAndQuery is not ("" or "/")
            || url.Fragment.Length > 0 || url.Port == 0) return null;
        var isTls = url.Scheme == "mqtts";
        return new(url.IdnHost, url.Port > 0 ? url.Port : isTls ? StandardTlsPort : StandardPort, isTls);
    }

    public override string ToString()
    {
        var host = Host.Contains(':', StringComparison.Ordinal) ? $"[{Host}]" : Host;
        return $"{(IsTls ? "mqtts" : "mqtt")}://{host}:{Port}";
    }
}
