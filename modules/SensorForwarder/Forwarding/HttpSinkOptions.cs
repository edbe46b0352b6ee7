namespace SensorForwarder.Forwarding;

/// <summary>What the HTTP sink sends besides the batch, and whom it trusts. Boot values, since they are secrets; never
/// logged.</summary>
/// <param name="Authorization">The whole header value, such as <c>Bearer ...</c>.</param>
/// <param name="Headers">More headers by name.</param>
internal sealed record HttpSinkOptions(string? Authorization, IReadOnlyDictionary<string, string> Headers)
{
    public ClientTls Tls { get; init; } = new();

    public override string ToString() => $"{Headers.Count} headers";
}
