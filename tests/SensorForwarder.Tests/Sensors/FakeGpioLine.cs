using System.IO.Pipes;
using System.Runtime.InteropServices;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Tests.Sensors;

/// <summary>
/// A line whose events come through a pipe, in the kernel's own form: what reads them is what reads a real line. The calls
/// that find and request a line are proven on a kernel, in SensorForwarder.KernelTests.
/// </summary>
internal sealed class FakeGpioLine(TimeProvider clock) : IDisposable
{
    AnonymousPipeServerStream? _pipe;
    uint _sequence;

    /// <summary>What was asked for last.</summary>
    public GpioRequest? Request { get; private set; }

    /// <summary>Somebody has the line.</summary>
    public bool IsTaken { get; private set; }

    public bool IsActive { get; set; }

    public bool IsGone { get; private set; }

    /// <summary>Reading the level times out, as on an expander whose bus is held.</summary>
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

    /// <summary>Edges that came at once.</summary>
    /// <param name="lost">Edges before them that nobody will read.</param>
    /// <param name="levels">The level after each.</param>
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

    /// <summary>Tells when the line is let go of.</summary>
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
