using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SensorForwarder;

/// <summary>What the kernel says of a file or directory (statx(2)), links followed. Two that are equal mean the same
/// content. Immutable; any thread.</summary>
/// <param name="Modified">Seconds and nanoseconds, only to be compared; of the content.</param>
/// <param name="Changed">The same, of content, owner and mode.</param>
/// <param name="TypeAndMode">The file type and the permission bits, as in <c>st_mode</c>.</param>
/// <param name="User">The user id of its owner.</param>
/// <param name="Group">Its group id.</param>
internal sealed partial record FileStatus(
    ulong Device, ulong Inode, long Bytes, UInt128 Modified, UInt128 Changed, ushort TypeAndMode, uint User, uint Group)
{
    // include/uapi/linux/stat.h and fcntl.h: the layout is the same on all architectures.
    const int CurrentDirectory = -100, EmptyPath = 0x1000, StatxBytes = 256;
    const uint BasicStats = 0x7FF;
    const ushort TypeMask = 0xF000, Regular = 0x8000, OthersRead = 0b000_000_100, GroupReads = 0b000_100_000;

    public bool IsRegularFile => (TypeAndMode & TypeMask) == Regular;

    /// <summary>The permissions, as chmod takes them.</summary>
    public string Mode => Convert.ToString(TypeAndMode & 0xFFF, 8).PadLeft(4, '0');

    /// <summary>Whether users may read the file that need not. Group access is needed where another user owns the file:
    /// that is how this process reads it.</summary>
    public bool IsReadByOthers =>
        (TypeAndMode & OthersRead) != 0 || ((TypeAndMode & GroupReads) != 0 && User == OfProcess().User);

    /// <summary>Null when there is no such file, or when the container runtime forbids statx(2). Blocks as long as the
    /// file system does.</summary>
    public static FileStatus? Of(string path) => Read(CurrentDirectory, path, flags: 0);

    /// <summary>Of an open file.</summary>
    public static FileStatus? Of(SafeFileHandle file) => Read((int)file.DangerousGetHandle(), "", EmptyPath);

    /// <summary>The user and group that this process acts as.</summary>
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
