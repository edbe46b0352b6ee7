using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Hub;
using EdgeSimulator.Manifests;
using EdgeSimulator.Modules;

namespace EdgeSimulator.Runs;

/// <summary>Defines the command line and parses it into <see cref="RunOptions"/>. An error is one line on stderr and
/// exit code 2.</summary>
internal static class CommandLine
{
    const string About = """
        Runs an Azure IoT Edge module without Azure, Docker or Python: a local stand-in for the IoT Edge runtime.
        Serves edgeHub's MQTT endpoint over TLS on a loopback address and the workload API on a Unix socket, holds the
        module twin, starts the module as edgeAgent does, displays what arrives, and checks that no reading is lost.

        Examples (dotnet run --project tests/EdgeSimulator -- ...):
          (no options)                                         run until Ctrl+C
          --duration 40 --blackout 10:15 --report r.json       40 s, 15 s of them without network
          --duration 60 --kill-every 7 --http                  SIGKILL every 7 s, telemetry over HTTP
          --duration 60 --hub-restarts 15 --hub-drops 20       edgeHub restarts, then loses an acknowledged message
          --api 8080                                           REST API: curl localhost:8080 lists its endpoints
          --manifest deployment.template.json                  a deployment's environment, settings and routes
          --no-module                                          print the environment for a module started by hand
          --sender Weather                                     another module may send to the input Weather

        Exit code: 0 if every committed reading arrived and every message fits docs/schemas, 1 if not, 2 if the command line is invalid.
        """;

    const string DefaultModule = "SensorForwarder";

    const string DefaultDesired = """
        {"batchSize":20,"uploadIntervalSeconds":2,"pollIntervalSeconds":1,"sensors":{"host":{"kind":"host"},
        "attic":{"kind":"simulated","intervalSeconds":0.5},"cellar":{"kind":"simulated","intervalSeconds":0.2,"seed":7}}}
        """;

    static readonly Option<TimeSpan?> Duration = Seconds("--duration", "length of the run (default: until Ctrl+C)");
    static readonly Option<BlackoutWindow[]> Blackout = new("--blackout")
    {
        Description = "refuse connections and reset open ones for LENGTH seconds from START; repeatable",
        HelpName = "START:LENGTH",
        CustomParser = result => [.. result.Tokens.Select(token => ParseBlackout(token.Value, result))],
    };

    static readonly Option<TimeSpan?> KillEvery = Seconds("--kill-every", "interval between kills of the module");
    static readonly Option<TimeSpan[]> HubRestarts = Times(
        "--hub-restarts", "time at which edgeHub restarts with the same store and new counters; repeatable");

    static readonly Option<TimeSpan[]> HubDrops = Times(
        "--hub-drops", "time at which edgeHub loses an acknowledged message: a queued one, or the next; repeatable");

    static readonly Option<JsonObject?> Settings = new("--settings")
    {
        Description = "initial desired properties (default: host and two simulated sensors)",
        HelpName = "FILE",
        CustomParser = result => ParseSettings(result.Tokens[0].Value, result),
    };

    static readonly Option<string[]> Manifest = new("--manifest")
    {
        Description = "deployment manifest or template with the module's environment, desired properties (overridden " +
            "by --settings) and routes; repeat for layered deployments, highest priority last",
        HelpName = "FILE",
    };

    static readonly Option<string?> ModulePath = Text(
        "--module", "PATH", "executable or .dll of the module (default: built with the simulator)");

    static readonly Option<bool> NoModule = Flag(
        "--no-module", "start no module; print the environment for one started by hand");

    static readonly Option<IdentitySource> Identity = new("--identity")
    {
        Description = "source of the module's identity: workload (IOTEDGE_* and the workload API; the default) or " +
            "connectionString (EdgeHubConnectionString and EdgeModuleCACertificateFile, as from iotedgehubdev)",
        HelpName = "KIND",
        CustomParser = result => ParseIdentity(result.Tokens[0].Value, result),
    };

    static readonly Option<bool> Http = Flag("--http", "the module sends to an HTTP endpoint of the simulator");
    static readonly Option<bool> SkipSchemas = Flag(
        "--skip-schemas", "do not validate messages against docs/schemas, for measurements");

    static readonly Option<string?> Data = Text(
        "--data", "DIR", "the module's data directory, kept after the run (default: a temporary directory, deleted)");

    static readonly Option<int> Api = new("--api")
    {
        Description = "loopback port of a REST API with twins, methods, messages, faults and report (default: 0, none)",
        HelpName = "PORT",
        CustomParser = result => ParsePort(result.Tokens[0].Value, result),
    };

    static readonly Option<string?> Report = Text(
        "--report", "FILE", "write a JSON report: received, unique, duplicates, lost, lostByHub, sentAgain, ...");

    static readonly Option<IPAddress?> Address = new("--address")
    {
        Description = "local address or host name to listen on, port 8883: loopback, or private for containers"
            + " (default: the first free address of 127.0.0.1 to 127.0.0.254)",
        HelpName = "ADDRESS",
        CustomParser = result => ParseAddress(result.Tokens[0].Value, result),
    };

    static readonly Option<string?> Device = Text("--device", "ID", "device id (default: pi-sim)");
    static readonly Option<string?> Module = Text("--module-id", "ID", "module id (default: SensorForwarder)");

