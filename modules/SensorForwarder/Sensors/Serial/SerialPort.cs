using System.Buffers.Binary;
using System.ComponentModel;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using SensorForwarder.Options;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Sensors.Serial;

/// <summary>
/// A serial port, accessed through the kernel's terminal interface. Opened at first use and closed on failure; the next
/// use opens its path again, which recovers from unplugging. Has no background activity. Used by the bus's thread only.
/// System.IO.Ports is not used: it requires a native library, wakes a thread a thousand times a second while waiting,
/// and does not detect unplugging. Layouts and numbers: asm-generic/termbits.h and ioctls.h of Linux, which are
/// identical on all supported (little-endian) architectures.
/// </summary>
/// <param name="path">A path that begins with <c>/dev/</c>; may be a link, such as those in /dev/serial/by-id.</param>
/// <param name="restores">Restores the port's previous settings when it is closed.</param>
internal sealed partial class SerialPort(
    SensorWorld world, string path, SerialFormat format, bool restores = false) : IDisposable
{
    const string Dev = "/dev/";
    const string PathForm = "a path below /dev on one line, without ..";
    const string PathPattern = @"^/dev/(?!.*\.\.)[!-~]+$";
    public const int LowestBaud = 300, HighestBaud = 4_000_000;

    // The longest delay between cancellation and the end of a wait.
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(200);
    static readonly TimeSpan WriteTimeout = TimeSpan.FromSeconds(1);

    static readonly Option<string?> Port = Option.TextOf(
        "port", PathForm, PathPattern, IsPath, "The serial port, such as `/dev/serial0`, `/dev/ttyUSB0`, or a link in "
            + "`/dev/serial/by-id` that names the adapter.") with
    { IsRequired = true };

    SafeFileHandle? _handle;
    long _openedAt;
    byte[]? _before; // struct termios2; null: nothing to restore

    public TimeProvider TimeProvider => world.TimeProvider;

    public SerialFormat Format => format;

    /// <summary>How long it has been open; zero when it is closed.</summary>
    public TimeSpan OpenFor => _handle is null ? TimeSpan.Zero : world.TimeProvider.GetElapsedTime(_openedAt);

    /// <summary>Describes the kind of a device that is alone on its serial port.</summary>
    /// <param name="baud">The default.</param>
    /// <param name="make">Creates its driver without opening the port.</param>
    public static SensorKind Kind(
        string name, string text, int baud, SensorValue[] values, Func<SerialPort, SensorSettings, ISensor> make,
        params Option[] options)
    {
        var baudOption = BaudOption(baud);
        return new(
            name, text, [Port, baudOption, .. options],
            (settings, world) =>
                make(new(world, settings.Get(Port) ?? "", new(settings.Get(baudOption))), settings))
        {
            Connection = "serial",
            Values = values,
            Claims = settings => $"serial port {settings.Get(Port)}",
            Bus = settings => settings.Get(Port),
        };
    }

    public static Option<int> BaudOption(int standard) => Option.Integer(
        "baud", LowestBaud, HighestBaud, standard, "Bits per second on the serial port.");

    /// <summary>Whether this is a valid path of a port.</summary>
    public static bool IsPath(string path) => path.StartsWith(Dev, StringComparison.Ordinal) && path.Length > Dev.Length
        && !path.Contains("..", StringComparison.Ordinal) && path.All(c => c is > ' ' and <= '~');

    /// <summary>Discards received bytes that were not read.</summary>
    /// <exception cref="SensorFault">The port can't be used.</exception>
    public void Discard()
    {
        const nuint BytesToRead = 0x541B, Flush = 0x540B, Input = 0;
        const int NearlyFull = 3500; // of 4,095
        var waiting = new byte[sizeof(int)];
        if (ioctl(Open(), BytesToRead, waiting) < 0) throw Fail(Marshal.GetLastPInvokeError());
        if (BinaryPrimitives.ReadInt32LittleEndian(waiting) > NearlyFull)
        {
            // Bytes received while this buffer is full go to a second one of 64 KB, which refills the first after a
            // flush. Closing the port empties both.
            var openedAt = _openedAt;
            Dispose();
            Open();
            _openedAt = openedAt;
        }

        if (ioctl(Open(), Flush, Input) < 0) throw Fail(Marshal.GetLastPInvokeError());
    }

    /// <exception cref="SensorFault">The port can't be used.</exception>
    public void Write(ReadOnlySpan<byte> bytes, CancellationToken cancellationToken)
    {
        var handle = Open();
        while (bytes.Length > 0)
        {
            var written = write(handle, bytes, (nuint)bytes.Length);
            if (written > 0) bytes = bytes[(int)written..];
            else if (!IsTransient(written)) throw Fail(Marshal.GetLastPInvokeError());
            else if (!Wait(handle, forOutput: true, WriteTimeout, cancellationToken))
                throw new SensorFault(FaultReason.Timeout, $"{path} accepts no bytes");
        }
    }

    /// <summary>Reads received bytes; waits if there are none.</summary>
    /// <param name="began">The timestamp at which <paramref name="patience"/> began.</param>
    /// <returns>The number of bytes; 0 if none were received in time.</returns>
    /// <exception cref="SensorFault">The port can't be used.</exception>
    public int Read(Span<byte> bytes, long began, TimeSpan patience, CancellationToken cancellationToken)
    {
        var rest = patience - world.TimeProvider.GetElapsedTime(began);
        if (rest <= TimeSpan.Zero) return 0;
        var handle = Open();
        while (true)
        {
            if (!Wait(handle, forOutput: false, rest, cancellationToken)) return 0;
            var length = read(handle, bytes, (nuint)bytes.Length);
            if (length > 0) return (int)length;
            if (length == 0 || !IsTransient(length)) throw Fail(length == 0 ? HungUp : Marshal.GetLastPInvokeError());
        }
    }

    public void Dispose()
    {
        const nuint NotExclusive = 0x540D;
        if (_handle is null) return;
        if (_before is not null) _ = ioctl(_handle, SetTerminal, _before);
        _before = null;
        _ = ioctl(_handle, NotExclusive, 0);
        _handle.Dispose();
        _handle = null;
    }

    const int Interrupted = 4, HungUp = 5, WouldBlock = 11, NoTerminal = 25;
    const nuint GetTerminal = 0x802C542A, SetTerminal = 0x402C542B;

    /// <summary>Whether the failed call can be repeated.</summary>
    static bool IsTransient(nint result) => result < 0 && Marshal.GetLastPInvokeError() is Interrupted or WouldBlock;

    SafeFileHandle Open()
    {
        const int ReadWrite = 2, NotControlling = 0x100, NonBlocking = 0x800, CloseOnExec = 0x80000;
        const nuint Exclusive = 0x540C;
        if (_handle is not null) return _handle;
        var descriptor = open(
            Path.Combine(world.Roots.Dev, path[Dev.Length..]), ReadWrite | NotControlling | NonBlocking | CloseOnExec);
        if (descriptor < 0) throw Fail(Marshal.GetLastPInvokeError());
        _handle = new(descriptor, ownsHandle: true);
        CheckDiscipline(_handle);
        Configure(_handle);
        // From now on, only root can open it as well.
        if (ioctl(_handle, Exclusive, 0) < 0) throw Fail(Marshal.GetLastPInvokeError());
        _openedAt = world.TimeProvider.GetTimestamp();
        return _handle;
    }

    /// <summary>Refuses a port that a kernel driver uses, such as that of a Bluetooth chip: changing its settings would
    /// break the driver.</summary>
    void CheckDiscipline(SafeFileHandle handle)
    {
        const nuint GetDiscipline = 0x5424;
        var discipline = new byte[sizeof(int)];
        if (ioctl(handle, GetDiscipline, discipline) < 0) throw Fail(Marshal.GetLastPInvokeError());
        if (BinaryPrimitives.ReadInt32LittleEndian(discipline) is not 0 and var number)
        {
            Dispose();
            throw new SensorFault(
                FaultReason.Busy, $"{path} is used by a driver of the kernel (line discipline {number})");
        }
    }

    /// <summary>Configures raw mode with struct termios2, which allows any baud rate.</summary>
    void Configure(SafeFileHandle handle)
    {
        const int InputFlags = 0, OutputFlags = 4, ControlFlags = 8, LocalFlags = 12, Characters = 17, InputBaud = 36,
            OutputBaud = 40, Length = 44, MinCount = 6, Time = 5;
        const uint CheckParity = 0x10, EightBits = 0x30, TwoStopBits = 0x40, Receive = 0x80, HasParity = 0x100,
            Odd = 0x200, NoModem = 0x800, AnyBaud = 0x1000;
        var settings = new byte[Length];
        if (ioctl(handle, GetTerminal, settings) < 0) throw Fail(Marshal.GetLastPInvokeError());
        if (restores) _before = [.. settings];
        var hasParity = format.Parity != SerialParity.None;
        Put(InputFlags, hasParity ? CheckParity : 0);
        Put(OutputFlags, 0);
        Put(ControlFlags, AnyBaud | EightBits | Receive | NoModem | (format.StopBits == 2 ? TwoStopBits : 0)
            | (hasParity ? HasParity : 0) | (format.Parity == SerialParity.Odd ? Odd : 0));
        Put(LocalFlags, 0);
        settings[Characters + MinCount] = settings[Characters + Time] = 0;
        Put(InputBaud, (uint)format.Baud);
        Put(OutputBaud, (uint)format.Baud);
        if (ioctl(handle, SetTerminal, settings) < 0) throw Fail(Marshal.GetLastPInvokeError());

        void Put(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(settings.AsSpan(offset), value);
    }

    /// <returns>False if the time has run out.</returns>
    bool Wait(SafeFileHandle handle, bool forOutput, TimeSpan patience, CancellationToken cancellationToken)
    {
        var entry = new PollEntry
        {
            File = (int)handle.DangerousGetHandle(), // open until this thread closes it
            Wanted = forOutput ? PollEntry.Output : PollEntry.Input,
        };
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var now = patience < LookEvery ? patience : LookEvery;
            var ready = PollEntry.Wait(new(ref entry), (int)Math.Ceiling(Math.Max(0, now.TotalMilliseconds)));
            if (ready > 0) return true; // an error shows in the read or write that follows
            if (ready < 0 && Marshal.GetLastPInvokeError() != Interrupted) throw Fail(Marshal.GetLastPInvokeError());
            patience -= now;
            if (patience <= TimeSpan.Zero) return false;
        }
    }

    /// <summary>Closes the port, so that the next use opens it again.</summary>
    SensorFault Fail(int error)
    {
        Dispose();
        var fault = SensorFault.From(
            new IOException(FormattableString.Invariant($"error {error}, {new Win32Exception(error).Message}"), error),
            path);
        return (error, fault.Reason) switch
        {
            (NoTerminal, _) => new(FaultReason.Absent, $"{path} is not a serial port"),
            (_, FaultReason.Absent) => new(FaultReason.Absent,
                $"{path} does not exist: plug it in; the node must be in createOptions' Devices"),
            (_, FaultReason.Busy) => new(FaultReason.Busy, $"{path} is used by another program"),
            _ => fault,
        };
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(SafeFileHandle file, nuint request, [In, Out] byte[] argument);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(SafeFileHandle file, nuint request, nuint argument);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(SafeFileHandle file, Span<byte> buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint write(SafeFileHandle file, ReadOnlySpan<byte> buffer, nuint count);
}
