using System.Runtime.InteropServices;

namespace SensorForwarder.Operations.Doctor;

/// <summary>User and groups of this process, as the kernel looks at them when a node is opened.</summary>
internal sealed partial record ProcessIdentity(uint User, IReadOnlyList<uint> Groups)
{
    public static ProcessIdentity Read()
    {
        var count = getgroups(0, []);
        var groups = new uint[Math.Max(count, 0)];
        if (count > 0) _ = getgroups(count, groups);
        var (user, group) = FileStatus.OfProcess();
        return new(user, [.. groups.Append(group).Distinct().Order()]);
    }

    /// <summary>The group that a file belongs to; null when it can't be asked.</summary>
    public static uint? GroupOf(string path) => FileStatus.Of(path)?.Group;

    [LibraryImport("libc")]
    private static partial int getgroups(int size, [Out] uint[] list);
}