    static readonly Option<string?> Sender = Text(
        "--sender", "ID", "another module that may connect and send, with the environment that is printed; without "
            + "--manifest its messages are routed to the input with the same name");

    public static RootCommand Create(Func<RunOptions, Task<int>> run)
    {
        var command = new RootCommand(About)
        {
            Duration, Blackout, KillEvery, HubRestarts, HubDrops, Settings, Manifest, ModulePath, NoModule, Identity, Http, SkipSchemas, Data, Api,
            Report, Address, Device, Module, Sender,
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
                error = $"--module: file '{path}' not found; build the module first, or name its executable or .dll";
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
                error = $"--manifest '{string.Join("' '", files)}': {exception.Message}";
                return null;
            }
        }

        var moduleId = manifest?.ModuleId ?? parsed.GetValue(Module) ?? DefaultModule;
        var senderId = parsed.GetValue(Sender);
        if (senderId is not null && (senderId == moduleId || senderId.Length == 0 || senderId.AsSpan().IndexOfAny('/', '+', '#') >= 0))
        {
            error = $"--sender '{senderId}': expected the id of another module, without / + #";
            return null;
        }

        return new RunOptions
        {
            Duration = parsed.GetValue(Duration),
            Blackouts = parsed.GetValue(Blackout) ?? [],
            KillEvery = parsed.GetValue(KillEvery),
            HubRestarts = parsed.GetValue(HubRestarts) ?? [],
            HubDrops = parsed.GetValue(HubDrops) ?? [],
            Environment = manifest?.Environment ?? [],
            Routes = manifest?.Routes ?? (senderId is null ? RoutingTable.EverythingUpstream : RoutingTable.WithInput(senderId, moduleId)),
            Desired = parsed.GetValue(Settings) ?? manifest?.Desired ?? JsonNode.Parse(DefaultDesired)!.AsObject(),
            ModulePath = path,
            Identity = parsed.GetValue(Identity),
            Http = parsed.GetValue(Http),
            SkipSchemas = parsed.GetValue(SkipSchemas),
            DataDirectory = parsed.GetValue(Data) is { } data ? Path.GetFullPath(data) : null,
            ApiPort = parsed.GetValue(Api) is > 0 and var port ? port : null,
            ReportFile = parsed.GetValue(Report) is { } report ? Path.GetFullPath(report) : null,
            Address = parsed.GetValue(Address),
            DeviceId = parsed.GetValue(Device) ?? "pi-sim",
            ModuleId = moduleId,
            SenderId = senderId,
        };
    }

    static string BuiltModule() => typeof(CommandLine).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .First(attribute => attribute.Key == "ModulePath").Value!;

    static Option<TimeSpan?> Seconds(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "SECONDS",
        CustomParser = result => ParseSeconds(name, result.Tokens[0].Value, result),
    };

    static Option<TimeSpan[]> Times(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "SECONDS",
        CustomParser = result => [.. result.Tokens.Select(token => ParseSeconds(name, token.Value, result) ?? default)],
    };

    static TimeSpan? ParseSeconds(string name, string text, ArgumentResult result)
    {
        if (TrySeconds(text, out var seconds) && seconds > TimeSpan.Zero)
        {
            return seconds;
        }

        result.AddError($"{name} '{text}': expected a number of seconds above 0, such as 40 or 7.5");
        return null;
    }

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

        result.AddError($"--blackout '{text}': expected START:LENGTH in seconds, such as 10:15");
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

            result.AddError($"--settings '{file}': expected a JSON object with the desired properties");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException)
        {
            result.AddError($"--settings '{file}': {exception.Message}");
        }

        return null;
    }

    static IdentitySource ParseIdentity(string text, ArgumentResult result)
    {
        if (text is "workload" or "connectionString")
        {
            return text == "workload" ? IdentitySource.Workload : IdentitySource.ConnectionString;
        }

        result.AddError($"--identity '{text}': expected workload or connectionString");
        return default;
    }

    static int ParsePort(string text, ArgumentResult result)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port <= 65535)
        {
            return port;
        }

        result.AddError($"--api '{text}': expected a port from 1 to 65535, or 0 for none");
        return 0;
    }

    static IPAddress? ParseAddress(string text, ArgumentResult result)
    {
        try
        {
            if (Dns.GetHostAddresses(text, AddressFamily.InterNetwork).FirstOrDefault(IsPrivate) is { } address)
            {
                return address;
            }
        }
        catch (Exception exception) when (exception is SocketException or ArgumentException)
        {
            // An unknown name gets the same error as an address that is not allowed.
        }

        result.AddError(
            $"--address '{text}': expected a loopback or private IPv4 address or a name of one, such as 127.0.0.5;"
            + " the simulator does not listen on public addresses");
        return null;
    }

    /// <summary>Loopback and the private networks of RFC 1918, which container engines use.</summary>
    static bool IsPrivate(IPAddress address) =>
        IPAddress.IsLoopback(address) || address.GetAddressBytes() is [10, ..] or [172, >= 16 and <= 31, ..] or [192, 168, ..];

    static bool TrySeconds(string text, out TimeSpan seconds)
    {
        var valid = double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number <= 1e8;
        seconds = valid ? TimeSpan.FromSeconds(number) : default;
        return valid;
    }
}
