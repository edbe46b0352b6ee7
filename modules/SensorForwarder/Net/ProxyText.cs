namespace SensorForwarder.Net;

/// <summary>Describes failures of the proxy of the environment in words. Stateless.</summary>
internal static class ProxyText
{
    public const string PasswordWanted = "the proxy requires a valid user name and password (407); "
        + "set them with https_proxy=http://USER:PASSWORD@HOST:PORT";

    const string BeforeStatus = "status code '";

    /// <summary>Why the proxy opened no tunnel. Uses only the status of the exception's message, which also contains
    /// the proxy's password.</summary>
    public static string Describe(HttpRequestException exception)
    {
        var start = exception.Message.LastIndexOf(BeforeStatus, StringComparison.Ordinal) + BeforeStatus.Length;
        var status = start < BeforeStatus.Length
            ? ""
            : string.Concat(exception.Message.Skip(start).TakeWhile(char.IsAsciiDigit));
        return status switch
        {
            "407" => PasswordWanted,
            "" => "the proxy opened no tunnel",
            _ => $"the proxy opened no tunnel: it answered with status code '{status}'",
        };
    }
}
