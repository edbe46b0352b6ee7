using System.Text.Json.Nodes;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Operations.Doctor;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Operations.Status;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>The options of the command line, one at a time. Answers go to standard output, errors to standard error.
/// </summary>
internal static class Commands
{
    const string Usage = """
        Usage: SensorForwarder [OPTION]

        Without an option it runs the module: reads sensors, stores readings and forwards them, until SIGTERM.

          --status               prints the status of the running module
          --health               checks whether the running module is live; exit code 0 or 1
          --export FILE          writes the readings that wait in the buffer to FILE.csv or FILE.ndjson, also while the
                                 module runs; - is standard output. Options after it: --with-forwarded also writes
                                 forwarded readings that are still in the buffer; --force replaces an existing file.
                                 Only its owner can read the file
          --replay FROM TO       makes the running module send the forwarded readings of that time again, if it still
                                 has them, like the direct method replay; times such as 2026-11-24T14:00:00Z
          --enqueue              stores readings from standard input, one JSON value per line, through the running
                                 module; exit code 0 when all of them are on its volume, 75 when it cannot store them
          --check-buffer         checks the whole buffer for damage; exit code 0 or 1
          --doctor               lists buses, chips, serial ports, permissions, the settings that would work, and
                                 how many messages edgeHub lost. Listens to free serial ports for some seconds, and
                                 reads the serial and Modbus sensors of the settings file once if no module runs
          --version
          --help

        Boot values are environment variables, listed in docs/settings.md. --status asks port Web__Port (9600) of this
        machine; --health asks a socket in Buffer__Directory, or that port; --replay and --enqueue ask sockets there.
        --export and --check-buffer read Buffer__Directory, with its key if it is encrypted.
        """;

    static readonly string[] Options =
    [
        "--status", "--health", "--export", "--replay", "--enqueue", "--check-buffer", "--doctor", "--version",
        "--help",
    ];

    /// <summary>Carries out the options that need no boot values, and refuses a wrong command line.</summary>
    /// <returns>The exit code; null: continue with the boot values.</returns>
    public static int? AnswerAtOnce(string[] args)
    {
        switch (args)
        {
            case []: return null;
            case ["--help" or "-h"]:
                Console.WriteLine(Usage);
                return ExitCode.Ok;
            case ["--version"]:
                Console.WriteLine($"SensorForwarder {ModuleStatus.Version}");
                return ExitCode.Ok;
            case ["--export", var file, .. var more]
                when more.All(option => option is ReadingExport.WithForwarded or ReadingExport.Force):
                if (ReadingExport.IsKnownFormat(file)) return null;
                return Misused($"--export: '{LogText.Clean(file)}' ends neither in .csv nor in .ndjson, and is not -");
            case ["--export"]:
                return Misused(
                    "--export needs the name of a file that ends in .csv or .ndjson, or - for standard output");
            case ["--replay", _, _]: return null;
            case ["--replay", ..]: return Misused("--replay needs two times, such as 2026-11-24T14:00:00Z");
            case ["--status" or "--health" or "--enqueue" or "--check-buffer" or "--doctor"]: return null;
            default: return Misused(Explain(args));
        }
    }

    /// <summary>Carries out an option that needs boot values. Called after <see cref="AnswerAtOnce"/>.</summary>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(
        string[] args, BootOptions boot, SensorKinds kinds, TimeProvider timeProvider, CancellationToken stop)
    {
        try
        {
            switch (args[0])
            {
                case "--status": return await RunningModule.ShowStatusAsync(boot, stop);
                case "--health": return await RunningModule.ShowHealthAsync(boot, timeProvider, stop);
                case "--export": return await ReadingExport.RunAsync(args[1], args[2..], boot, timeProvider, stop);
                case "--replay": return await RunningModule.ReplayAsync(boot, args[1], args[2], timeProvider, stop);
                case "--enqueue": return await Enqueue.RunAsync(boot, timeProvider, stop);
                case "--check-buffer": return await BufferCheck.RunAsync(boot, timeProvider, stop);
                default:
                    var status = await MethodSocket.AskAsync(boot, "getStatus", [], timeProvider, stop);
                    var world = new SensorWorld(boot.Sensors, timeProvider);
                    var known = await KnownSensors.FindAsync(boot, kinds, world, stop);
                    var examination = Examination.Make(kinds, world, known.Running, known.Configured);
                    Console.Write(
                        Prescription.ToText(examination, status?["payload"] as JsonObject, known.Problems));
                    return ExitCode.Ok;
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return Failed("stopped by a signal");
        }
        catch (BufferUnavailableException exception)
        {
            return Failed(exception.Message);
        }
    }

    public static int Failed(string text)
    {
        Console.Error.WriteLine(text);
        return ExitCode.Failed;
    }

    static int Misused(string text)
    {
        Console.Error.WriteLine($"{text}; --help lists the options");
        return ExitCode.Usage;
    }

    static string Explain(string[] args)
    {
        if (args.FirstOrDefault(arg => !Options.Contains(arg)) is not { } wrong) return "one option at a time";
        if (args[0] is "--export")
            return $"--export takes one file, and {ReadingExport.WithForwarded} and {ReadingExport.Force} after it";
        return $"there is no option '{LogText.Clean(wrong)}'{NearestName.Find(wrong, Options).Hint}";
    }
}
