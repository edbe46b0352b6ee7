using System.Runtime.InteropServices;

namespace SensorForwarder.Operations;

/// <summary>SIGTERM, SIGINT and SIGQUIT. Listened for from the first moment of the program on: until the host listens
/// nobody else does, and the runtime would end the process with 143. There is one in a process.</summary>
/// <remarks>A stop must not need a new thread: where the limit of the container (PidsLimit) or of the user is reached,
/// none can be made, and the runtime ends the process as a crash. The runtime's own handler starts a thread for each of
/// these signals, so a thread that exists from the start takes them instead; and <see cref="PrepareThreads"/> makes
/// the threads of the pool that stopping uses.</remarks>
internal sealed unsafe partial class StopSignal : IDisposable
{
    // ThreadsToKeepAlive in the project file. More are made only where all of these are blocked: HillClimbing is off.
    const int KeptThreads = 4;

    static readonly AutoResetEvent Came = new(initialState: false);

    // Not disposed: a signal may come at the very end.
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
            // Another runtime: its own handler calls Take, on a new thread.
        }
    }

    public CancellationToken Token => _asked.Token;

    /// <summary>Makes the threads of the pool. It would make them when there is work for them, and end the process if
    /// one can't be made then.</summary>
    public static void PrepareThreads()
    {
        ThreadPool.GetMinThreads(out _, out var completionPorts);
        ThreadPool.SetMinThreads(KeptThreads, completionPorts);

        // Each waits for the others, so that no thread does the work of two.
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

    // Called on the runtime's thread for signals. 0: the signal does what it does without a handler.
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
