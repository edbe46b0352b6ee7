using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging;
using SensorForwarder.Files;
using SensorForwarder.Text;

namespace SensorForwarder.Intake;

/// <summary>The token that senders must present. Its file may be replaced at any time; while the file can't be read,
/// all requests are refused. Thread-safe.</summary>
/// <param name="path">The file; white space around the token is ignored.</param>
internal sealed class IntakeToken(string path, ILogger logger)
{
    const int MaxBytes = 4_096;
    const int Sha256Bytes = 32;

    readonly Lock _gate = new();

    // Guarded by _gate.
    FileStatus? _status;
    byte[]? _hash;
    bool _isMissing;

    /// <summary>Whether a request has the token: as <c>Token</c> or <c>Bearer</c>, or as the password of <c>Basic</c>.
    /// </summary>
    /// <param name="authorization">The header <c>Authorization</c>.</param>
    public bool IsIn(string? authorization)
    {
        if (Find(authorization) is not { } given || Read() is not { } expected) return false;

        // Hashes have equal lengths, so the duration of the comparison reveals nothing about the token.
        Span<byte> hash = stackalloc byte[Sha256Bytes];
        SHA256.HashData(given, hash);
        return CryptographicOperations.FixedTimeEquals(hash, expected);
    }

    static byte[]? Find(string? authorization)
    {
        var words = (authorization ?? "").Split(' ', 2, StringSplitOptions.TrimEntries);
        if (words.Length < 2) return null;
        switch (words[0].ToLowerInvariant())
        {
            case "token" or "bearer": return Encoding.UTF8.GetBytes(words[1]);
            case "basic":
                var pair = new byte[words[1].Length];
                if (!Convert.TryFromBase64String(words[1], pair, out var length)) return null;
                var colon = pair.AsSpan(0, length).IndexOf((byte)':');
                return colon < 0 ? null : pair[(colon + 1)..length];
            default: return null;
        }
    }

    byte[]? Read()
    {
        lock (_gate)
        {
            try
            {
                var status = FileStatus.Of(path);
                if (status is not null && status == _status) return _hash;
                using var file = RegularFile.OpenRead(path);
                var bytes = new byte[MaxBytes];
                var length = file.ReadAtLeast(bytes, MaxBytes, throwOnEndOfStream: false);
                var token = Encoding.UTF8.GetString(bytes, 0, length).Trim();
                if (token.Length == 0) throw new IOException("it is empty");
                if (status?.IsReadByOthers == true) IntakeLog.TokenIsOpen(logger, path, status.Mode);
                (_status, _hash, _isMissing) = (status, SHA256.HashData(Encoding.UTF8.GetBytes(token)), false);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                if (!_isMissing) IntakeLog.NoToken(logger, path, LogText.Clean(exception.Message));
                (_status, _hash, _isMissing) = (null, null, true);
            }

            return _hash;
        }
    }
}
