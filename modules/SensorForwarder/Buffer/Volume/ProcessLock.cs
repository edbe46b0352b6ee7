using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using SensorForwarder.Text;

namespace SensorForwarder.Buffer;

/// <summary>Keeps a second process out of the directory: both would send the same readings. Uses flock, so the kernel
/// releases the lock when the process ends, for whatever reason.</summary>
internal sealed partial class ProcessLock : IDisposable
{
    const int ReadWrite = 2, Create = 0x40, CloseOnExec = 0x80000; // O_RDWR, O_CREAT, O_CLOEXEC
    const int Exclusive = 2, NonBlocking = 4; // LOCK_EX, LOCK_NB
    const int OwnerOnly = 0x180; // 0600
    const int Attempts = 20;
    static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);
    const int WouldBlock = 11; // EWOULDBLOCK
    const int MaxHolderBytes = 200;

    readonly SafeFileHandle _file;

    ProcessLock(SafeFileHandle file) => _file = file;

    /// <exception cref="BufferUnavailableException">Another process holds the lock.</exception>
    /// <exception cref="IOException">The lock file can't be opened.</exception>
    public static async Task<ProcessLock> TakeAsync(
        VolumeFiles files, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        // Not FileStream: it takes a lock itself, and another process could then not read who holds it.
        var file = new SafeFileHandle(open(files.Lock, ReadWrite | Create | CloseOnExec, OwnerOnly), ownsHandle: true);
        try
        {
            if (file.IsInvalid)
                throw new IOException($"{files.Lock}: can't be opened (error {Marshal.GetLastPInvokeError()})");
            if (!await TryLockAsync(file, cancellationToken))
            {
                var holder = new byte[MaxHolderBytes];
                var length = RandomAccess.Read(file, holder, 0);
                throw new BufferUnavailableException(
                    $"{files.Directory}: is in use by {LogText.Clean(Encoding.UTF8.GetString(holder, 0, length))}; "
                    + "stop that process, or set Buffer__Directory to another directory");
            }
            var text = string.Create(
                CultureInfo.InvariantCulture,
                $"process {Environment.ProcessId} on {Environment.MachineName}, since {timeProvider.GetUtcNow():u}");
            Write(file, text);
            return new(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public void Dispose() => _file.Dispose();

    static void Write(SafeFileHandle file, string text)
    {
        try
        {
            RandomAccess.SetLength(file, 0);
            RandomAccess.Write(file, Encoding.UTF8.GetBytes(text), 0);
        }
        catch (IOException)
        {
            // The volume is full: the lock is held, but the file does not name the holder.
        }
    }

    // Retries, because a process that was just killed or has just forked may hold the lock for a moment. Any other
    // error (a file system without locks) is ignored: SQLite reports the locks that it needs.
    static async Task<bool> TryLockAsync(SafeFileHandle file, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            if (flock(file, Exclusive | NonBlocking) == 0 || Marshal.GetLastPInvokeError() != WouldBlock)
                return true;
            if (attempt == Attempts)
                return false;
            await Task.Delay(Pause, TimeProvider.System, cancellationToken);
        }
    }

#pragma warning disable IDE1006 // The functions have the C library's names.
    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int open(string path, int flags, int mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int flock(SafeFileHandle descriptor, int operation);
#pragma warning restore IDE1006
}
