using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>Reasons of bad and uncertain readings, as they appear in readings. A bounded set.</summary>
internal static class FaultReason
{
    /// <summary>A transfer or a read failed.</summary>
    public const string Io = "io";

    /// <summary>The device did not return in time.</summary>
    public const string Timeout = "timeout";

    /// <summary>The bus that the device is on does not answer.</summary>
    public const string BusTimeout = "bus-timeout";

    /// <summary>A checksum does not match.</summary>
    public const string Crc = "crc";

    /// <summary>The device sent invalid data: stuck bus, chip reset, wrong chip, no number.</summary>
    public const string Invalid = "invalid";

    /// <summary>A value beyond the chip's range.</summary>
    public const string Range = "range";

    /// <summary>A value outside <c>min</c> and <c>max</c> of the settings.</summary>
    public const string Limit = "limit";

    /// <summary>A value moved faster than the settings' <c>maxChangePerSecond</c>.</summary>
    public const string Jump = "jump";

    /// <summary>The input is saturated.</summary>
    public const string OverRange = "overrange";

    /// <summary>Edges occurred faster than they could be read.</summary>
    public const string Overrun = "overrun";

    /// <summary>There is no such device.</summary>
    public const string Absent = "absent";

    /// <summary>There are several such devices, and the settings do not say which.</summary>
    public const string Ambiguous = "ambiguous";

    /// <summary>The process may not open it.</summary>
    public const string Denied = "denied";

    /// <summary>Something else uses it.</summary>
    public const string Busy = "busy";

    /// <summary>A kernel driver has the chip.</summary>
    public const string KernelDriver = "kernel-driver";

    /// <summary>The chip has just got power and has not measured yet.</summary>
    public const string PowerOn = "power-on";

    /// <summary>The device has no new data.</summary>
    public const string Stale = "stale";

    /// <summary>The raw data have been identical for too long.</summary>
    public const string Flatline = "flatline";

    /// <summary>The device refuses the request.</summary>
    public const string Refused = "refused";

    /// <summary>A satellite receiver has no position.</summary>
    public const string NoFix = "no-fix";

    /// <summary>Some of the values could not be read.</summary>
    public const string Partial = "partial";

    /// <summary>A fault in this module.</summary>
    public const string Error = "error";
}

/// <summary>A sensor can't be measured; the message says why and what to do.</summary>
/// <param name="reason">One of <see cref="FaultReason"/>.</param>
internal sealed class SensorFault(string reason, string message) : Exception(message)
{
    const int NotPermitted =
        1, NoEntry = 2, NoDeviceOrAddress = 6, AccessDenied = 13, DeviceBusy = 16, NoDevice = 19, TimedOut = 110;

    public string Reason => reason;

    /// <summary>Converts an exception of a file or a bus.</summary>
    /// <param name="exception">From System.IO or System.Device.Gpio.</param>
    /// <param name="what">The device, for the message.</param>
    public static SensorFault From(Exception exception, string what) => exception switch
    {
        SensorFault fault => fault,
        FileNotFoundException or DirectoryNotFoundException => new(FaultReason.Absent, $"{what} does not exist"),
        UnauthorizedAccessException => Denied(what),
        IOException io when ReasonOf(ErrorNumber(io)) == FaultReason.Denied => Denied(what),
        IOException io => new(ReasonOf(ErrorNumber(io)), $"{what}: {LogText.Clean(io.Message)}"),
        _ => new(FaultReason.Error, $"{what}: {LogText.Clean(exception.Message)}"),
    };

    static SensorFault Denied(string what) =>
        new(FaultReason.Denied, $"{what}: access denied; --doctor says what would allow it");

    static string ReasonOf(int errorNumber) => errorNumber switch
    {
        NoEntry or NoDeviceOrAddress or NoDevice => FaultReason.Absent,
        NotPermitted or AccessDenied => FaultReason.Denied,
        DeviceBusy => FaultReason.Busy,
        TimedOut => FaultReason.BusTimeout,
        _ => FaultReason.Io,
    };

    /// <summary>System.IO has it as HResult; System.Device.Gpio only in the text: "Error
    /// 121 (Remote I/O error)..".</summary>
    static int ErrorNumber(IOException exception)
    {
        const int Largest = 4095;
        if (exception.HResult is > 0 and <= Largest) return exception.HResult;
        const string Prefix = "Error ";
        if (!exception.Message.StartsWith(Prefix, StringComparison.Ordinal)) return 0;
        var digits = exception.Message.Skip(Prefix.Length).TakeWhile(char.IsAsciiDigit).Take(4);
        return digits.Aggregate(0, (number, digit) => (number * 10) + (digit - '0'));
    }
}
