using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Reads the edges of a line as they occur, on its own thread, so that the kernel's queue stays short. Ends with <see
/// cref="Dispose"/> or when the chip is removed.
/// </summary>
internal sealed partial class GpioWatch : IDisposable
{
    const int EdgesAtOnce = 64, ReadsAfterStop = 64, Interrupted = 4;

    readonly GpioLine _line;
    readonly Action<ReadOnlySpan<GpioEdge>> _take;
    readonly Action _ended;
    readonly SafeFileHandle _stop;
    readonly Thread _thread;

    /// <param name="line">The line; disposed with this.</param>
    /// <param name="take">Receives the edges in order, on the watch's thread.</param>
    /// <param name="ended">Called when the chip has been removed.</param>
    public GpioWatch(GpioLine line, Action<ReadOnlySpan<GpioEdge>> take, Action ended)
    {
        (_line, _take, _ended) = (line, take, ended);
        _stop = new SafeFileHandle(eventfd(0, 0), ownsHandle: true);
        _thread = new Thread(Run) { IsBackground = true, Name = $"edges of {line}" };
        _thread.Start();
    }

    public void Dispose()
    {
        RandomAccess.Write(_stop, BitConverter.GetBytes(1L), 0);
        _thread.Join();
        _stop.Dispose();
        _line.Dispose();
    }

    void Run()
    {
        // Both stay open: Dispose waits for this thread.
        Span<PollEntry> entries = stackalloc PollEntry[2];
        entries[0] = new() { File = (int)_stop.DangerousGetHandle(), Wanted = PollEntry.Input };
        entries[1] = new() { File = (int)_line.Events.DangerousGetHandle(), Wanted = PollEntry.Input };
        Span<GpioEdge> edges = stackalloc GpioEdge[EdgesAtOnce];
        var readsAfterStop = ReadsAfterStop;
        while (true)
        {
            if (PollEntry.Wait(entries, -1) < 0 && Marshal.GetLastPInvokeError() == Interrupted) continue;
            // Queued edges are read before the end, up to a limit: a line may change continuously.
            var hasEdges = (entries[1].Given & PollEntry.Input) != 0;
            if (entries[0].Given != 0 && (!hasEdges || readsAfterStop-- == 0)) return;
            if (!hasEdges) break;
            var bytes = read(entries[1].File, MemoryMarshal.AsBytes(edges), (nuint)MemoryMarshal.AsBytes(edges).Length);
            if (bytes < 0 && Marshal.GetLastPInvokeError() == Interrupted) continue;
            if (bytes <= 0) break;
            _take(edges[..(int)(bytes / Marshal.SizeOf<GpioEdge>())]);
        }

        _ended();
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int eventfd(uint value, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(int file, Span<byte> buffer, nuint count);
}
