using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using SensorForwarder.Files;
using SensorForwarder.Text;

namespace SensorForwarder.Net;

/// <summary>A file and the environment variable that names it; error messages contain both.</summary>
internal sealed record NamedFile(string Variable, string Path)
{
    public override string ToString() => $"{Variable}: '{LogText.Clean(Path)}'";
}

/// <summary>
/// The certificate files for TLS connections to one receiver. Changed files are read again for the next connection,
/// since certificates are renewed while the module runs. While a file is missing, incomplete or does not match the
/// others, the last good content stays in use; the roots independently of the pair of certificate and key. Thread-safe.
/// </summary>
internal sealed class TlsFiles
{
    const int MaxBytes = 4 << 20;

    static readonly ClientTls Standard = new();

    readonly Lock _gate = new();

    // Guarded by _gate.
    readonly Part<X509Certificate2Collection> _roots = new();
    readonly Part<X509Certificate2Collection> _pair = new(); // the first certificate has the key
    string? _fault;
    volatile ClientTls? _current;

    /// <summary>The roots to trust (PEM or DER); null: the system's.</summary>
    public NamedFile? Roots { get; init; }

    /// <summary>The certificate to present (PEM), with the certificates between it and its root; null: none.</summary>
    public NamedFile? Certificate { get; init; }

    /// <summary>The key (PEM) of <see cref="Certificate"/>; null: in the same file.</summary>
    public NamedFile? Key { get; init; }

    /// <summary>The file that contains the key; null: there is no key.</summary>
    public NamedFile? KeyFile => Certificate is null ? null : Key ?? Certificate;

    /// <summary>The last good content, without reading the files; null: none yet.</summary>
    public ClientTls? Current => _current;

    /// <summary>
    /// Raised when the files became bad, became good or have new content, with the fault before and the fault now; null
    /// means none. While the files are bad, the fault can change several times. Not raised for the first content if it
    /// is good. Called under a lock, on the thread that called <see cref="TryRead"/>.
    /// </summary>
    public event Action<string?, string?>? Changed;

    /// <summary>Reads the files that have changed.</summary>
    /// <param name="tls">The last good content; the same object while the content is the same.</param>
    /// <param name="fault">Why there is no good content yet: one line that names variable and file.</param>
    public bool TryRead([NotNullWhen(true)] out ClientTls? tls, [NotNullWhen(false)] out string? fault)
    {
        lock (_gate)
        {
            Look();
            tls = _current;
            fault = tls is null ? _fault! : null;
            return tls is not null;
        }
    }

    void Look()
    {
        if (Roots is null && Certificate is null)
        {
            _current = Standard;
            return;
        }

        var isNew = Roots is { } file && _roots.Look([file], contents => ReadRoots(file, contents[0]));
        if (Certificate is { } certificate)
        {
            isNew |= _pair.Look(
                Key is null ? [certificate] : [certificate, Key],
                contents => ReadPair(certificate, Key, contents[0], contents[^1]));
        }

        var before = _fault;
        _fault = _roots.Fault ?? _pair.Fault;
        var isFirst = _current is null;
        if (isNew && (Roots is null || _roots.Value is not null) && (Certificate is null || _pair.Value is not null))
        {
            var pair = _pair.Value ?? [];
            _current = new() { Roots = _roots.Value, Certificate = pair.FirstOrDefault(), Chain = [.. pair.Skip(1)] };
        }

        if (before != _fault || (isNew && !isFirst)) Changed?.Invoke(before, _fault);
    }

    static X509Certificate2Collection ReadRoots(NamedFile file, byte[] content)
    {
        var certificates = ReadPem(file, Encoding.Latin1.GetString(content));
        try
        {
            if (certificates.Count == 0) certificates.Add(X509CertificateLoader.LoadCertificate(content));
            return certificates;
        }
        catch (CryptographicException)
        {
            throw new BadFileException($"{file} has no certificate (PEM or DER)");
        }
    }

    static X509Certificate2Collection ReadPair(NamedFile certificate, NamedFile? key, byte[] content, byte[] keyContent)
    {
        var text = Encoding.Latin1.GetString(content);
        var certificates = ReadPem(certificate, text);
        if (certificates.Count == 0) throw new BadFileException($"{certificate} has no certificate (PEM)");
        try
        {
            certificates[0] = X509Certificate2.CreateFromPem(text, Encoding.Latin1.GetString(keyContent));
            return certificates;
        }
        catch (Exception exception) when (exception is CryptographicException or ArgumentException)
        {
            throw new BadFileException(key is null
                ? $"{certificate} has no key (PEM, not encrypted) that fits its certificate; append it to the file"
                : $"{key} has no key (PEM, not encrypted) that fits {certificate}: {LogText.Clean(exception.Message)}");
        }
    }

    // Checks for a truncated certificate at the end of the file, which ImportFromPem ignores.
    static X509Certificate2Collection ReadPem(NamedFile file, string text)
    {
        var blocks = 0;
        for (var rest = text.AsSpan(); PemEncoding.TryFind(rest, out var block); rest = rest[block.Location.End..])
            blocks++;
        if (text.AsSpan().Count("-----BEGIN ") > blocks)
            throw new BadFileException($"{file} has an incomplete certificate or key (PEM)");
        try
        {
            var certificates = new X509Certificate2Collection();
            certificates.ImportFromPem(text);
            return certificates;
        }
        catch (CryptographicException exception)
        {
            throw new BadFileException(
                $"{file} can't be read as certificates (PEM): {LogText.Clean(exception.Message)}");
        }
    }

    /// <summary>One or two files that must match each other.</summary>
    sealed class Part<T>
        where T : class
    {
        FileStatus?[] _stamps = [];
        byte[][] _contents = [];

        /// <summary>The last good content.</summary>
        public T? Value { get; private set; }

        /// <summary>What is wrong with the present files; null: nothing.</summary>
        public string? Fault { get; private set; }

        /// <summary>Reads the files if they have changed. Returns whether there is a new value.</summary>
        public bool Look(NamedFile[] files, Func<byte[][], T> read)
        {
            FileStatus?[] stamps = [.. files.Select(file => FileStatus.Of(file.Path))];
            if (Fault is null && !stamps.Contains(null) && stamps.SequenceEqual(_stamps)) return false;
            _stamps = stamps;
            try
            {
                byte[][] contents = [.. files.Zip(stamps, ReadAll)];
                var isSame = Value is not null
                    && contents.Zip(_contents).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second));
                if (!isSame) (Value, _contents) = (read(contents), contents);
                Fault = null;
                return !isSame;
            }
            catch (BadFileException exception)
            {
                Fault = exception.Message;
                return false;
            }
        }

        static byte[] ReadAll(NamedFile file, FileStatus? stamp)
        {
            // Opening a pipe, for example, would block.
            if (stamp?.IsRegularFile == false) throw new BadFileException($"{file} is not a regular file");
            if (stamp?.Bytes > MaxBytes) throw new BadFileException($"{file} has more than {MaxBytes >> 20} MB");
            try
            {
                var content = File.ReadAllBytes(file.Path);
                return content.Length > 0 ? content : throw new BadFileException($"{file} is empty");
            }
            catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
            {
                throw new BadFileException($"{file} does not exist");
            }
            catch (Exception exception) when (exception
                is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
            {
                throw new BadFileException($"{file} can't be read: {LogText.Clean(exception.Message)}");
            }
        }
    }

    sealed class BadFileException(string message) : Exception(message);
}
