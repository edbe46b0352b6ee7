using SensorForwarder.Configuration;
using SensorForwarder.Operations.Doctor;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>What the program does instead of being the module. One option at a time; the answer goes to standard
/// output, what is wrong to standard error.</summary>
internal static class Commands
{
    const string Usage = """
        Usage: SensorForwarder [OPTION]

        Without an option it is the module: it reads sensors, keeps readings, and forwards them, until SIGTERM.

          --status               what the running module does, as a page to read
          --health               whether the running module lives; exit code 0 or 1
          --export FILE          readings that wait in the buffer into FILE.csv or FILE.ndjson, also while the module
                                 runs; with --with-forwarded behind it also those that were forwarded and are still
                                 there;
                                 a file that exists is replaced only with --force; only its owner can read the file
          --check-buffer         reads the whole buffer in search of damage; exit code 0 or 1
          --doctor               which buses, chips and permissions are here, and the settings that would work
          --version
          --help

        Boot values are environment variables: README.md has them all. --status asks port Web__Port (9600) of this
        machine, --health a socket in Buffer__Directory, or that port; --export and --check-buffer read
        Buffer__Directory, with its key where it is encrypted.
        """;

    static readonly string[] Options =
        ["--status", "--health", "--export", "--check-buffer", "--doctor", "--version", "--help"];

    /// <summary>What needs no boot values.</summary>
    /// <returns>The exit code; null when there is more to do.</returns>
    public static int? AnswerAtOnce(string[] args)
    {
        switch (args)
        {
            case []: return null;
            case ["--help" or "-h"]:
                Console.WriteLine(Usage);
                return ExitCode.Ok;
            case ["--version"]:
                Console.WriteLine($"SensorForwarder {StatusWriter.Version}");
                return ExitCode.Ok;
            case ["--export", var file, .. var more]
                when more.All(option => option is ReadingExport.WithForwarded or ReadingExport.Force):
                if (ReadingExport.IsKnownFormat(file)) return null;
                return Misused($"--export: '{LogText.Clean(file)}' ends neither in .csv nor in .ndjson");
            case ["--export"]: return Misused("--export needs the name of a file that ends in .csv or .ndjson");
            case ["--status" or "--health" or "--check-buffer" or "--doctor"]: return null;
            default: return Misused(Explain(args));
        }
    }

    /// <summary>Does what <see cref="AnswerAtOnce"/> left.</summary>
    public static async Task<int> RunAsync(
        string[] args, BootOptions boot, TimeProvider timeProvider, CancellationToken stop)
    {
        try
        {
            switch (args[0])
            {
                case "--status": return await RunningModule.ShowStatusAsync(boot, stop);
                case "--health": return await RunningModule.ShowHealthAsync(boot, timeProvider, stop);
                case "--export": return await ReadingExport.RunAsync(args[1], args[2..], boot, timeProvider, stop);
                case "--check-buffer": return await BufferCheck.RunAsync(boot, timeProvider, stop);
                default:
                    Console.Write(Prescription.ToText(Examination.Make(new(boot.Sensors, timeProvider), [])));
                    return ExitCode.Ok;
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return Failed("ended by a signal");
        }
    }

    public static int Failed(string text)
    {
        Console.Error.WriteLine(text);
        return ExitCode.Failed;
    }

    static int Misused(string text)
    {
        Console.Error.WriteLine($"{text}; --help shows what there is");
        return ExitCode.Usage;
    }

    static string Explain(string[] args)
    {
        if (args.FirstOrDefault(arg => !Options.Contains(arg)) is not { } wrong) return "one option at a time";
        if (args[0] is "--export")
            return $"--export takes one file, and {ReadingExport.WithForwarded} and {ReadingExport.Force} behind it";
        return $"there is no option '{LogText.Clean(wrong)}'{NearestName.Find(wrong, Options).Hint}";
    }
}
