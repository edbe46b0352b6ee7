using System.Runtime.InteropServices;
using SensorForwarder.Files;

namespace SensorForwarder.Operations.Doctor;

/// <summary>The user and groups of this process, which the kernel checks when it opens a device node.</summary>
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

    [LibraryImport("libc")]
    private static partial int getgroups(int size, [Out] uint[] list);
}
