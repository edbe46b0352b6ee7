using Microsoft.Extensions.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Configuration;

/// <summary>Reads <c>Http__*</c>. What is wrong with them is said without showing them.</summary>
internal static class HttpBootReader
{
    // The sink sets these itself.
    static readonly string[] Reserved =
        ["Idempotency-Key", "Authorization", "Host", "Connection", "Transfer-Encoding", "Expect"];

    /// <param name="configuration">All boot values.</param>
    /// <param name="endpoint"><c>Http__Endpoint</c>; null: none.</param>
    /// <exception cref="BootValueException">A value is malformed; the message names the variable.</exception>
    public static HttpSinkOptions Read(IConfiguration configuration, Uri? endpoint)
    {
        var authorization = Text(configuration, "Http:Authorization");
        if (authorization is not null) CheckHeaderValue("Http__Authorization", authorization);
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var header in configuration.GetSection("Http:Headers").GetChildren())
        {
            // A file or a heredoc leaves a line break at its end.
            var value = header.Value?.Trim() ?? "";
            CheckHeader(header.Key, value);
            headers[header.Key] = value;
        }

        return new(authorization, headers)
        {
            Tls = ClientTlsReader.Read(
                ("Http__CaFile", Text(configuration, "Http:CaFile")),
                ("Http__ClientCertificateFile", Text(configuration, "Http:ClientCertificateFile")),
                ("Http__ClientKeyFile", Text(configuration, "Http:ClientKeyFile"))),
            SecretsFor = ReadSecretsFor(configuration) ?? (endpoint is null ? [] : [UrlText.Origin(endpoint)]),
            Addresses = new(ReadHosts(configuration), endpoint is null ? null : AddressRule.HostOf(endpoint)),
        };
    }

    static List<string>? ReadSecretsFor(IConfiguration configuration)
    {
        if (Text(configuration, "Http:SecretsFor") is not { } text) return null;
        var origins = new List<string>();
        foreach (var entry in Entries(text))
        {
            if (!SettingDefinition.TryReadEndpoint(entry, out var url) || url.PathAndQuery != "/"
                || url.Fragment.Length > 0)
            {
                throw new BootValueException($"Http__SecretsFor: entry {origins.Count + 1} is not an origin such as "
                    + "https://receiver.example:8443 (scheme, host and port, without user, path and query); "
                    + "entries are separated by commas.");
            }

            origins.Add(UrlText.Origin(url));
        }

        return origins;
    }

    static List<string> ReadHosts(IConfiguration configuration)
    {
        var hosts = new List<string>();
        foreach (var entry in Entries(Text(configuration, "Http:AllowedHosts") ?? ""))
        {
            var name = entry.StartsWith("*.", StringComparison.Ordinal) ? entry[2..] : entry;
            if (Uri.CheckHostName(name) == UriHostNameType.Unknown)
            {
                throw new BootValueException(
                    $"Http__AllowedHosts: entry {hosts.Count + 1} is not a host name, an address, or "
                    + "*.example.com; it has no scheme and no port, and entries are separated by commas.");
            }

            hosts.Add(entry);
        }

        return hosts;
    }

    static string[] Entries(string text) =>
        text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    static void CheckHeader(string name, string value)
    {
        var variable = $"Http__Headers__{LogText.Clean(name)}";
        using var probe = new HttpRequestMessage();
        if (Reserved.Contains(name, StringComparer.OrdinalIgnoreCase)
            || !probe.Headers.TryAddWithoutValidation(name, ""))
            throw new BootValueException(
                $"{variable}: there is no such header to set; it must be a name such as X-Api-Key, and none that the "
                + "module sets itself.");
        CheckHeaderValue(variable, value);
    }

    static void CheckHeaderValue(string variable, string value)
    {
        if (value.Any(c => c is not '\t' and (< ' ' or > '~')))
            throw new BootValueException(
                $"{variable}: the value has a character that a header can't have (a line break, or one beyond ASCII).");
    }

    static string? Text(IConfiguration configuration, string key) =>
        configuration[key] is { } value && !string.IsNullOrWhiteSpace(value) ? value.Trim() : null;
}
