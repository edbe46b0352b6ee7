using System.Runtime.InteropServices;

namespace SensorForwarder.Operations;

/// <summary>Turns SIGTERM, SIGINT and SIGQUIT into a cancellation. Created first: before the host handles signals, the
/// runtime would end the process with exit code 143. One instance per process.</summary>
/// <remarks>A stop must not need a new thread: at the thread limit of the container (PidsLimit) or of the user,
/// creating one fails, and the runtime ends the process as a crash. The runtime's own handler starts a thread for each
/// of these signals, so a thread that exists from the start takes them instead, and <see cref="PrepareThreads"/>
/// creates the pool threads that a stop uses.</remarks>
internal sealed unsafe partial class StopSignal : IDisposable
{
    // As ThreadsToKeepAlive in the project file. The pool adds threads only if all of these are blocked, since
    // HillClimbing is off.
    const int KeptThreads = 4;

    static readonly AutoResetEvent Came = new(initialState: false);

    // Not disposed: a signal may arrive until the process ends.
    readonly CancellationTokenSource _asked = new();
    readonly List<PosixSignalRegistration> _registrations;

    public StopSignal()
    {
        new Thread(Wait) { IsBackground = true, Name = "stop signal" }.Start();
        _registrations = [.. ((PosixSignal[])[PosixSignal.SIGTERM, PosixSignal.SIGINT, PosixSignal.SIGQUIT])
            .Select(signal => PosixSignalRegistration.Create(signal, Take))];
        try
        {
            SetPosixSignalHandler(&OnSignal);
        }
        catch (Exception exception) when (exception is EntryPointNotFoundException or DllNotFoundException)
        {
            // A runtime without the function: its own handler calls Take, on a new thread.
        }
    }

    public CancellationToken Token => _asked.Token;

    /// <summary>Creates the pool's threads now. By default the pool creates them on demand, and a failure would end the
    /// process.</summary>
    public static void PrepareThreads()
    {
        ThreadPool.GetMinThreads(out _, out var completionPorts);
        ThreadPool.SetMinThreads(KeptThreads, completionPorts);

        // Each work item waits for the others, so that each needs its own thread.
        var all = new CountdownEvent(KeptThreads + 1);
        for (var i = 0; i < KeptThreads; i++)
        {
            ThreadPool.UnsafeQueueUserWorkItem(
                _ =>
                {
                    all.Signal();
                    all.Wait();
                },
                null);
        }

        all.Signal();
        all.Wait();
    }

    public void Dispose() => _registrations.ForEach(registration => registration.Dispose());

    static void Take(PosixSignalContext context)
    {
        context.Cancel = true;
        Came.Set();
    }

    // Called on the runtime's signal thread. 0: the default action of the signal.
    [UnmanagedCallersOnly]
    static int OnSignal(int number, PosixSignal signal)
    {
        if (signal is not (PosixSignal.SIGTERM or PosixSignal.SIGINT or PosixSignal.SIGQUIT)) return 0;
        Came.Set();
        return 1;
    }

    void Wait()
    {
        Came.WaitOne();
        _asked.Cancel();
    }

    // The function through which PosixSignalRegistration installs its own handler (dotnet/runtime,
    // src/native/libs/System.Native/pal_signal.c). Native AOT links it in: a runtime without it fails the build.
    [LibraryImport("libSystem.Native", EntryPoint = "SystemNative_SetPosixSignalHandler")]
    private static partial void SetPosixSignalHandler(delegate* unmanaged<int, PosixSignal, int> handler);
}
