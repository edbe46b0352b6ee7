using System.ComponentModel;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace SensorForwarder.Tests.Sensors;

/// <summary>A pseudo-terminal pair: the module opens one end as a serial port, and the test is the device at
/// the other end. <see cref="Dispose"/> unplugs it.</summary>
internal sealed partial class PseudoTerminal : IDisposable
{
    const int ReadWrite = 2, NotControlling = 0x100, NonBlocking = 0x800, CloseOnExec = 0x80000;

    readonly SafeFileHandle _device;

    // Kept open, because otherwise the device would get a hang-up whenever the module closes its port.
    readonly SafeFileHandle _port;
    readonly Thread? _answering;
    volatile bool _isUnplugged;

    /// <param name="answer">What the device sends after receiving these bytes; null: nothing.</param>
    public PseudoTerminal(Func<byte[], byte[]?>? answer = null)
    {
        const int Flags = ReadWrite | NotControlling | NonBlocking | CloseOnExec;
        _device = new(Check(posix_openpt(Flags)), ownsHandle: true);
        Check(grantpt(_device));
        Check(unlockpt(_device));
        var name = new byte[64];
        Check(ptsname_r(_device, name, (nuint)name.Length));
        Path = Encoding.ASCII.GetString(name.AsSpan(0, name.AsSpan().IndexOf((byte)0)));
        _port = new(Check(open(Path, Flags)), ownsHandle: true);
        if (answer is null) return;
        _answering = new(() => Answer(answer)) { IsBackground = true, Name = $"device at {Path}" };
        _answering.Start();
    }

    /// <summary>The node of the port, such as /dev/pts/3.</summary>
    public string Path { get; }

    /// <summary>The number of received bytes that are waiting in the port.</summary>
    public int Waiting
    {
        get
        {
            const nuint BytesToRead = 0x541B;
            Check(ioctl(_port, BytesToRead, out var count));
            return count;
        }
    }

    /// <summary>The settings of the port: struct termios2.</summary>
    public byte[] Settings
    {
        get
        {
            const nuint GetTerminal = 0x802C542A;
            const int Length = 44;
            var settings = new byte[Length];
            Check(ioctl(_port, GetTerminal, settings));
            return settings;
        }
    }

    public void Send(params ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var written = write(_device, bytes, (nuint)bytes.Length);
            if (written > 0) bytes = bytes[(int)written..];
            else Thread.Yield(); // the port is full
        }
    }

    /// <summary>Sends the bytes repeatedly until the port's buffer is full.</summary>
    public void Fill(ReadOnlySpan<byte> bytes)
    {
        while (write(_device, bytes, (nuint)bytes.Length) == bytes.Length)
        {
        }
    }

    /// <summary>Reads the bytes that were sent to the device; empty if there are none.</summary>
    public byte[] Receive()
    {
        var bytes = new byte[512];
        var length = read(_device, bytes, (nuint)bytes.Length);
        return length > 0 ? bytes[..(int)length] : [];
    }

    public void Dispose()
    {
        _isUnplugged = true;
        _answering?.Join();
        _port.Dispose();
        _device.Dispose();
    }

    void Answer(Func<byte[], byte[]?> answer)
    {
        while (!_isUnplugged)
        {
            var entry = new PollEntry { File = (int)_device.DangerousGetHandle(), Wanted = 1 };
            if (poll(ref entry, 1, 20) > 0 && Receive() is { Length: > 0 } request && answer(request) is { } bytes)
                Send(bytes);
        }
    }

    static int Check(int result) => result >= 0 ? result : throw new Win32Exception(Marshal.GetLastPInvokeError());

    [StructLayout(LayoutKind.Sequential)]
    struct PollEntry
    {
        public int File;
        public short Wanted;
        public short Given;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int posix_openpt(int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int grantpt(SafeFileHandle file);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int unlockpt(SafeFileHandle file);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ptsname_r(SafeFileHandle file, [Out] byte[] name, nuint length);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(SafeFileHandle file, nuint request, out int value);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(SafeFileHandle file, nuint request, [In, Out] byte[] argument);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(ref PollEntry entries, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(SafeFileHandle file, [Out] byte[] buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint write(SafeFileHandle file, ReadOnlySpan<byte> buffer, nuint count);
}
