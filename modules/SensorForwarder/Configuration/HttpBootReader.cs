using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Configuration;

/// <summary>Reads <c>Http__*</c>. What is wrong with them is said without showing them.</summary>
internal static class HttpBootReader
{
    // The sink sets these itself.
    static readonly string[] Reserved = ["Idempotency-Key", "Authorization", "Host", "Connection", "Transfer-Encoding", "Expect"];

    /// <exception cref="BootValueException">A value is malformed; the message names the variable.</exception>
    public static HttpSinkOptions Read(IConfiguration configuration)
    {
        var authorization = Text(configuration, "Http:Authorization");
        if (authorization is not null) CheckHeaderValue("Http__Authorization", authorization);
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var header in configuration.GetSection("Http:Headers").GetChildren())
        {
            CheckHeader(header.Key, header.Value ?? "");
            headers[header.Key] = header.Value ?? "";
        }

        var (certificate, chain) = ReadClientCertificate(configuration);
        return new(authorization, headers)
        {
            Roots = Text(configuration, "Http:CaFile") is { } file ? ReadCertificates("Http__CaFile", file) : null,
            ClientCertificate = certificate,
            ClientChain = chain,
        };
    }

    static void CheckHeader(string name, string value)
    {
        var variable = $"Http__Headers__{LogText.Clean(name)}";
        using var probe = new HttpRequestMessage();
        if (Reserved.Contains(name, StringComparer.OrdinalIgnoreCase) || !probe.Headers.TryAddWithoutValidation(name, ""))
            throw new BootValueException($"{variable}: there is no such header to set; it must be a name such as X-Api-Key, and none that the module sets itself.");
        CheckHeaderValue(variable, value);
    }

    static void CheckHeaderValue(string variable, string value)
    {
        if (value.Any(c => c is not '\t' and (< ' ' or > '~')))
            throw new BootValueException($"{variable}: the value has a character that a header can't have (a line break, or one beyond ASCII).");
    }

    static (X509Certificate2? Certificate, X509Certificate2Collection Chain) ReadClientCertificate(IConfiguration configuration)
    {
        const string CertificateVariable = "Http__ClientCertificateFile";
        const string KeyVariable = "Http__ClientKeyFile";
        var keyFile = Text(configuration, "Http:ClientKeyFile");
        if (Text(configuration, "Http:ClientCertificateFile") is not { } file)
        {
            return keyFile is null
                ? (null, [])
                : throw new BootValueException($"{KeyVariable}: '{LogText.Clean(keyFile)}' is the key of no certificate; set {CertificateVariable} too.");
        }

        var chain = ReadCertificates(CertificateVariable, file);
        try
        {
            return (X509Certificate2.CreateFromPemFile(file, keyFile), [.. chain.Skip(1)]);
        }
        catch (Exception exception) when (exception is CryptographicException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BootValueException(keyFile is null
                ? $"{CertificateVariable}: '{LogText.Clean(file)}' has no key that fits; set {KeyVariable}, or append the key (PEM, not encrypted)."
                : $"{KeyVariable}: '{LogText.Clean(keyFile)}' has no key (PEM, not encrypted) that fits {CertificateVariable}: {LogText.Clean(exception.Message)}");
        }
    }

    static X509Certificate2Collection ReadCertificates(string variable, string file)
    {
        try
        {
            var certificates = new X509Certificate2Collection();
            certificates.ImportFromPemFile(file);
            if (certificates.Count == 0) certificates.Add(X509CertificateLoader.LoadCertificateFromFile(file));
            return certificates;
        }
        catch (Exception exception) when (exception is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new BootValueException(
                $"{variable}: '{LogText.Clean(file)}' can't be read as certificates (PEM or DER): {LogText.Clean(exception.Message)}");
        }
    }

    static string? Text(IConfiguration configuration, string key) =>
        configuration[key] is { } value && !string.IsNullOrWhiteSpace(value) ? value.Trim() : null;
}
