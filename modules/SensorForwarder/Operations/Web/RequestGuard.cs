using System.Net;
using Microsoft.AspNetCore.Http;

namespace SensorForwarder.Operations.Web;

/// <summary>
/// What a request must be before anything looks at it, and what every answer carries. The pages need no password, so a
/// web page elsewhere must not reach them through the browser of somebody on site: a name of the public DNS, which its
/// owner may point at us (DNS rebinding), is refused; addresses and names of the local network are served.
/// </summary>
internal sealed class RequestGuard(params IReadOnlyCollection<string> ownNames)
{
    static readonly string[] LocalDomains = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];

    /// <summary>Answers a request that is refused.</summary>
    /// <returns>The status and a sentence; null: the request is fine.</returns>
    public (int Status, string Text)? Refuse(HttpRequest request)
    {
        if (!HttpMethods.IsGet(request.Method) && !HttpMethods.IsHead(request.Method))
            return (StatusCodes.Status405MethodNotAllowed, "only GET is answered: nothing can be changed here");
        if (request.ContentLength > 0 || request.Headers.TransferEncoding.Count > 0)
            return (StatusCodes.Status400BadRequest, "a GET has no body here");
        if (IsCrossSite(request))
            return (StatusCodes.Status403Forbidden, "a web page of another site can't load this; open it in the "
                + "browser");
        return IsOwn(request.Host.Host)
            ? null
            : (StatusCodes.Status421MisdirectedRequest, "this name is not served here; use the address or the name of "
                + "the machine");
    }

    /// <summary>A name without a dot can't be in the public DNS: Docker's, a service's, or the machine's.</summary>
    public bool IsOwn(string host)
    {
        var name = host.TrimEnd('.');
        if (name.Length == 0) return false;
        if (!name.Contains('.', StringComparison.Ordinal)
            || IPAddress.TryParse(name.Trim('[', ']'), out _)) return true;
        return LocalDomains.Any(domain => name.EndsWith(domain, StringComparison.OrdinalIgnoreCase))
            || ownNames.Contains(name, StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>Whether a web page of another site asks, which could also keep connections busy. Following a link to
    /// the page is allowed. (https://www.w3.org/TR/fetch-metadata/)</summary>
    static bool IsCrossSite(HttpRequest request)
    {
        var headers = request.Headers;
        var isLink = request.Path == "/" && headers["Sec-Fetch-Mode"] == "navigate"
            && headers["Sec-Fetch-Dest"] == "document";
        return headers["Sec-Fetch-Site"] == "cross-site" && !isLink;
    }

    /// <summary>The page loads its own style, script and data, and nothing else;
    /// everything else loads nothing.</summary>
    public static void AddHeaders(HttpResponse response)
    {
        var headers = response.Headers;
        headers.ContentSecurityPolicy =
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        headers.XContentTypeOptions = "nosniff";
        headers.XFrameOptions = "DENY";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers.CacheControl = "no-store";
    }
}
