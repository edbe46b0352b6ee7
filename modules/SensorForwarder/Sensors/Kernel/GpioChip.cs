using System.Buffers.Binary;
using System.ComponentModel;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>A line of a GPIO chip, as the kernel describes it.</summary>
/// <param name="Offset">Its number on the chip.</param>
/// <param name="Name">Such as GPIO17; empty when it has none.</param>
/// <param name="User">Who uses it; null: it is free.</param>
internal sealed record GpioLineInfo(int Offset, string Name, string? User)
{
    public override string ToString() => Name.Length > 0 ? $"line {Offset} ({Name})" : $"line {Offset}";
}

/// <summary>
/// A GPIO chip by the kernel's character device, ABI version 2: needs neither a library nor /dev/gpiomem. Layouts and
/// numbers: include/uapi/linux/gpio.h of Linux 5.10 and later; they are the same on all machines, which are
/// little-endian here.
/// </summary>
internal sealed partial class GpioChip : IDisposable
{
    const uint GetChipInfo = 0x8044B401, GetLineInfo = 0xC100B405, RequestLine = 0xC250B407, GetLineValues = 0xC010B40E,
        SetLineValues = 0xC010B40F;
    const int NameLength = 32, ChipInfoBytes = 68, LineInfoBytes = 256, RequestBytes = 592, ValuesBytes = 16;
    const ulong Used = 1 << 0;
    const int NotPossible = 6, Busy = 16, InvalidArgument = 22, NotSupported = 95, NotSupportedInKernel = 524;

    readonly SafeFileHandle _handle;

    GpioChip(SafeFileHandle handle, string node, string label, int lines) =>
        (_handle, Node, Label, Lines) = (handle, node, label, lines);

    /// <summary>Such as gpiochip0. May differ after the next start.</summary>
    public string Node { get; }

    /// <summary>Its driver's name for it, such as pinctrl-bcm2711.</summary>
    public string Label { get; }

    public int Lines { get; }

    /// <summary>Names of the existing nodes, in the order of their numbers.</summary>
    public static IEnumerable<string> Nodes(SensorRoots roots) =>
        KernelFile.Entries(roots.Dev, "gpiochip*").Select(path => Path.GetFileName(path));

    /// <exception cref="SensorFault">It can't be opened.</exception>
    public static GpioChip Open(SensorRoots roots, string node)
    {
        var path = Path.Combine(roots.Dev, node);
        SafeFileHandle? handle = null;
        try
        {
            handle = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            var info = new byte[ChipInfoBytes];
            Control(handle, GetChipInfo, info, path);
            return new(handle, node, Text(info.AsSpan(NameLength, NameLength)), BinaryPrimitives.ReadInt32LittleEndian(
                info.AsSpan(2 * NameLength)));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or SensorFault)
        {
            handle?.Dispose();
            throw SensorFault.From(exception, path);
        }
    }

    /// <exception cref="SensorFault">The chip is gone.</exception>
    public GpioLineInfo InfoOf(int offset)
    {
        var info = new byte[LineInfoBytes];
        BinaryPrimitives.WriteInt32LittleEndian(info.AsSpan(2 * NameLength), offset);
        Control(_handle, GetLineInfo, info, Node);
        var isUsed = (BinaryPrimitives.ReadUInt64LittleEndian(info.AsSpan(72)) & Used) != 0;
        var user = Text(info.AsSpan(NameLength, NameLength));
        return new(offset, Text(info.AsSpan(0, NameLength)), isUsed ? user.Length > 0 ? user : "the kernel" : null);
    }

