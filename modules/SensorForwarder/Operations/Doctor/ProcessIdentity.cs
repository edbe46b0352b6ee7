using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace SensorForwarder.Operations.Doctor;

/// <summary>User and groups of this process, as the kernel looks at them when a node is opened.</summary>
internal sealed partial record ProcessIdentity(uint User, IReadOnlyList<uint> Groups)
{
    const int CurrentDirectory = -100; // AT_FDCWD
    const uint BasicStats = 0x7FF;     // STATX_BASIC_STATS
    const int StatxBytes = 256, GroupOffset = 24;

    public static ProcessIdentity Read()
    {
        var count = getgroups(0, []);
        var groups = new uint[Math.Max(count, 0)];
        if (count > 0) _ = getgroups(count, groups);
        return new(geteuid(), [.. groups.Append(getegid()).Distinct().Order()]);
    }

    /// <summary>The group that a file belongs to; null when it can't be asked. statx(2) has the same layout everywhere.
    /// </summary>
    public static uint? GroupOf(string path)
    {
        var buffer = new byte[StatxBytes];
        return statx(CurrentDirectory, path, 0, BasicStats, buffer) == 0
            ? BinaryPrimitives.ReadUInt32LittleEndian(buffer.AsSpan(GroupOffset))
            : null;
    }

    [LibraryImport("libc")]
    private static partial uint geteuid();

    [LibraryImport("libc")]
    private static partial uint getegid();

    [LibraryImport("libc")]
    private static partial int getgroups(int size, [Out] uint[] list);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx(int directory, string path, int flags, uint mask, [Out] byte[] buffer);
}
