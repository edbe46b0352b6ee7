using System.Net;
using Microsoft.AspNetCore.Http;

namespace SensorForwarder.Operations.Web;

/// <summary>
/// Checks requests before they are processed, and sets the headers of every answer. The pages need no password, so
/// other web sites must not reach them through the browser of a user in the local network. A public host name, whose
/// owner could point it at this device (DNS rebinding), is refused; addresses and names of the local network are
/// served. Thread-safe.
/// </summary>
internal sealed class RequestGuard(params IReadOnlyCollection<string> ownNames)
{
    static readonly string[] LocalDomains = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];

    /// <returns>The status and a sentence if it is refused; null: it is allowed.</returns>
    public (int Status, string Text)? Refuse(HttpRequest request)
    {
        if (!HttpMethods.IsGet(request.Method) && !HttpMethods.IsHead(request.Method))
            return (StatusCodes.Status405MethodNotAllowed, "only GET is allowed: nothing can be changed here");
        if (request.ContentLength > 0 || request.Headers.TransferEncoding.Count > 0)
            return (StatusCodes.Status400BadRequest, "a GET must not have a body");
        if (IsCrossSite(request))
            return (StatusCodes.Status403Forbidden, "a page of another site can't load this; open it directly in the "
                + "browser");
        return IsOwn(request.Host.Host)
            ? null
            : (StatusCodes.Status421MisdirectedRequest, "this host name is not served; use the machine's address or "
                + "name, or add it to Web__AllowedHosts");
    }

    /// <summary>Whether a host name is served. One without a dot can't be in the public DNS: it is Docker's, that of a
    /// service or of the machine.</summary>
    public bool IsOwn(string host)
    {
        var name = host.TrimEnd('.');
        if (name.Length == 0) return false;
        if (!name.Contains('.', StringComparison.Ordinal)
            || IPAddress.TryParse(name.Trim('[', ']'), out _)) return true;
        return LocalDomains.Any(domain => name.EndsWith(domain, StringComparison.OrdinalIgnoreCase))
            || ownNames.Contains(name, StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>Whether a page of another site makes the request; it could also keep connections busy. Following a link
    /// to the page is allowed. (https://www.w3.org/TR/fetch-metadata/)</summary>
    static bool IsCrossSite(HttpRequest request)
    {
        var headers = request.Headers;
        var isLink = request.Path == "/" && headers["Sec-Fetch-Mode"] == "navigate"
            && headers["Sec-Fetch-Dest"] == "document";
        return headers["Sec-Fetch-Site"] == "cross-site" && !isLink;
    }

    /// <summary>Allows the page to load its own style, scripts and data, and nothing else.</summary>
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