    /// <summary>Takes a line until the result is disposed.</summary>
    /// <exception cref="SensorFault">The line is in use, or does not support the request.</exception>
    public GpioLine Request(GpioLineInfo line, GpioRequest wanted)
    {
        // struct gpio_v2_line_request
        const int Consumer = 256, Config = 288, AttributeCount = 296, FirstAttribute = 320, LineCount = 560,
            EventBufferSize = 564, File = 588;
        const int OutputValues = 2, DebounceAttribute = 3, AttributeValue = 8, AttributeMask = 16;
        const int LargestEventBuffer = 1024;
        var request = new byte[RequestBytes];
        var span = request.AsSpan();
        BinaryPrimitives.WriteInt32LittleEndian(span, line.Offset);
        Encoding.ASCII.GetBytes("SensorForwarder", span[Consumer..]);
        BinaryPrimitives.WriteUInt64LittleEndian(span[Config..], wanted.Flags);
        var isOutput = (wanted.Flags & GpioRequest.Output) != 0;
        if (wanted.Debounce > TimeSpan.Zero || isOutput)
        {
            BinaryPrimitives.WriteInt32LittleEndian(span[AttributeCount..], 1);
            BinaryPrimitives.WriteInt32LittleEndian(
                span[FirstAttribute..], isOutput ? OutputValues : DebounceAttribute);
            BinaryPrimitives.WriteUInt32LittleEndian(
                span[(FirstAttribute + AttributeValue)..],
                isOutput ? wanted.IsActive ? 1u : 0 : (uint)wanted.Debounce.TotalMicroseconds);
            BinaryPrimitives.WriteUInt64LittleEndian(span[(FirstAttribute + AttributeMask)..], 1);
        }

        BinaryPrimitives.WriteInt32LittleEndian(span[LineCount..], 1);
        if (!isOutput) BinaryPrimitives.WriteInt32LittleEndian(span[EventBufferSize..], LargestEventBuffer);
        var what = $"{line} of {Label}";
        if (TryControl(_handle, RequestLine, request) is var error and > 0)
        {
            throw error switch
            {
                Busy => new SensorFault(FaultReason.Busy,
                $"{what} is used by {InfoOf(line.Offset).User ?? "a program that has released it just now"}"),
                NotPossible or InvalidArgument or NotSupported or NotSupportedInKernel =>
                    new SensorFault(FaultReason.Error, isOutput
                    ? $"{what} can't be an output ({Describe(error)})"
                    : $"{what} can't be an input with these settings of edges, bias and debounce: the chip has no {(
                        wanted.HasEdges ? "interrupt or no " : "")}such bias ({Describe(error)})"),
                _ => FaultOf(error, what),
            };
        }

        var handle = new SafeFileHandle(BinaryPrimitives.ReadInt32LittleEndian(span[File..]), ownsHandle: true);
        return new(
            handle, () => ReadLevel(handle, what), what, isOutput ? level => SetLevel(handle, level, what) : null);
    }

    public void Dispose() => _handle.Dispose();

    static bool ReadLevel(SafeFileHandle handle, string what)
    {
        var values = new byte[ValuesBytes];
        values[8] = 1; // the mask: the only line of the request
        Control(handle, GetLineValues, values, what);
        return (values[0] & 1) != 0;
    }

    static void SetLevel(SafeFileHandle handle, bool level, string what)
    {
        var values = new byte[ValuesBytes];
        values[0] = level ? (byte)1 : (byte)0;
        values[8] = 1; // as above
        Control(handle, SetLineValues, values, what);
    }

    static void Control(SafeFileHandle handle, uint request, byte[] argument, string what)
    {
        if (TryControl(handle, request, argument) is var error and > 0) throw FaultOf(error, what);
    }

    /// <returns>0, or the error's number.</returns>
    static int TryControl(SafeFileHandle handle, uint request, byte[] argument)
    {
        const int Interrupted = 4;
        while (ioctl(handle, request, argument) < 0)
        {
            var error = Marshal.GetLastPInvokeError();
            if (error != Interrupted) return error;
        }

        return 0;
    }

    static SensorFault FaultOf(int error, string what) =>
        SensorFault.From(new IOException(Describe(error), error), what);

    static string Describe(int error) =>
        string.Create(CultureInfo.InvariantCulture, $"error {error}, {new Win32Exception(error).Message}");

    static string Text(ReadOnlySpan<byte> bytes) =>
        LogText.Clean(Encoding.ASCII.GetString(bytes.IndexOf((byte)0) is var end and >= 0 ? bytes[..end] : bytes));

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(SafeFileHandle file, nuint request, [In, Out] byte[] argument);
}
