using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.Files;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Operations;

/// <summary>
/// Checks the certificate and key files once a minute, since a connection that lasts for weeks does not read them. Logs
/// when files become invalid or are renewed, when a certificate is about to expire, and when others can read a key.
/// One loop; <see cref="TlsFiles.Changed"/> is raised on any thread.
/// </summary>
internal sealed class CertificateWatch : BackgroundService
{
    static readonly TimeSpan LookEvery = TimeSpan.FromMinutes(1);
    static readonly TimeSpan WarnBefore = TimeSpan.FromDays(7);
    static readonly TimeSpan WarnEvery = TimeSpan.FromDays(1);

    readonly IReadOnlyList<(TlsFiles Files, Expiry Expiry)> _tls;
    readonly IReadOnlyList<NamedFile> _keys;
    readonly TimeProvider _timeProvider;
    readonly ILogger _logger;
    readonly HashSet<string> _exposed = [];

    public CertificateWatch(BootOptions boot, TimeProvider timeProvider, ILogger<CertificateWatch> logger)
    {
        (_timeProvider, _logger) = (timeProvider, logger);
        _tls = [.. boot.Tls.Select(files => (files, new Expiry()))];
        var bufferKey = boot.BufferKeyFile is { } path ? new NamedFile("Buffer__KeyFile", path) : null;
        _keys = [.. boot.Tls.Select(files => files.KeyFile).Append(bufferKey).OfType<NamedFile>()];

        // In the constructor, before anything starts: the first connection may find a bad file before the first look.
        foreach (var (files, _) in _tls) files.Changed += (before, now) => LogChange(files, before, now);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                Look();
            }
            catch (Exception exception)
            {
                OperationsLog.CertificateWatchFailed(_logger, exception);
            }

            await Task.Delay(LookEvery, _timeProvider, stoppingToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    void Look()
    {
        foreach (var key in _keys)
        {
            if (FileStatus.Of(key.Path) is { IsReadByOthers: true } stamp && _exposed.Add(key.Path))
                OperationsLog.KeyExposed(_logger, key, stamp.Mode, FileStatus.OfProcess().User);
        }

        foreach (var (files, expiry) in _tls)
        {
            if (files.TryRead(out var tls, out _) && tls.FirstToExpire is { } certificate)
                WarnOfExpiry(files.Certificate!, certificate, expiry);
        }
    }

    void WarnOfExpiry(NamedFile file, X509Certificate2 certificate, Expiry expiry)
    {
        var until = new DateTimeOffset(certificate.NotAfter.ToUniversalTime());
        expiry.IsRenewed |= expiry.Until is { } earlier && until > earlier;
        expiry.Until = until;
        var now = _timeProvider.GetUtcNow();
        var left = until - now;
        var isExpired = left <= TimeSpan.Zero;

        // A 24-hour certificate is always in its last week. After a renewal was seen, only its last third counts.
        var third = (certificate.NotAfter - certificate.NotBefore) / 3;
        var early = third < WarnBefore ? third : WarnBefore;
        if (left > (expiry.IsRenewed ? early : WarnBefore)) return;
        if (expiry.WarnedAt is { } warned && expiry.IsExpired == isExpired
            && _timeProvider.GetElapsedTime(warned) < WarnEvery)
        {
            return;
        }

        (expiry.WarnedAt, expiry.IsExpired) = (_timeProvider.GetTimestamp(), isExpired);
        var subject = LogText.Clean(certificate.Subject);
        if (isExpired) OperationsLog.CertificateExpired(_logger, file, subject, LogText.Show(until), LogText.Show(now));
        else OperationsLog.CertificateExpires(_logger, file, subject, LogText.Show(until), left.TotalDays);
    }

    void LogChange(TlsFiles files, string? before, string? now)
    {
        if (now is null)
        {
            NamedFile?[] all = [files.Roots, files.Certificate, files.Key];
            var variables = string.Join(", ", all.OfType<NamedFile>().Select(file => file.Variable));
            if (before is null) OperationsLog.TlsFilesRenewed(_logger, variables);
            else OperationsLog.TlsFilesGood(_logger, variables);
        }
        else if (before is null)
        {
            if (files.Current is null) OperationsLog.TlsFilesMissing(_logger, now);
            else OperationsLog.TlsFilesBad(_logger, now);
        }
    }

    /// <summary>What is known and was logged about the expiry of one certificate file.</summary>
    sealed class Expiry
    {
        public DateTimeOffset? Until { get; set; }

        /// <summary>Whether a certificate was replaced by a later one while this process ran.</summary>
        public bool IsRenewed { get; set; }

        public long? WarnedAt { get; set; }

        public bool IsExpired { get; set; }
    }
}
