using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Net;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Hub;
using EdgeSimulator.Manifests;
using EdgeSimulator.Modules;

namespace EdgeSimulator.Runs;

/// <summary>The command line: what it offers, and its way to <see cref="RunOptions"/>. What is wrong is one line on stderr and exit code 2.</summary>
internal static class CommandLine
{
    const string About = """
        Runs an Azure IoT Edge module without Azure, Docker or Python: a local stand-in for the IoT Edge runtime.
        It serves edgeHub's MQTT side over TLS on a loopback address and the workload API on a Unix socket, keeps the module twin,
        starts the module as edgeAgent does, shows what arrives, and keeps account of every reading.

        Examples (dotnet run --project tests/EdgeSimulator -- ...):
          (no options)                                         run until Ctrl+C
          --duration 40 --blackout 10:15 --report r.json       40 s, of which 15 s without network
          --duration 60 --kill-every 7 --http                  SIGKILL every 7 s, telemetry over HTTP
          --api 8080                                           then: curl localhost:8080 for the REST API
          --manifest deployment.template.json                  environment, desired properties and routes of a deployment
          --no-module                                          print the environment for a module started by hand

        Exit code: 0 if every committed reading arrived, 1 if not, 2 if the command line makes no sense.
        """;

    const string DefaultModule = "SensorForwarder";

    const string DefaultDesired = """
        {"batchSize":20,"uploadIntervalSeconds":2,"pollIntervalSeconds":1,"sensors":{"host":{"kind":"host"},
        "attic":{"kind":"simulated","intervalSeconds":0.5},"cellar":{"kind":"simulated","intervalSeconds":0.2,"seed":7}}}
        """;

    static readonly Option<TimeSpan?> Duration = Seconds("--duration", "stop after so long (default: until Ctrl+C)");
    static readonly Option<BlackoutWindow[]> Blackout = new("--blackout")
    {
        Description = "seconds; repeatable: no connection is accepted, open ones are cut",
        HelpName = "START:LENGTH",
        CustomParser = result => [.. result.Tokens.Select(token => ParseBlackout(token.Value, result))],
    };

    static readonly Option<TimeSpan?> KillEvery = Seconds("--kill-every", "SIGKILL the module and start it again");
    static readonly Option<JsonObject?> Settings = new("--settings")
    {
        Description = "the desired properties to start with (default: host and two simulated sensors)",
        HelpName = "FILE",
        CustomParser = result => ParseSettings(result.Tokens[0].Value, result),
    };

    static readonly Option<string[]> Manifest = new("--manifest")
    {
        Description = "a deployment manifest or its template: the module's environment, desired properties (unless --settings names " +
            "others) and routes; repeatable: layered deployments over it, the one with the highest priority last",
        HelpName = "FILE",
    };

    static readonly Option<string?> ModulePath = Text("--module", "PATH", "the executable or .dll to start (default: the one that this build made)");
    static readonly Option<bool> NoModule = Flag("--no-module", "only serve, and print the environment for a module started by hand");
    static readonly Option<IdentitySource> Identity = new("--identity")
    {
        Description = "how the module learns who it is: workload (IOTEDGE_* and the workload API; the default) or connectionString " +
            "(EdgeHubConnectionString and EdgeModuleCACertificateFile, as iotedgehubdev gives them)",
        HelpName = "KIND",
        CustomParser = result => ParseIdentity(result.Tokens[0].Value, result),
    };

    static readonly Option<bool> Http = Flag("--http", "the module gets an HTTP endpoint served by the simulator instead of the hub");
    static readonly Option<string?> Data = Text(
        "--data", "DIR", "where the module keeps its data (default: a new temporary directory, removed at the end; a named one is kept)");

    static readonly Option<int> Api = new("--api")
    {
        Description = "REST API on this loopback port: twins, methods, messages, faults, report (default: 0, none)",
        HelpName = "PORT",
        CustomParser = result => ParsePort(result.Tokens[0].Value, result),
    };

    static readonly Option<string?> Report = Text("--report", "FILE", "JSON at the end: received, unique, duplicates, lost, maxBacklog, restarts, ...");
    static readonly Option<IPAddress?> Address = new("--address")
    {
        Description = "the loopback address to listen on, port 8883 (default: 127.0.0.1, or the next free one of 127.0.0.0/24)",
        HelpName = "IP",
        CustomParser = result => ParseAddress(result.Tokens[0].Value, result),
    };

    static readonly Option<string?> Device = Text("--device", "ID", "the device id (default: pi-sim)");
    static readonly Option<string?> Module = Text("--module-id", "ID", "the module id (default: SensorForwarder)");

    public static RootCommand Create(Func<RunOptions, Task<int>> run)
    {
        var command = new RootCommand(About)
        {
            Duration, Blackout, KillEvery, Settings, Manifest, ModulePath, NoModule, Identity, Http, Data, Api, Report, Address, Device, Module,
        };
        command.SetAction(parsed =>
        {
            if (Options(parsed, out var error) is { } options)
            {
                return run(options);
            }

            Console.Error.WriteLine(error);
            return Task.FromResult(2);
        });
        return command;
    }

