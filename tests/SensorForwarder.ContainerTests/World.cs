using System.Text.RegularExpressions;
using DotNet.Testcontainers.Builders;
using DotNet.Testcontainers.Configurations;
using DotNet.Testcontainers.Containers;
using DotNet.Testcontainers.Networks;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.ContainerTests;

/// <summary>
/// A Docker network with the EdgeSimulator in one container and the module in another. The module has the rights of
/// deployment.template.json, and the workload socket is mounted as by edgeAgent.
/// </summary>
sealed partial class World : IAsyncDisposable
{
    public static readonly TimeSpan Timeout = TimeSpan.FromMinutes(3);

    readonly DirectoryInfo _shared = Directory.CreateTempSubdirectory("sensorforwarder-containers-");
    readonly INetwork _network;
    readonly IContainer _simulator;
    readonly List<IContainer> _modules = [];
    readonly List<string> _volumes = [];
    Dictionary<string, string> _environment = [];

    World(JsonObject desired, string[] simulatorOptions)
    {
        // Both containers run as user 1654, like the image.
        File.SetUnixFileMode(_shared.FullName, (UnixFileMode)0b111_111_111);
        File.WriteAllText(InShared("settings.json"), desired.ToJsonString());
        _network = new NetworkBuilder().Build();
        var command = string.Join(' ',
        [
            "exec dotnet /simulator/EdgeSimulator.dll --no-module --address $(hostname)", $"--settings {InShared("settings.json")}",
            $"--data {InShared("data")}", $"--report {InShared("report.json")}", .. simulatorOptions,
        ]);
        _simulator = new ContainerBuilder(Docker.SdkImage)
            .WithNetwork(_network)
            .WithBindMount(Docker.SimulatorFolder, "/simulator", AccessMode.ReadOnly)
            .WithBindMount(_shared.FullName, _shared.FullName)
            .WithEnvironment("TMPDIR", _shared.FullName)
            .WithEnvironment("HOME", _shared.FullName)
            .WithCreateParameterModifier(parameters => parameters.User = "1654")
            .WithCommand("bash", "-c", command)
            .WithWaitStrategy(Wait.ForUnixContainer().UntilMessageIsLogged("no module started"))
            .Build();
    }

