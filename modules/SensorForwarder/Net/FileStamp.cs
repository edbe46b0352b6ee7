using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace SensorForwarder.Net;

/// <summary>Identity, size, times and permissions of a file: two stamps that are equal mean the same content. Links are
/// followed.</summary>
internal sealed partial record FileStamp(
    ulong Device, ulong Inode, long Bytes, UInt128 Modified, UInt128 Changed, ushort TypeAndMode, uint Owner)
{
    const int CurrentDirectory = -100; // AT_FDCWD
    const uint BasicStats = 0x7FF;     // STATX_BASIC_STATS
    const ushort TypeMask = 0xF000, RegularFile = 0x8000, OthersRead = 0b000_000_100, GroupReads = 0b000_100_000;

    public bool IsRegularFile => (TypeAndMode & TypeMask) == RegularFile;

    /// <summary>The permissions, as chmod takes them.</summary>
    public string Mode => Convert.ToString(TypeAndMode & 0xFFF, 8).PadLeft(4, '0');

    public static uint ProcessUser => geteuid();

    /// <summary>Whether users may read the file that need not. Group access is needed where another user owns the file:
    /// that is how this process reads it.</summary>
    public bool IsReadByOthers =>
        (TypeAndMode & OthersRead) != 0 || ((TypeAndMode & GroupReads) != 0 && Owner == ProcessUser);

    /// <summary>The stamp of a file; null when there is no such file, or when the container runtime forbids statx(2).
    /// </summary>
    public static FileStamp? Of(string path)
    {
        // The layout is the same on all architectures (linux/stat.h).
        Span<byte> stat = stackalloc byte[256];
        if (statx(CurrentDirectory, path, 0, BasicStats, stat) != 0) return null;
        return new(
            BinaryPrimitives.ReadUInt64LittleEndian(stat[136..]),
            BinaryPrimitives.ReadUInt64LittleEndian(stat[32..]),
            BinaryPrimitives.ReadInt64LittleEndian(stat[40..]),
            ReadTime(stat[112..]),
            ReadTime(stat[96..]),
            BinaryPrimitives.ReadUInt16LittleEndian(stat[28..]),
            BinaryPrimitives.ReadUInt32LittleEndian(stat[20..]));
    }

    // Seconds and nanoseconds, only to be compared.
    static UInt128 ReadTime(ReadOnlySpan<byte> time) =>
        new(BinaryPrimitives.ReadUInt64LittleEndian(time), BinaryPrimitives.ReadUInt32LittleEndian(time[8..]));

#pragma warning disable IDE1006 // The functions have the C library's names.
    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx(int directory, string path, int flags, uint mask, Span<byte> buffer);

    [LibraryImport("libc")]
    private static partial uint geteuid();
#pragma warning restore IDE1006
}
