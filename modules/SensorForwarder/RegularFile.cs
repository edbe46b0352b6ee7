using System.Runtime.InteropServices;

namespace SensorForwarder;

/// <summary>Opens files that a person names: only regular ones, since opening a FIFO waits for a writer, and opening or
/// reading a device may do something to it.</summary>
internal static partial class RegularFile
{
    // include/uapi/linux/stat.h and fcntl.h: struct statx is the same on every architecture.
    const int CurrentDirectory = -100;
    const uint TypeMask = 1;
    const int StatxBytes = 256;
    const int ModeOffset = 28;
    const int TypeOfMode = 0xF000;
    const int Regular = 0x8000;

    /// <summary>Opens the file that a path leads to, links resolved. Blocks as long as its file system does.</summary>
    /// <exception cref="IOException">It is not a regular file, or can't be read; the message says which.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static FileStream OpenRead(string path)
    {
        // What can't be asked is told by opening it.
        Span<byte> status = stackalloc byte[StatxBytes];
        if (statx(CurrentDirectory, path, 0, TypeMask, ref MemoryMarshal.GetReference(status)) == 0
            && (MemoryMarshal.Read<ushort>(status[ModeOffset..]) & TypeOfMode) != Regular)
        {
            throw new IOException("it is not a regular file");
        }

        var share = FileShare.ReadWrite | FileShare.Delete;
        return new FileStream(path, FileMode.Open, FileAccess.Read, share, bufferSize: 1);
    }

#pragma warning disable IDE1006 // The function has the C library's name.
    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx(int directory, string path, int flags, uint mask, ref byte status);
#pragma warning restore IDE1006
}
