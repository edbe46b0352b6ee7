namespace SensorForwarder.Net;

/// <summary>What is said of a proxy of the environment that lets nothing through.</summary>
internal static class ProxyText
{
    public const string PasswordWanted = "the proxy on the way asks for another user or password (407); https_proxy=http://USER:PASSWORD@HOST:PORT names them";

    /// <summary>Why there is no tunnel. The framework's own message shows the proxy with its password, and tells the status nowhere else.</summary>
    public static string Describe(HttpRequestException exception) => exception.Message.Contains("'407'", StringComparison.Ordinal)
        ? PasswordWanted
        : LogText.Clean(LogText.WithoutSecrets(exception.Message));
}
