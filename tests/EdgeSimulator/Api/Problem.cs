namespace EdgeSimulator.Api;

/// <summary>A failed request to the REST API, which responds with a problem document (RFC 9457).</summary>
internal sealed class Problem(int status, string title, string detail) : Exception(detail)
{
    public int Status { get; } = status;

    public string Title { get; } = title;

    public static Problem BadRequest(string detail) => new(400, "Bad Request", detail);
}
