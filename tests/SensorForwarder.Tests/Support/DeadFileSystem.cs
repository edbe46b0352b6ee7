using System.Runtime.InteropServices;

namespace SensorForwarder.Tests.Support;

/// <summary>A file system that never responds, like a network file system without its server. Every access blocks until
/// disposal.</summary>
internal sealed class DeadFileSystem : IDisposable
{
    const int ReadWrite = 2;
    const int Detach = 2;

    readonly string _directory;
    readonly int _device;

    DeadFileSystem(string directory, int device) => (_directory, _device) = (directory, device);

    /// <summary>Mounts a FUSE file system that no process serves.</summary>
    /// <returns>Null if this user may not mount.</returns>
    public static DeadFileSystem? TryMount(string directory, out string refusal)
    {
        refusal = "";
        var device = Open("/dev/fuse", ReadWrite);
        var options = $"fd={device},rootmode=40000,user_id=0,group_id=0";
        if (device >= 0 && Mount("dead", directory, "fuse", 0, options) == 0) return new(directory, device);
        refusal = Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError());
        if (device >= 0) _ = Close(device);
        return null;
    }

    public void Dispose()
    {
        _ = Unmount(_directory, Detach);
        _ = Close(_device);
    }

    [DllImport("libc", EntryPoint = "open", SetLastError = true)]
    static extern int Open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);

    [DllImport("libc", EntryPoint = "close")]
    static extern int Close(int descriptor);

    [DllImport("libc", EntryPoint = "mount", SetLastError = true)]
    static extern int Mount(
        [MarshalAs(UnmanagedType.LPUTF8Str)] string source, [MarshalAs(UnmanagedType.LPUTF8Str)] string target,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string type, nuint flags,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string options);

    [DllImport("libc", EntryPoint = "umount2")]
    static extern int Unmount([MarshalAs(UnmanagedType.LPUTF8Str)] string target, int flags);
}
