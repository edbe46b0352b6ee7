using System.IO.Pipes;
using System.Runtime.InteropServices;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Tests.Sensors;

/// <summary>
/// A GPIO line whose events come through a pipe in the kernel's format, so that the module's own code reads them.
/// Finding and requesting a line are tested on a real kernel in SensorForwarder.KernelTests.
/// </summary>
internal sealed class FakeGpioLine(TimeProvider clock) : IDisposable
{
    AnonymousPipeServerStream? _pipe;
    uint _sequence;

    /// <summary>The latest request.</summary>
    public GpioRequest? Request { get; private set; }

    /// <summary>Whether the line is in use.</summary>
    public bool IsTaken { get; private set; }

    public bool IsActive { get; set; }

    public bool IsGone { get; private set; }

    /// <summary>Whether reading the level times out, as on a GPIO expander with a blocked bus.</summary>
    public bool TimesOut { get; set; }

    public GpioLine Open(GpioPlace place, GpioRequest request)
    {
        if (IsGone) throw new SensorFault(FaultReason.Absent, "there is no such chip");
        if (IsTaken) throw new SensorFault(FaultReason.Busy, "it is used");
        (Request, IsTaken, _sequence) = (request, true, 0);
        _pipe?.Dispose();
        _pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        return new(new Ours(this, _pipe.ClientSafePipeHandle), ReadLevel, "line 17");
    }

    bool ReadLevel()
    {
        if (IsGone) throw new SensorFault(FaultReason.Absent, "the chip is gone");
        return TimesOut ? throw new SensorFault(FaultReason.BusTimeout, "no answer") : IsActive;
    }

    /// <summary>Sends edges, all with the current time.</summary>
    /// <param name="lost">Number of preceding edges that were lost.</param>
    /// <param name="levels">The level after each edge.</param>
    public void Change(uint lost = 0, params bool[] levels)
    {
        _sequence += lost;
        var edges = levels.Select(level => new GpioEdge
        {
            TimestampNanoseconds = (ulong)((UInt128)clock.GetTimestamp() * 1_000_000_000 / (UInt128)clock.TimestampFrequency),
            Id = level ? 1u : 2u,
            LineSequence = ++_sequence,
        }).ToArray();
        IsActive = levels[^1];
        _pipe!.Write(MemoryMarshal.AsBytes(edges.AsSpan()));
    }

    public void Pulse(int count, uint lost = 0) => Change(lost, [.. Enumerable.Repeat(true, count)]);

    public void Unplug()
    {
        IsGone = true;
        _pipe!.Dispose();
    }

    public void PlugIn() => IsGone = false;

    public void Dispose() => _pipe?.Dispose();

    /// <summary>A handle that marks the line as released.</summary>
    sealed class Ours : SafeHandle
    {
        readonly FakeGpioLine _line;
        readonly SafeHandle _pipe;

        public Ours(FakeGpioLine line, SafeHandle pipe)
            : base(pipe.DangerousGetHandle(), ownsHandle: true)
        {
            (_line, _pipe) = (line, pipe);
        }

        public override bool IsInvalid => _pipe.IsInvalid;

        protected override bool ReleaseHandle()
        {
            _line.IsTaken = false;
            _pipe.Dispose();
            return true;
        }
    }
}
