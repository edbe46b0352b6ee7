using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SensorForwarder.Files;

/// <summary>The status of a file or directory (statx(2)), links followed. Equal statuses mean equal content. Immutable;
/// any thread.</summary>
/// <param name="Modified">When the content was modified: seconds and nanoseconds, for comparison only.</param>
/// <param name="Changed">When content, owner or mode was changed, in the same form.</param>
/// <param name="TypeAndMode">File type and permission bits, as in <c>st_mode</c>.</param>
/// <param name="User">The owner's user id.</param>
/// <param name="Group">The group id.</param>
internal sealed partial record FileStatus(
    ulong Device, ulong Inode, long Bytes, UInt128 Modified, UInt128 Changed, ushort TypeAndMode, uint User, uint Group)
{
    // include/uapi/linux/stat.h and fcntl.h: the layout is the same on all architectures.
    const int CurrentDirectory = -100, EmptyPath = 0x1000, StatxBytes = 256;
    const uint BasicStats = 0x7FF;
    const ushort TypeMask = 0xF000, Regular = 0x8000, Socket = 0xC000;
    const ushort OthersRead = 0b000_000_100, GroupRead = 0b000_100_000;

    public bool IsRegularFile => (TypeAndMode & TypeMask) == Regular;

    public bool IsSocket => (TypeAndMode & TypeMask) == Socket;

    /// <summary>The permissions in octal, as for chmod.</summary>
    public string Mode => Convert.ToString(TypeAndMode & 0xFFF, 8).PadLeft(4, '0');

    /// <summary>Whether more users than necessary can read the file. Group access is necessary if another user owns the
    /// file, because this process then reads it through the group.</summary>
    public bool IsReadByOthers =>
        (TypeAndMode & OthersRead) != 0 || ((TypeAndMode & GroupRead) != 0 && User == OfProcess().User);

    /// <summary>The status of a path. Null when there is no such file, or when the container runtime forbids statx(2).
    /// Blocks as long as the file system does.</summary>
    public static FileStatus? Of(string path) => Read(CurrentDirectory, path, flags: 0);

    /// <summary>The status of an open file.</summary>
    public static FileStatus? Of(SafeFileHandle file) => Read((int)file.DangerousGetHandle(), "", EmptyPath);

    /// <summary>The effective user and group of this process.</summary>
    public static (uint User, uint Group) OfProcess() => (geteuid(), getegid());

    static FileStatus? Read(int directory, string path, int flags)
    {
        Span<byte> stat = stackalloc byte[StatxBytes];
        return statx(directory, path, flags, BasicStats, stat) != 0
            ? null
            : new(
                BinaryPrimitives.ReadUInt64LittleEndian(stat[136..]),
                BinaryPrimitives.ReadUInt64LittleEndian(stat[32..]),
                BinaryPrimitives.ReadInt64LittleEndian(stat[40..]),
                ReadTime(stat[112..]),
                ReadTime(stat[96..]),
                BinaryPrimitives.ReadUInt16LittleEndian(stat[28..]),
                BinaryPrimitives.ReadUInt32LittleEndian(stat[20..]),
                BinaryPrimitives.ReadUInt32LittleEndian(stat[24..]));
    }

    static UInt128 ReadTime(ReadOnlySpan<byte> time) =>
        new(BinaryPrimitives.ReadUInt64LittleEndian(time), BinaryPrimitives.ReadUInt32LittleEndian(time[8..]));

#pragma warning disable IDE1006 // The functions have the C library's names.
    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx(int directory, string path, int flags, uint mask, Span<byte> buffer);

    [LibraryImport("libc")]
    private static partial uint geteuid();

    [LibraryImport("libc")]
    private static partial uint getegid();
#pragma warning restore IDE1006
}
