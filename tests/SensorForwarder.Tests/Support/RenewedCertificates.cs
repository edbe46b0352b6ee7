using System.Diagnostics;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;

namespace SensorForwarder.Tests.Support;

/// <summary>How files are replaced.</summary>
internal enum Replacement
{
    /// <summary>The file is overwritten.</summary>
    InPlace,

    /// <summary>A new file is renamed over the old one, as certbot and most agents do.</summary>
    Rename,

    /// <summary>The files are links into a directory that is itself a link, and only that link changes, as in
    /// Kubernetes.</summary>
    LinkSwap,
}

/// <summary>
/// A certificate authority that can be replaced while a test runs, with a client's files (<c>ca.pem</c>,
/// <c>client.pem</c>, <c>client.key</c>) and a server that requires the client's certificate. The client's files and
/// the server are replaced separately.
/// </summary>
internal sealed class RenewedCertificates : IDisposable
{
    readonly List<Certificates> _authorities = [];
    readonly List<X509Certificate2> _issued = [];
    Certificates _serverAuthority;
    X509Certificate2 _serverCertificate;
    int _versions;

    public RenewedCertificates()
    {
        _serverAuthority = Issuer = NewAuthority();
        _serverCertificate = Keep(Issuer.Issue());
    }

    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("tls-").FullName;

    public string CaFile => Path.Combine(Directory, "ca.pem");

    public string CertificateFile => Path.Combine(Directory, "client.pem");

    public string KeyFile => Path.Combine(Directory, "client.key");

    /// <summary>The authority that issues the next files.</summary>
    public Certificates Issuer { get; private set; }

    /// <summary>The three boot values of the HTTP sink.</summary>
    public (string, string)[] HttpVariables =>
        [("Http__CaFile", CaFile), ("Http__ClientCertificateFile", CertificateFile), ("Http__ClientKeyFile", KeyFile)];

    /// <summary>Replaces the authority: the server's certificate is reissued, and only clients of the new authority are
    /// accepted.</summary>
    public void ReplaceAuthority()
    {
        Issuer = NewAuthority();
        _serverCertificate = Keep(Issuer.Issue());
        _serverAuthority = Issuer;
    }

    public X509Certificate2 Issue(string name) => Keep(Issuer.Issue(name));

    /// <summary>Issues a client certificate and writes the client's files.</summary>
    public X509Certificate2 Write(string client, Replacement how = Replacement.InPlace, int days = 5)
    {
        var certificate = Keep(Issuer.Issue(client, days: days));
        (string Name, string Text)[] files =
        [
            ("ca.pem", Certificates.Pem(Issuer.Root)), ("client.pem", Certificates.Pem(certificate)),
            ("client.key", Certificates.KeyPem(certificate)),
        ];
        if (how == Replacement.LinkSwap)
        {
            Swap(files);
            return certificate;
        }

        foreach (var (name, text) in files)
        {
            var path = Path.Combine(Directory, name);
            File.WriteAllText(how == Replacement.Rename ? $"{path}.new" : path, text);
            if (how == Replacement.Rename) File.Move($"{path}.new", path, overwrite: true);
        }

        return certificate;
    }

    /// <summary>Starts a server that uses the current certificate for each new connection.</summary>
    /// <param name="answer">Handles requests. The client's certificate is from the current authority.</param>
    public Task<Receiver> ListenAsync(RequestDelegate answer) => Receiver.StartAsync(answer, listen =>
    {
        listen.Protocols = HttpProtocols.Http1AndHttp2;
        listen.UseHttps(https =>
        {
            https.ServerCertificateSelector = (_, _) => _serverCertificate;
            https.ClientCertificateMode = ClientCertificateMode.RequireCertificate;
            https.ClientCertificateValidation = (client, _, _) => client.Issuer == _serverAuthority.Root.Subject;
        });
    });

    public void Dispose()
    {
        _authorities.ForEach(authority => authority.Dispose());
        _issued.ForEach(certificate => certificate.Dispose());
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    void Swap((string Name, string Text)[] files)
    {
        var version = System.IO.Directory.CreateDirectory(Path.Combine(Directory, $"..v{++_versions}")).FullName;
        foreach (var (name, text) in files) File.WriteAllText(Path.Combine(version, name), text);
        var data = Path.Combine(Directory, "..data");
        File.CreateSymbolicLink($"{data}_tmp", version);
        using (var move = Process.Start("mv", ["-T", $"{data}_tmp", data])) move.WaitForExit();
        foreach (var (name, _) in files)
        {
            var path = Path.Combine(Directory, name);
            if (!File.Exists(path)) File.CreateSymbolicLink(path, Path.Combine("..data", name));
        }
    }

    Certificates NewAuthority()
    {
        var authority = new Certificates($"root {_authorities.Count + 1}");
        _authorities.Add(authority);
        return authority;
    }

    X509Certificate2 Keep(X509Certificate2 certificate)
    {
        _issued.Add(certificate);
        return certificate;
    }
}
