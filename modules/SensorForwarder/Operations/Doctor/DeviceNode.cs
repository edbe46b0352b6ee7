using System.Runtime.InteropServices;
using SensorForwarder.Files;

namespace SensorForwarder.Operations.Doctor;

/// <summary>The result of opening a device node.</summary>
internal enum NodeAccess
{
    Usable,
    Denied,
    Missing,
    Failing,
}

/// <summary>A device node that sensors may need.</summary>
/// <param name="Path">Such as /dev/i2c-1.</param>
/// <param name="About">Its device, as described by sysfs.</param>
/// <param name="Group">Its group; null: it is missing.</param>
/// <param name="MayOthers">Its mode lets everybody read and write.</param>
internal sealed partial record DeviceNode(string Path, string About, NodeAccess Access, uint? Group, bool MayOthers)
{
    public bool IsSerial { get; init; }

    /// <param name="path">The node, or a link to it.</param>
    /// <param name="isSerial">It is a serial port: only its permissions are checked, since opening a port changes its
    /// control lines.</param>
    public static DeviceNode Examine(string path, string about, bool isSerial = false)
    {
        if (!File.Exists(path)) return new(path, about, NodeAccess.Missing, null, false) { IsSerial = isSerial };
        const UnixFileMode OthersMayUse = UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        var mayOthers = !OperatingSystem.IsWindows() && (File.GetUnixFileMode(path) & OthersMayUse) == OthersMayUse;
        var result = isSerial ? TryAccess(path) : TryOpen(path);
        return new(path, about, result, FileStatus.Of(path)?.Group, mayOthers) { IsSerial = isSerial };
    }

    /// <summary>How to make it usable; empty: it is.</summary>
    public string Advice(ProcessIdentity process) => Access switch
    {
        NodeAccess.Usable => "",
        NodeAccess.Missing => "not in this container: add it to Devices of createOptions (on the host, `stat -c %g "
            + $"{Path}` prints the number for GroupAdd)",
        NodeAccess.Denied when Group is { } group && !process.Groups.Contains(group) && !MayOthers =>
            $"denied: this process is not in its group {group}: add \"GroupAdd\":[\"{group}\"] to createOptions",
        NodeAccess.Denied =>
            "denied although the group is right: add it to Devices of createOptions with CgroupPermissions rw",
        _ => "can't be opened: is its driver loaded?",
    };

    static NodeAccess TryAccess(string path)
    {
        const int ReadAndWrite = 6;
        return access(path, ReadAndWrite) == 0 ? NodeAccess.Usable : NodeAccess.Denied;
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int access(string path, int mode);

    static NodeAccess TryOpen(string path)
    {
        try
        {
            File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite).Dispose();
            return NodeAccess.Usable;
        }
        catch (UnauthorizedAccessException)
        {
            return NodeAccess.Denied;
        }
        catch (IOException)
        {
            return NodeAccess.Failing;
        }
    }
}
