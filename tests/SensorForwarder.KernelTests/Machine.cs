using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Reflection;
using System.Runtime.Versioning;
using System.Text;
using System.Text.RegularExpressions;
using SensorForwarder.KernelTests;
using Xunit.Sdk;
using Xunit.v3;

[assembly: SupportedOSPlatform("linux")]
[assembly: AssemblyFixture(typeof(Machine))]
// All tests use the same machine.
[assembly: Parallelization(Mode = ParallelMode.None)]

namespace SensorForwarder.KernelTests;

/// <summary>
/// A PC emulated by QEMU with Debian's kernel and the simulated chips, booted once for all tests. A shell in the
/// machine reads commands from the second serial port.
/// </summary>
public sealed partial class Machine : IAsyncLifetime
{
    /// <summary>Much longer than any step takes on the slowest machine.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    /// <summary>Kernel modules with their parameters, in loading order.</summary>
    static readonly string[] Modules =
        ["i2c-dev", "crc8", "sht3x", "industrialio", "bmp280", "bmp280-i2c", "wire timeout=1 slave_ttl=2", "w1_therm", "sim_i2c", "sim_w1", "sim_gpio", "sim_bindings"];

    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("sensorforwarder-kernel-");
    string? _missing;
    Process? _qemu;
    Socket? _socket;
    StreamReader? _answers;
    NetworkStream? _commands;

    /// <summary>The folder with the output of ./prepare.</summary>
    public static string Folder { get; } = Assembly.GetExecutingAssembly().GetCustomAttributes<AssemblyMetadataAttribute>()
        .Single(attribute => attribute.Key == "KernelFolder").Value!;

    /// <summary>Set by tests/run, which runs ./prepare: a test that cannot run fails instead of being
    /// skipped.</summary>
    static bool IsRequired => Environment.GetEnvironmentVariable("TEST_KERNEL_REQUIRED") == "1";

    string Console => Path.Combine(_directory.FullName, "console");

    public async ValueTask InitializeAsync()
    {
        if (Environment.GetEnvironmentVariable("TEST_TIER") is null or "quick")
        {
            _missing = "the tier quick has no kernel tests; use ./tests/run or TEST_TIER=full";
            return;
        }

        foreach (var file in (string[])["vmlinuz", "busybox", "edge-to-commit", "app/SensorForwarder", "modules/sim_bindings.ko"])
        {
            if (!File.Exists(Path.Combine(Folder, file)))
            {
                _missing = $"{Path.Combine(Folder, file)} not found; run tests/SensorForwarder.KernelTests/prepare";
                return;
            }
        }

        try
        {
            await BootAsync();
        }
        catch (Exception exception) when (exception is System.ComponentModel.Win32Exception or SocketException or InvalidOperationException)
        {
            _missing = $"the machine did not boot: {exception.Message}";
        }
    }

    /// <summary>Skips the calling test, with the reason, in the tier quick and if the machine did not boot.</summary>
    public void Require()
    {
        if (_missing is null) return;
        Assert.False(IsRequired, _missing);
        Assert.Skip(_missing);
    }

    /// <summary>Runs a command in the machine and returns its output.</summary>
    public async Task<string> RunAsync(string command)
    {
        var (code, output) = await TryRunAsync(command);
        if (code != 0) Assert.Fail($"'{command}' exited with {code}: {output}\nThe console ends with: {ConsoleEnd()}");
        return output;
    }

    public async Task<(int Code, string Output)> TryRunAsync(string command)
    {
        if (_qemu!.HasExited) Assert.Fail($"The machine has stopped. The console ends with: {ConsoleEnd()}");
        await _commands!.WriteAsync(Encoding.ASCII.GetBytes($"{command}\ncode=$?; echo; echo \"@@$code@@\"\n"), TestContext.Current.CancellationToken);
        return await ReadAnswerAsync();
    }

    /// <summary>Writes a text file in the machine.</summary>
    public Task WriteAsync(string path, string content) => RunAsync($"cat > {path} <<'@END@'\n{content}\n@END@");

    /// <summary>Sets a value of a simulated chip.</summary>
    public Task SetAsync(string value, object number) => RunAsync($"echo '{number}' > /sys/kernel/debug/{value}");

    /// <summary>Reads a file of the machine.</summary>
    public async Task<byte[]> ReadAsync(string path)
    {
        var text = await RunAsync($"gzip -c {path} | base64");
        using var zipped = new System.IO.Compression.GZipStream(new MemoryStream(Convert.FromBase64String(text)), System.IO.Compression.CompressionMode.Decompress);
        using var bytes = new MemoryStream();
        await zipped.CopyToAsync(bytes, TestContext.Current.CancellationToken);
        return bytes.ToArray();
    }

    public async ValueTask DisposeAsync()
    {
        _answers?.Dispose();
        _socket?.Dispose();
        if (_qemu is { HasExited: false })
        {
            _qemu.Kill();
            await _qemu.WaitForExitAsync();
        }

        _qemu?.Dispose();
        _directory.Delete(recursive: true);
    }

