using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Configuration;

/// <summary>Reads the files that <see cref="ClientTls"/> is made of; for each the variable that names it, so that what is wrong says so.</summary>
internal static class ClientTlsReader
{
    /// <exception cref="BootValueException">A file can't be read, or they don't belong together; the message names the variable.</exception>
    public static ClientTls Read((string Variable, string? File) roots, (string Variable, string? File) certificate, (string Variable, string? File) key)
    {
        var tls = new ClientTls { Roots = roots.File is { } file ? ReadCertificates(roots.Variable, file) : null };
        if (certificate.File is null)
        {
            return key.File is null
                ? tls
                : throw new BootValueException($"{key.Variable}: '{LogText.Clean(key.File)}' is the key of no certificate; set {certificate.Variable} too.");
        }

        var chain = ReadCertificates(certificate.Variable, certificate.File);
        try
        {
            return tls with { Certificate = X509Certificate2.CreateFromPemFile(certificate.File, key.File), Chain = [.. chain.Skip(1)] };
        }
        catch (Exception exception) when (exception is CryptographicException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BootValueException(key.File is null
                ? $"{certificate.Variable}: '{LogText.Clean(certificate.File)}' has no key that fits; set {key.Variable}, or append the key (PEM, not encrypted)."
                : $"{key.Variable}: '{LogText.Clean(key.File)}' has no key (PEM, not encrypted) that fits {certificate.Variable}: {LogText.Clean(exception.Message)}");
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
}
