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

        // O_PATH refers to the file without opening it, since opening has effects on a FIFO or a device. The file that
        // is checked is then the file that is opened, even if links change meanwhile.
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
        + $"{string.Join(", ", roots.Files)}, after links are resolved, and nothing of a process in /proc");

    /// <summary>Whether a path that can't be opened leads outside through a link.</summary>
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

    /// <summary>Whether a file belongs to a process, since an environment may contain our secrets, or is the kernel's
    /// log, which reading consumes.</summary>
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
        ? new(FaultReason.Denied, $"{path}: this process may not read it; check its mode and group")
        : SensorFault.From(new IOException(new Win32Exception(error).Message, error), path);

    [GeneratedRegex("/proc/([0-9]+|self|thread-self|kmsg)(/|$)", RegexOptions.CultureInvariant)]
    private static partial Regex OfProcess();

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);
}
