using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace SensorForwarder;

/// <summary>Who owns a file, and who this process is, by the kernel's numbers. Stateless; any thread.</summary>
internal static partial class FileOwner
{
    const int CurrentDirectory = -100; // AT_FDCWD
    const uint BasicStats = 0x7FF;     // STATX_BASIC_STATS
    const int StatxBytes = 256, UserOffset = 20, GroupOffset = 24, ModeOffset = 28;
    const int PermissionBits = 0xFFF;

    /// <summary>The user and group that this process acts as.</summary>
    public static (uint User, uint Group) OfProcess() => (geteuid(), getegid());

    /// <summary>The owner and the permission bits of a file or directory; null when they can't be read. statx(2) has
    /// the same layout on every architecture.</summary>
    public static (uint User, uint Group, int Mode)? Of(string path)
    {
        var buffer = new byte[StatxBytes];
        return statx(CurrentDirectory, path, 0, BasicStats, buffer) == 0
            ? (BinaryPrimitives.ReadUInt32LittleEndian(buffer.AsSpan(UserOffset)),
                BinaryPrimitives.ReadUInt32LittleEndian(buffer.AsSpan(GroupOffset)),
                BinaryPrimitives.ReadUInt16LittleEndian(buffer.AsSpan(ModeOffset)) & PermissionBits)
            : null;
    }

#pragma warning disable IDE1006 // The functions have the C library's names.
    [LibraryImport("libc")]
    private static partial uint geteuid();

    [LibraryImport("libc")]
    private static partial uint getegid();

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx(int directory, string path, int flags, uint mask, [Out] byte[] buffer);
#pragma warning restore IDE1006
}
