using System.ComponentModel;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using Microsoft.Win32.SafeHandles;
using SensorForwarder.Files;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// The directories whose files <c>file</c> sensors may read: the boot value Sensors__FileRoots. The author of the
/// settings need not be the operator of the host, so any path outside, also through a link, gets the same answer
/// whether it exists or not. Any thread.
/// </summary>
internal sealed partial class FileRoots(SensorRoots roots)
{
    // Of open(2); the same on x86 and ARM.
    const int ReadOnly = 0, NonBlocking = 0x800, CloseOnExec = 0x80000, PathOnly = 0x200000;
    const int AccessDenied = 13;

    /// <summary>Opens a regular file for reading.</summary>
    /// <param name="path">Absolute and without <c>..</c>.</param>
    /// <exception cref="SensorFault">It is not there, may not be read, or is not a regular file in these directories.
    /// </exception>
    public SafeFileHandle Open(string path)
    {
        if (!IsBelow(path, roots.Files) || IsOfProcess(path)) throw Outside(path);

        // A handle that names a file without opening it, which a FIFO or a device would notice. What is checked by the
        // handle is what is opened then, even if links change meanwhile.
        using var place = Open(path, PathOnly, out var error);
        if (place.IsInvalid) throw LeadsOutside(path) ? Outside(path) : FaultOf(error, path);
        if (!IsInside(place)) throw Outside(path);
        if (FileStatus.Of(place) is not { } status)
        {
            throw new SensorFault(
                FaultReason.Denied, $"{path} can't be examined: the container runtime forbids statx; update it");
        }

        if (!status.IsRegularFile)
        {
            throw new SensorFault(
                FaultReason.Denied, $"{path} is a directory, FIFO, socket or device; only regular files are read");
        }

        var file = Open(ByHandle(place), ReadOnly | NonBlocking, out error);
        if (!file.IsInvalid) return file;
        file.Dispose();
        throw FaultOf(error, path);
    }

    SensorFault Outside(string path) => new(
        FaultReason.Denied,
        $"the boot value Sensors__FileRoots does not allow {path}: file sensors read only below "
        + $"{string.Join(", ", roots.Files)}, no process in /proc, and links count where they lead");

    /// <summary>Of a path that can't be opened: what is missing of it is missing somewhere else.</summary>
    bool LeadsOutside(string path)
    {
        for (var missing = path; !roots.Files.Contains(missing);)
        {
            var parent = Path.GetDirectoryName(missing);
            if (parent is null) return true;
            using var directory = Open(parent, PathOnly, out _);
            if (!directory.IsInvalid) return !IsInside(directory) || new FileInfo(missing).LinkTarget is not null;
            missing = parent;
        }

        return false; // the directory itself is missing
    }

    bool IsInside(SafeFileHandle place) => RealPath(place) is { } path
        && IsBelow(path, roots.Files.Select(RealPath).OfType<string>()) && !IsOfProcess(path);

    /// <summary>What a process has: its environment has our secrets. And the kernel's log, which reading takes away.
    /// </summary>
    bool IsOfProcess(string path) => OfProcess().IsMatch(path)
        || ((string[])[roots.Proc, RealPath(roots.Proc) ?? roots.Proc]).Any(proc =>
            path.StartsWith($"{proc}/", StringComparison.Ordinal)
                && OfProcess().IsMatch($"/proc{path[proc.Length..]}"));

    static bool IsBelow(string path, IEnumerable<string> directories) => directories.Any(
        directory => $"{path}/".StartsWith($"{directory.TrimEnd('/')}/", StringComparison.Ordinal));

    static string? RealPath(string path)
    {
        using var place = Open(path, PathOnly, out _);
        return place.IsInvalid ? null : RealPath(place);
    }

    static string? RealPath(SafeFileHandle place) => new FileInfo(ByHandle(place)).LinkTarget;

    static string ByHandle(SafeFileHandle handle) =>
        string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{handle.DangerousGetHandle()}");

    static SafeFileHandle Open(string path, int flags, out int error)
    {
        var handle = open(path, flags | CloseOnExec);
        error = Marshal.GetLastPInvokeError();
        return new(handle, ownsHandle: true);
    }

    static SensorFault FaultOf(int error, string path) => error == AccessDenied
        ? new(FaultReason.Denied, $"{path}: this process may not read it; its mode and group decide that")
        : SensorFault.From(new IOException(new Win32Exception(error).Message, error), path);

    [GeneratedRegex("/proc/([0-9]+|self|thread-self|kmsg)(/|$)", RegexOptions.CultureInvariant)]
    private static partial Regex OfProcess();

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);
}