    async Task BootAsync()
    {
        var initramfs = Path.Combine(_directory.FullName, "initramfs");
        await using (var stream = File.Create(initramfs)) WriteRoot(new(stream));
        var line = Path.Combine(_directory.FullName, "shell");
        _qemu = Process.Start(new ProcessStartInfo("qemu-system-x86_64",
        [
            "-accel", "tcg", "-cpu", "max", "-m", "512", "-smp", "2", "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", Path.Combine(Folder, "vmlinuz"), "-initrd", initramfs, "-append", "console=ttyS0 panic=-1 loglevel=5",
            "-serial", $"file:{Console}", "-chardev", $"socket,id=shell,path={line},server=on,wait=off", "-serial", "chardev:shell",
        ])
        { RedirectStandardError = true })!;
        var errors = _qemu.StandardError.ReadToEndAsync();
        var started = TimeProvider.System.GetTimestamp();
        _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        while (true)
        {
            try
            {
                await _socket.ConnectAsync(new UnixDomainSocketEndPoint(line));
                break;
            }
            catch (SocketException) when (!_qemu.HasExited && TimeProvider.System.GetElapsedTime(started) < Limit)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, CancellationToken.None);
            }
            catch (SocketException exception)
            {
                throw new InvalidOperationException($"{exception.Message} {(_qemu.HasExited ? await errors : "")}");
            }
        }

        _commands = new NetworkStream(_socket);
        _answers = new StreamReader(_commands, Encoding.UTF8);
        var (code, output) = await ReadAnswerAsync();
        if (code != 0) throw new InvalidOperationException($"a kernel module could not be loaded: {output}");
    }

    static void WriteRoot(Initramfs root)
    {
        foreach (var directory in (string[])["proc", "sys", "dev", "tmp"]) root.AddDirectory(directory);
        root.AddFile("bin/busybox", Path.Combine(Folder, "busybox"));
        root.AddFile("bin/edge-to-commit", Path.Combine(Folder, "edge-to-commit"));
        foreach (var file in (string[])["SensorForwarder", "libe_sqlite3.so", "appsettings.json"]) root.AddFile($"app/{file}", Path.Combine(Folder, "app", file));
        foreach (var library in Libraries()) root.AddFile(library[1..], library);
        foreach (var module in Modules.Select(module => module.Split(' ')[0])) root.AddFile($"modules/{module}.ko", Path.Combine(Folder, "modules", $"{module}.ko"));
        root.Add("etc/passwd", "root:x:0:0:root:/:/bin/sh\nmodule:x:1654:1654:module:/:/bin/sh\n");
        root.Add("etc/group", "root:x:0:\nmodule:x:1654:\n");
        var loading = string.Join('\n', Modules.Select(module => module.Split(' ')).Select(words => $"insmod /modules/{words[0]}.ko {string.Join(' ', words[1..])} || failed=1"));
        root.Add("init", $"""
            #!/bin/busybox sh
            /bin/busybox --install -s /bin
            mount -t proc proc /proc
            mount -t sysfs sysfs /sys
            mount -t devtmpfs dev /dev
            mount -t tmpfs -o mode=1777 tmp /tmp
            mount -t debugfs debugfs /sys/kernel/debug
            ifconfig lo 127.0.0.1 up
            stty -F /dev/ttyS1 raw -echo
            exec >/dev/ttyS1 2>&1
            failed=0
            {loading}
            echo "@@$failed@@"
            exec sh /dev/ttyS1 </dev/null

            """.ReplaceLineEndings("\n"));
        root.End();
    }

    /// <summary>The shared libraries that the module's binaries need.</summary>
    static IEnumerable<string> Libraries()
    {
        using var ldd = Process.Start(new ProcessStartInfo("ldd", [Path.Combine(Folder, "app/SensorForwarder"), Path.Combine(Folder, "app/libe_sqlite3.so")]) { RedirectStandardOutput = true })!;
        return [.. LibraryPath().Matches(ldd.StandardOutput.ReadToEnd()).Select(match => match.Groups[1].Value).Distinct()];
    }

    async Task<(int Code, string Output)> ReadAnswerAsync()
    {
        using var timeout = new CancellationTokenSource(Limit);
        var output = new StringBuilder();
        while (true)
        {
            string? line;
            try
            {
                line = await _answers!.ReadLineAsync(timeout.Token);
            }
            catch (OperationCanceledException)
            {
                throw new InvalidOperationException(
                    $"no response within {Limit.TotalMinutes} minutes. Output: {output}\nThe console ends with: {ConsoleEnd()}");
            }

            if (line is null) throw new InvalidOperationException($"the machine has stopped. The console ends with: {ConsoleEnd()}");
            if (End().Match(line) is { Success: true } end)
                return (int.Parse(end.Groups[1].ValueSpan, CultureInfo.InvariantCulture), output.ToString().Trim());
            output.Append(line).Append('\n');
        }
    }

    string ConsoleEnd()
    {
        var text = File.Exists(Console) ? File.ReadAllText(Console) : "";
        return text[^Math.Min(3000, text.Length)..];
    }

    [GeneratedRegex(@"^@@(\d+)@@\r?$", RegexOptions.CultureInvariant)]
    private static partial Regex End();

    [GeneratedRegex(@"(?:=> )?(/\S+) \(0x", RegexOptions.CultureInvariant)]
    private static partial Regex LibraryPath();
}
