using System.Diagnostics;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>A real PostgreSQL server of Debian with a new database, on a Unix socket only.</summary>
internal sealed class PostgresServer : IAsyncDisposable
{
    const string Missing = "There is no PostgreSQL server here (Debian: apt-get install postgresql).";

    readonly string _directory;
    ChildProcess? _server;

    PostgresServer(string directory) => _directory = directory;

    /// <summary>The connection string for Npgsql.</summary>
    public string ConnectionString => $"Host={_directory};Username=postgres;Database=postgres;Timeout=5;Command Timeout=10";

    string Data => Path.Combine(_directory, "data");

    static string? Programs => Directory.Exists("/usr/lib/postgresql")
        ? Directory.GetDirectories("/usr/lib/postgresql").Select(version => Path.Combine(version, "bin"))
            .LastOrDefault(bin => File.Exists(Path.Combine(bin, "postgres")))
        : null;

    /// <summary>Skips the calling test if no server is installed. In tests/run, which installs one, the test fails instead.</summary>
    public static void Require()
    {
        if (Programs is not null) return;
        Assert.False(Environment.GetEnvironmentVariable("TEST_POSTGRES_REQUIRED") == "1", Missing);
        Assert.Skip(Missing);
    }

    /// <param name="directory">An existing directory for the server's files.</param>
    public static async Task<PostgresServer> StartAsync(string directory)
    {
        // PostgreSQL does not run as root, and its user needs access to its files.
        if (Environment.IsPrivilegedProcess)
        {
            await RunAsync("/", "chmod", "755", Path.GetDirectoryName(directory)!);
            await RunAsync("/", "chown", "postgres", directory);
        }

        var server = new PostgresServer(directory);
        await server.RunAsUserAsync("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", server.Data);
        await server.StartAsync();
        return server;
    }

    public async Task StartAsync()
    {
        var (program, arguments) = AsUser("postgres", "-D", Data, "-k", _directory, "-c", "listen_addresses=");
        _server = ChildProcess.Start(program, arguments, []);
        await _server.LineAsync("ready to accept connections");
    }

    /// <summary>Ends the server like a power cut: after the next start only committed data is there.</summary>
    public async Task CrashAsync()
    {
        await RunAsUserAsync("pg_ctl", "stop", "-m", "immediate", "-D", Data);
        await _server!.DisposeAsync();
    }

    /// <summary>The rows of a query, their columns separated by '|'.</summary>
    public async Task<IReadOnlyList<string>> QueryAsync(string sql) =>
        (await RunAsync(_directory, Path.Combine(Programs!, "psql"), "-h", _directory, "-U", "postgres", "-At", "-c", sql))
        .Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public async ValueTask DisposeAsync()
    {
        if (_server?.IsRunning == true) await CrashAsync();
    }

    static (string Program, string[] Arguments) AsUser(string program, params string[] arguments)
    {
        var path = Path.Combine(Programs!, program);
        return Environment.IsPrivilegedProcess
            ? ("setpriv", ["--reuid=postgres", "--regid=postgres", "--clear-groups", path, .. arguments])
            : (path, arguments);
    }

    static async Task<string> RunAsync(string directory, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = directory,
        };
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}: {await error}");
        return output;
    }

    Task<string> RunAsUserAsync(string program, params string[] arguments)
    {
        var (path, all) = AsUser(program, arguments);
        return RunAsync(_directory, path, all);
    }
}
