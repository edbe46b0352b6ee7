namespace SensorForwarder.Net;

/// <summary>What is said of a proxy of the environment that lets nothing through.</summary>
internal static class ProxyText
{
    public const string PasswordWanted = "the proxy on the way asks for another user or password (407); "
        + "https_proxy=http://USER:PASSWORD@HOST:PORT names them";

    const string BeforeStatus = "status code '";

    /// <summary>Why there is no tunnel. The framework's message shows the proxy with its password; only
    /// the status is used.</summary>
    public static string Describe(HttpRequestException exception)
    {
        var start = exception.Message.LastIndexOf(BeforeStatus, StringComparison.Ordinal) + BeforeStatus.Length;
        var status = start < BeforeStatus.Length
            ? ""
            : string.Concat(exception.Message.Skip(start).TakeWhile(char.IsAsciiDigit));
        return status switch
        {
            "407" => PasswordWanted,
            "" => "the proxy on the way opened no tunnel",
            _ => $"the proxy on the way opened no tunnel: it answered with status code '{status}'",
        };
    }
}
