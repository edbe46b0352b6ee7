using System.Diagnostics;
using System.Globalization;

namespace SensorForwarder.Benchmarks.Buffer;

/// <summary>An ext4 file system on its own loop device, whose statistics count the written bytes. Requires
/// root.</summary>
internal sealed class LoopVolume : IDisposable
{
    const int Megabytes = 256;
    const int SectorBytes = 512; // Documentation/block/stat.rst

    readonly string _image = Path.GetTempFileName();
    readonly string _device;

    public LoopVolume()
    {
        using (var file = new FileStream(_image, FileMode.Open))
            file.SetLength(Megabytes << 20);
        _device = Run("losetup", "--find", "--show", _image).Trim();
        Run("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", _device);
        Directory = System.IO.Directory.CreateTempSubdirectory("loop-volume-").FullName;
        Run("mount", _device, Directory);
    }

    public static bool IsAvailable => Environment.IsPrivilegedProcess && File.Exists("/dev/loop-control");

    public string Directory { get; }

    /// <summary>Bytes written to the device so far, including the file system's metadata. Flushes the page cache
    /// first.</summary>
    public long WrittenBytes()
    {
        Run("sync", "-f", Directory);
        var stat = File.ReadAllText($"/sys/block/{Path.GetFileName(_device)}/stat");
        const int SectorsWritten = 6;
        return SectorBytes * long.Parse(
            stat.Split(' ', StringSplitOptions.RemoveEmptyEntries)[SectorsWritten], CultureInfo.InvariantCulture);
    }

    public void Dispose()
    {
        Run("umount", Directory);
        Run("losetup", "--detach", _device);
        System.IO.Directory.Delete(Directory);
        File.Delete(_image);
    }

    static string Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? output
            : throw new InvalidOperationException(
                $"{program} {string.Join(' ', arguments)} exited with code {process.ExitCode}");
    }
}
