namespace SensorForwarder.Operations;

/// <summary>Exit codes of the process, listed in docs/operations.md. Those above 63 are from sysexits.h.</summary>
internal static class ExitCode
{
    /// <summary>Done, healthy, or stopped by a signal.</summary>
    public const int Ok = 0;

    /// <summary>The command failed, or the module is not healthy.</summary>
    public const int Failed = 1;

    /// <summary>EX_USAGE: the command line is wrong.</summary>
    public const int Usage = 64;

    /// <summary>EX_SOFTWARE: an unhandled exception, or a part failed.</summary>
    public const int Crash = 70;

    /// <summary>EX_TEMPFAIL: the request was valid; a later attempt may succeed.</summary>
    public const int TryLater = 75;

    /// <summary>EX_CONFIG: a boot value is malformed.</summary>
    public const int Configuration = 78;
}
