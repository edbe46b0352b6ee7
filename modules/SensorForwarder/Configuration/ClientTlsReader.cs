using SensorForwarder.EdgeHub;
using SensorForwarder.Net;

namespace SensorForwarder.Configuration;

/// <summary>Reads the names of the files that TLS to a receiver needs. The files themselves are read before a
/// connection is made: they may come later.</summary>
internal static class ClientTlsReader
{
    /// <exception cref="BootValueException">A key without a certificate; the message names the variable.</exception>
    public static TlsFiles Read(
        (string Variable, string? File) roots,
        (string Variable, string? File) certificate,
        (string Variable, string? File) key)
    {
        return certificate.File is null && key.File is not null
            ? throw new BootValueException(
                $"{Named(key)} is the key of no certificate; set {certificate.Variable} too.")
            : new() { Roots = Named(roots), Certificate = Named(certificate), Key = Named(key) };

        static NamedFile? Named((string Variable, string? File) value) =>
            value.File is { } file ? new(value.Variable, file) : null;
    }
}
