namespace SensorForwarder.Operations;

/// <summary>How the process ends; README.md has the table. Those above 63 are of sysexits.h.</summary>
internal static class ExitCode
{
    /// <summary>Done, well, or stopped by a signal.</summary>
    public const int Ok = 0;

    /// <summary>What was asked for failed, or is not well.</summary>
    public const int Failed = 1;

    /// <summary>EX_USAGE: the command line is wrong.</summary>
    public const int Usage = 64;

    /// <summary>EX_SOFTWARE: a fault of the program.</summary>
    public const int Crash = 70;

    /// <summary>EX_CONFIG: a boot value is malformed.</summary>
    public const int Configuration = 78;
}
