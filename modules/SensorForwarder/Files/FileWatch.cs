using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SensorForwarder.Files;

/// <summary>
/// Signals that a file may have changed (inotify(7)): it was written and closed, created, deleted, or replaced by a
/// rename, or something else in its directory changed, such as the symbolic link that Kubernetes swaps. Does not signal
/// changes that another machine makes on a network file system, nor changes in directories behind a symbolic link,
/// except to the file itself. Thread-safe.
/// </summary>
internal sealed partial class FileWatch : IDisposable
{
    // include/uapi/linux/inotify.h. A file that is still being written is signalled when its writer closes it.
    const uint Attributes = 0x4, ClosedAfterWriting = 0x8, MovedFrom = 0x40, MovedTo = 0x80, Created = 0x100;
    const uint Deleted = 0x200, SelfDeleted = 0x400, SelfMoved = 0x800, OnlyDirectory = 0x1000000;
    const uint OfDirectory = Created | MovedFrom | MovedTo | Deleted | ClosedAfterWriting | OnlyDirectory;
    const uint OfFile = ClosedAfterWriting | Attributes | SelfDeleted | SelfMoved;
    const int CloseOnExec = 0x80000, Interrupted = 4, EventsBytes = 4096;

    readonly SafeFileHandle _events;
    readonly Action _changed;
    readonly Thread _thread;
    volatile bool _isDisposed;

    FileWatch(SafeFileHandle events, Action changed)
    {
        (_events, _changed) = (events, changed);
        _thread = new Thread(Run) { IsBackground = true, Name = "file watch" };
        _thread.Start();
    }

    /// <param name="changed">Called on the watch's thread; must only signal.</param>
    /// <returns>Null when the kernel has no more inotify instances for this user.</returns>
    public static FileWatch? TryStart(Action changed)
    {
        var events = new SafeFileHandle(inotify_init1(CloseOnExec), ownsHandle: true);
        return events.IsInvalid ? null : new(events, changed);
    }

    /// <summary>Watches what is at a path now. Called each time before the file is read, so that every later change is
    /// signalled. Blocks as long as the file system does.</summary>
    /// <returns>Whether the directory is watched. The file itself may be missing.</returns>
    public bool Follow(string path)
    {
        // The file as well: a file mounted alone is written through a directory that is not visible here.
        _ = inotify_add_watch(_events, path, OfFile);
        return inotify_add_watch(_events, Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/", OfDirectory) >= 0;
    }

    public void Dispose()
    {
        if (_isDisposed) return;
        _isDisposed = true;

        // Removing a watch causes an event, which ends the thread's read.
        _ = inotify_rm_watch(_events, inotify_add_watch(_events, "/", Attributes));
        _thread.Join();
        _events.Dispose();
    }

    void Run()
    {
        Span<byte> events = stackalloc byte[EventsBytes];
        while (!_isDisposed)
        {
            if (read(_events, events, (nuint)events.Length) > 0) _changed();
            else if (Marshal.GetLastPInvokeError() != Interrupted) return;
        }
    }

#pragma warning disable IDE1006 // The functions have the C library's names.
    [LibraryImport("libc", SetLastError = true)]
    private static partial int inotify_init1(int flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int inotify_add_watch(SafeFileHandle events, string path, uint mask);

    [LibraryImport("libc")]
    private static partial int inotify_rm_watch(SafeFileHandle events, int watch);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(SafeFileHandle file, Span<byte> buffer, nuint count);
#pragma warning restore IDE1006
}
