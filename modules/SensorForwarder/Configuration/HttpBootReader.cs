using SensorForwarder.Forwarding.Http;
using SensorForwarder.Net;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Configuration;

/// <summary>Reads the boot values <c>Http__*</c>. Its messages show no secret.</summary>
internal static class HttpBootReader
{
    // Headers that the sink sets.
    static readonly string[] Reserved =
        ["Idempotency-Key", "Batch-Lane", "Authorization", "Host", "Connection", "Transfer-Encoding", "Expect"];

    /// <param name="values">All boot values.</param>
    /// <param name="endpoint"><c>Http__Endpoint</c>; null: not set.</param>
    /// <exception cref="BootValueException">A value is malformed; the message names the variable.</exception>
    public static HttpSinkOptions Read(BootValues values, Uri? endpoint)
    {
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var (name, text) in values.Below("Http__Headers")) headers[name] = ReadHeader(name, text);
        return new(values.Get(BootTable.HttpAuthorization), headers)
        {
            Tls = ReadTls(
                values, BootTable.HttpCaFile, BootTable.HttpClientCertificateFile, BootTable.HttpClientKeyFile),
            SecretsFor = values.Get(BootTable.HttpSecretsFor, endpoint is null ? [] : [UrlText.Origin(endpoint)]),
            Addresses = new(
                values.Get(BootTable.HttpAllowedHosts), endpoint is null ? null : AddressRule.HostOf(endpoint)),
        };
    }

    /// <summary>The names of the TLS files of a receiver. The files are read before each connection, so they may be
    /// created later.</summary>
    /// <exception cref="BootValueException">A key without a certificate; the message names the variable.</exception>
    public static TlsFiles ReadTls(
        BootValues values, Option<string?> roots, Option<string?> certificate, Option<string?> key)
    {
        var files = new TlsFiles { Roots = Named(roots), Certificate = Named(certificate), Key = Named(key) };
        return files is { Certificate: null, Key: not null }
            ? throw new BootValueException($"{files.Key} is a key without a certificate; set {certificate.Name} too.")
            : files;

        NamedFile? Named(Option<string?> option) => values.Get(option) is { } path ? new(option.Name, path) : null;
    }

    static string ReadHeader(string name, string text)
    {
        var option = BootTable.HttpHeaders with { Name = $"Http__Headers__{LogText.Clean(name)}" };
        using var probe = new HttpRequestMessage();
        return Reserved.Contains(name, StringComparer.OrdinalIgnoreCase)
            || !probe.Headers.TryAddWithoutValidation(name, "")
            ? throw new BootValueException($"{option.Name}: this header can't be set; use a name such as X-Api-Key, "
                + $"but not {string.Join(", ", Reserved)}.")
            : BootValues.Read(option, text)!;
    }
}