    /// <param name="desired">The module twin's desired properties.</param>
    /// <param name="simulatorOptions">Further options of the simulator's command line.</param>
    public static async Task<World> StartAsync(JsonObject desired, params string[] simulatorOptions)
    {
        var world = new World(desired, simulatorOptions);
        await world._network.CreateAsync(TestContext.Current.CancellationToken);
        await world._simulator.StartAsync(TestContext.Current.CancellationToken);
        var (output, _) = await world._simulator.GetLogsAsync(timestampsEnabled: false, ct: TestContext.Current.CancellationToken);
        world._environment = Export().Matches(output).ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value);
        Assert.Contains("IOTEDGE_WORKLOADURI", world._environment.Keys);
        world._environment["Buffer__Directory"] = "/data";
        world._environment["Web__Port"] = "9600";
        // edgeHub's metrics page is not reachable from the module's container.
        world._environment["EdgeHub__MetricsUrl"] = "";
        return world;
    }

    /// <summary>Creates a volume that is removed on disposal.</summary>
    /// <param name="options">Options of <c>docker volume create</c>.</param>
    public async Task<string> CreateVolumeAsync(params string[] options)
    {
        var name = (await Docker.RunAsync(["volume", "create", .. options])).Trim();
        _volumes.Add(name);
        return name;
    }

    /// <summary>Creates and starts a container with the module.</summary>
    public async Task<IContainer> StartModuleAsync(
        string dataVolume, IReadOnlyDictionary<string, string>? environment = null, Func<ContainerBuilder, ContainerBuilder>? configure = null)
    {
        var builder = new ContainerBuilder(ModuleImage.Name)
            .WithNetwork(_network)
            .WithBindMount(_shared.FullName, _shared.FullName, AccessMode.ReadOnly)
            .WithVolumeMount(dataVolume, "/data")
            .WithEnvironment(_environment)
            .WithEnvironment(environment ?? new Dictionary<string, string>())
            .WithCreateParameterModifier(parameters =>
            {
                parameters.HostConfig!.ReadonlyRootfs = true;
                parameters.HostConfig.CapDrop = ["ALL"];
                parameters.HostConfig.SecurityOpt = ["no-new-privileges"];
            });
        var module = (configure?.Invoke(builder) ?? builder).Build();
        _modules.Add(module);
        await module.StartAsync(TestContext.Current.CancellationToken);
        return module;
    }

    public Task DisconnectAsync(IContainer container) => Docker.RunAsync("network", "disconnect", _network.Name, container.Id);

    public Task ConnectAsync(IContainer container) => Docker.RunAsync("network", "connect", _network.Name, container.Id);

    /// <summary>Waits until the module's status meets a condition, and returns it.</summary>
    public static async Task<JsonObject> UntilAsync(IContainer module, string what, Func<JsonObject, bool> condition)
    {
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(10) };
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        timeout.CancelAfter(Timeout);
        JsonObject? status = null;
        while (!timeout.IsCancellationRequested)
        {
            try
            {
                // Looked up each time: a reconnected container may have a different address.
                var address = await Docker.RunAsync("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", module.Id);
                status = JsonNode.Parse(await http.GetStringAsync(new Uri($"http://{address.Trim()}:9600/status"), timeout.Token))!.AsObject();
                if (condition(status)) return status;
            }
            catch (Exception exception) when (exception is HttpRequestException or UriFormatException or OperationCanceledException)
            {
                // The module is starting, stopped or disconnected.
            }

            await Task.Delay(TimeSpan.FromSeconds(0.5), TimeProvider.System, TestContext.Current.CancellationToken);
        }

        Assert.Fail($"{what}: not within {Timeout.TotalMinutes} minutes. Status: {status?.ToJsonString()}. {await LogEndAsync(module)}");
        throw new System.Diagnostics.UnreachableException();
    }

    /// <summary>The last lines of the module's log, for failure messages.</summary>
    public static async Task<string> LogEndAsync(IContainer module)
    {
        var (log, _) = await module.GetLogsAsync(timestampsEnabled: false);
        return $"The module's log ends with: {log[^Math.Min(3000, log.Length)..]}";
    }

    /// <summary>Removes the module's container but not its volume.</summary>
    public async Task RemoveAsync(IContainer module)
    {
        await CheckLogAsync(module);
        await Docker.RunAsync("rm", "-f", module.Id);
        _modules.Remove(module);
        await module.DisposeAsync();
    }

    public static Task<JsonObject> UntilCommittedAsync(IContainer module, long readings) =>
        UntilAsync(module, $"{readings} readings committed", status => (long)status["lastCommittedId"]! >= readings);

    /// <summary>Ends the run gracefully and returns the simulator's report.</summary>
    public async Task<JsonObject> VerdictAsync()
    {
        // The simulator waits for the module to flush, which takes long after a long disconnection.
        await Docker.RunAsync("stop", "--time", "170", _simulator.Id);
        foreach (var module in _modules) await CheckLogAsync(module);
        return JsonNode.Parse(await File.ReadAllTextAsync(InShared("report.json"), TestContext.Current.CancellationToken))!.AsObject();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var module in _modules) await module.DisposeAsync();
        await _simulator.DisposeAsync();
        await _network.DisposeAsync();
        foreach (var volume in _volumes) await Docker.RunAsync("volume", "rm", volume);
        _shared.Delete(recursive: true);
    }

    static async Task CheckLogAsync(IContainer module)
    {
        var (output, error) = await module.GetLogsAsync(timestampsEnabled: false, ct: TestContext.Current.CancellationToken);
        LogLine.Check($"{output}{error}".Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    string InShared(string name) => Path.Combine(_shared.FullName, name);

    [GeneratedRegex("^export (\\w+)='(.*)'\r?$", RegexOptions.Multiline)]
    private static partial Regex Export();
}
