using System.Runtime.InteropServices;

namespace SensorForwarder.Operations;

/// <summary>SIGTERM and SIGINT. Listened for from the first moment of the program on: until the host listens nobody else does, and
/// the runtime would end the process with 143.</summary>
internal sealed class StopSignal : IDisposable
{
    readonly CancellationTokenSource _asked = new();
    readonly PosixSignalRegistration _sigterm;
    readonly PosixSignalRegistration _sigint;

    public StopSignal()
    {
        _sigterm = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Take);
        _sigint = PosixSignalRegistration.Create(PosixSignal.SIGINT, Take);
    }

    public CancellationToken Token => _asked.Token;

    public void Dispose()
    {
        _sigterm.Dispose();
        _sigint.Dispose();
        _asked.Dispose();
    }

    void Take(PosixSignalContext context)
    {
        context.Cancel = true;
        _asked.Cancel();
    }
}
