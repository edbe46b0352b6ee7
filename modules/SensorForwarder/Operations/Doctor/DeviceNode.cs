namespace SensorForwarder.Operations.Doctor;

/// <summary>Whether a node in /dev can be used, found by opening it.</summary>
internal enum NodeAccess
{
    Usable,
    Denied,
    Missing,
    Failing,
}

/// <summary>A node in /dev that sensors may need.</summary>
/// <param name="Path">Such as /dev/i2c-1.</param>
/// <param name="About">What it belongs to, by sysfs.</param>
/// <param name="Access">What opening it gave.</param>
/// <param name="Group">The group that it belongs to; null when it is missing.</param>
/// <param name="MayOthers">Its mode lets everybody read and write.</param>
internal sealed record DeviceNode(string Path, string About, NodeAccess Access, uint? Group, bool MayOthers)
{
    public static DeviceNode Examine(string path, string about)
    {
        if (!File.Exists(path)) return new(path, about, NodeAccess.Missing, null, false);
        const UnixFileMode OthersMayUse = UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        var mayOthers = !OperatingSystem.IsWindows() && (File.GetUnixFileMode(path) & OthersMayUse) == OthersMayUse;
        return new(path, about, TryOpen(path), ProcessIdentity.GroupOf(path), mayOthers);
    }

    /// <summary>What is to be done about it; empty when it can be used.</summary>
    public string Advice(ProcessIdentity process) => Access switch
    {
        NodeAccess.Usable => "",
        NodeAccess.Missing => "not in this container: add it to createOptions' Devices (on the host, `stat -c %g "
            + $"{Path}` tells the number for GroupAdd)",
        NodeAccess.Denied when Group is { } group && !process.Groups.Contains(group) && !MayOthers =>
            $"denied: it belongs to group {group}, which this process is not in: \"GroupAdd\":[\"{group}\"]",
        NodeAccess.Denied =>
            "denied, though its group would do: add it to createOptions' Devices with CgroupPermissions rw",
        _ => "it can't be opened: is its driver loaded?",
    };

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
