using SensorForwarder.Options;
using SensorForwarder.Sensors.Serial;

namespace SensorForwarder.Sensors.Modbus;

/// <summary>The address and parameters of a Modbus connection. Sensors with the same <see cref="Name"/> share it.
/// </summary>
/// <param name="Name">The server, such as <c>tcp://10.0.0.5:502</c>, or the path of the serial port.</param>
/// <param name="Host">The server's name or address; null for a serial line.</param>
/// <param name="Format">The character format of the serial line; null for a server.</param>
/// <param name="Timeout">How long a device may take to answer.</param>
/// <param name="Pause">Between an answer and the next request.</param>
internal sealed record ModbusPlace(
    string Name, string? Host, int Port, SerialFormat? Format, TimeSpan Timeout, TimeSpan Pause)
{
    const int StandardPort = 502, StandardBaud = 9600;

    static readonly Option<string?> Connection = Option.TextOf(
        "connection", "tcp://HOST:PORT, or the path of a serial port below /dev",
        @"^(tcp://[^/?#@\s]+/?|/dev/(?!.*\.\.)[!-~]+)$",
        text => SerialPort.IsPath(text) || TryServer(text, out _, out _),
        "Where the device is: `tcp://10.0.0.5:502` (502 may be left out), or a serial port such as `/dev/ttyUSB0` or "
            + "a link in `/dev/serial/by-id`. Sensors with the same one share it.") with
    { IsRequired = true };

    static readonly Option<int> Baud = SerialPort.BaudOption(StandardBaud);

    static readonly Option<SerialParity> Parity = Option.Choice(
        "parity", [("none", SerialParity.None), ("even", SerialParity.Even), ("odd", SerialParity.Odd)],
        SerialParity.None, "The parity bit, on a serial port.");

    static readonly Option<int> StopBits = Option.Integer("stopBits", 1, 2, 1, "Stop bits, on a serial port.");

    static readonly Option<double> TimeoutOption = Option.Number(
        "timeoutSeconds", 0.05, 3, 1, "How long the device may take to answer.");

    static readonly Option<double?> PauseOption = Option.Number(
        "pauseMilliseconds", 0, 1000, "Pause between an answer and the next request.")
        .From("30 on a serial port, else 0");

    public static IReadOnlyList<Option> Options { get; } =
        [Connection, Baud, Parity, StopBits, TimeoutOption, PauseOption];

    public static ModbusPlace Of(SensorSettings settings)
    {
        const double SerialPauseMilliseconds = 30;
        var connection = settings.Get(Connection) ?? "";
        var timeout = TimeSpan.FromSeconds(settings.Get(TimeoutOption));
        var pause = settings.Get(PauseOption);
        if (!TryServer(connection, out var host, out var port))
        {
            var format = new SerialFormat(settings.Get(Baud), settings.Get(Parity), settings.Get(StopBits));
            return new(
                connection, null, 0, format, timeout, TimeSpan.FromMilliseconds(pause ?? SerialPauseMilliseconds));
        }

        var shown = host.Contains(':', StringComparison.Ordinal) ? $"[{host}]" : host;
        return new($"tcp://{shown}:{port}", host, port, null, timeout, TimeSpan.FromMilliseconds(pause ?? 0));
    }

    static bool TryServer(string text, out string host, out int port)
    {
        (host, port) = ("", 0);
        if (!Uri.TryCreate(text, UriKind.Absolute, out var url) || url.Scheme != "tcp" || url.Host.Length == 0
            || url.UserInfo.Length > 0 || url.PathAndQuery is not ("" or "/") || url.Fragment.Length > 0) return false;
        (host, port) = (url.IdnHost, url.Port < 0 ? StandardPort : url.Port);
        return port > 0;
    }
}