    static RunOptions? Options(ParseResult parsed, out string error)
    {
        error = "";
        string? path = null;
        if (!parsed.GetValue(NoModule))
        {
            path = Path.GetFullPath(parsed.GetValue(ModulePath) ?? BuiltModule());
            if (!File.Exists(path))
            {
                error = $"--module: there is no file '{path}'; build the module first, or name its executable or .dll";
                return null;
            }
        }

        DeploymentManifest? manifest = null;
        if (parsed.GetValue(Manifest) is { Length: > 0 } files)
        {
            try
            {
                manifest = DeploymentManifest.Parse(files.Select(File.ReadAllText), parsed.GetValue(Module), DefaultModule);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or FormatException)
            {
                error = $"--manifest '{string.Join("' '", files)}' cannot be used: {exception.Message}";
                return null;
            }
        }

        return new RunOptions
        {
            Duration = parsed.GetValue(Duration),
            Blackouts = parsed.GetValue(Blackout) ?? [],
            KillEvery = parsed.GetValue(KillEvery),
            Environment = manifest?.Environment ?? [],
            Routes = manifest?.Routes ?? RoutingTable.EverythingUpstream,
            Desired = parsed.GetValue(Settings) ?? manifest?.Desired ?? JsonNode.Parse(DefaultDesired)!.AsObject(),
            ModulePath = path,
            Identity = parsed.GetValue(Identity),
            Http = parsed.GetValue(Http),
            DataDirectory = parsed.GetValue(Data) is { } data ? Path.GetFullPath(data) : null,
            ApiPort = parsed.GetValue(Api) is > 0 and var port ? port : null,
            ReportFile = parsed.GetValue(Report) is { } report ? Path.GetFullPath(report) : null,
            Address = parsed.GetValue(Address),
            DeviceId = parsed.GetValue(Device) ?? "pi-sim",
            ModuleId = manifest?.ModuleId ?? parsed.GetValue(Module) ?? DefaultModule,
        };
    }

    static string BuiltModule() => typeof(CommandLine).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .First(attribute => attribute.Key == "ModulePath").Value!;

    static Option<TimeSpan?> Seconds(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "SECONDS",
        CustomParser = result =>
        {
            if (TrySeconds(result.Tokens[0].Value, out var seconds) && seconds > TimeSpan.Zero)
            {
                return seconds;
            }

            result.AddError($"{name} '{result.Tokens[0].Value}': a number of seconds above 0 is wanted, such as 40 or 7.5");
            return null;
        },
    };

    static Option<string?> Text(string name, string helpName, string description) => new(name)
    {
        Description = description,
        HelpName = helpName,
    };

    static Option<bool> Flag(string name, string description) => new(name) { Description = description };

    static BlackoutWindow ParseBlackout(string text, ArgumentResult result)
    {
        var parts = text.Split(':');
        if (parts.Length == 2 && TrySeconds(parts[0], out var start) && TrySeconds(parts[1], out var length) && length > TimeSpan.Zero)
        {
            return new BlackoutWindow(start, length);
        }

        result.AddError($"--blackout '{text}': START:LENGTH in seconds is wanted, such as 10:15");
        return default;
    }

    static JsonObject? ParseSettings(string file, ArgumentResult result)
    {
        try
        {
            if (JsonNode.Parse(File.ReadAllText(file)) is JsonObject settings)
            {
                return settings;
            }

            result.AddError($"--settings '{file}': a JSON object with the desired properties is wanted");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException)
        {
            result.AddError($"--settings '{file}' cannot be used: {exception.Message}");
        }

        return null;
    }

    static IdentitySource ParseIdentity(string text, ArgumentResult result)
    {
        if (text is "workload" or "connectionString")
        {
            return text == "workload" ? IdentitySource.Workload : IdentitySource.ConnectionString;
        }

        result.AddError($"--identity '{text}': workload or connectionString is wanted");
        return default;
    }

    static int ParsePort(string text, ArgumentResult result)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port <= 65535)
        {
            return port;
        }

        result.AddError($"--api '{text}': a port of 1 to 65535 is wanted, or 0 for none");
        return 0;
    }

    static IPAddress? ParseAddress(string text, ArgumentResult result)
    {
        if (IPAddress.TryParse(text, out var address) && IPAddress.IsLoopback(address) &&
            address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork)
        {
            return address;
        }

        result.AddError($"--address '{text}': a loopback address is wanted, such as 127.0.0.5; the simulator is never reachable from outside");
        return null;
    }

    static bool TrySeconds(string text, out TimeSpan seconds)
    {
        var valid = double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number <= 1e8;
        seconds = valid ? TimeSpan.FromSeconds(number) : default;
        return valid;
    }
}
