using SensorForwarder.Options;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors.Serial;

/// <summary>
/// A device that sends frames on a serial port, continuously or on request. A measurement is the first intact frame
/// received after it began; bytes received before are discarded, since their age is unknown.
/// </summary>
internal sealed class FrameSensor(
    SerialPort port, FrameForm form, byte[] request, Func<byte[], Measurement> read, TimeSpan warmUp) : ISensor
{
    // Devices that send continuously do so about every second.
    static readonly TimeSpan SentBy = TimeSpan.FromSeconds(3);
    static readonly TimeSpan AnsweredBy = TimeSpan.FromSeconds(1);

    /// <summary>Describes the kind of such a device.</summary>
    /// <param name="request">The request for a frame; empty: the device sends continuously.</param>
    /// <param name="read">Decodes an intact frame.</param>
    /// <param name="warmUpSeconds">The default of how long its values are unreliable after power-on.</param>
    public static SensorKind Kind(
        string name, string text, SensorValue[] values, FrameForm form, byte[] request, Func<byte[], Measurement> read,
        double warmUpSeconds)
    {
        var warmUp = Option.Number(
            "warmUpSeconds", 0, 3600, warmUpSeconds, "For this long after the port was opened, readings are "
                + "`uncertain`, `power-on`: the device may have been powered on just then.");
        return SerialPort.Kind(
            name, text, PortListener.UsualBaud, values,
            (port, settings) =>
                new FrameSensor(port, form, request, read, TimeSpan.FromSeconds(settings.Get(warmUp))), warmUp)
            with
        { IsHeardIn = request.Length > 0 ? null : bytes => form.Find(bytes) is not null };
    }

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        port.Discard();
        if (request.Length > 0) port.Write(request, cancellationToken);
        var frame = Receive(request.Length > 0 ? AnsweredBy : SentBy, cancellationToken);
        var measurement = read(frame);
        return ValueTask.FromResult(measurement.Quality == ReadingQuality.Good && port.OpenFor < warmUp
            ? measurement with
            {
                Quality = ReadingQuality.Uncertain,
                Reason = FaultReason.PowerOn,
                Detail = $"warming up: the port was opened less than {warmUp.TotalSeconds:0} s ago",
            }
            : measurement);
    }

    public void Dispose() => port.Dispose();

    byte[] Receive(TimeSpan patience, CancellationToken cancellationToken)
    {
        var bytes = new byte[512];
        var (length, all) = (0, 0);
        var began = port.TimeProvider.GetTimestamp();
        while (true)
        {
            var read = port.Read(bytes.AsSpan(length), began, patience, cancellationToken);
            if (read == 0) throw Missing(all, patience);
            all += read;
            length += read;
            if (form.Find(bytes.AsSpan(0, length)) is { } frame) return frame;
            if (length < bytes.Length) continue;
            // No frame among these bytes; the last ones may be the beginning of one.
            length = form.Length - 1;
            bytes.AsSpan(bytes.Length - length).CopyTo(bytes);
        }
    }

    SensorFault Missing(int received, TimeSpan patience) => received == 0
        ? new(FaultReason.Timeout, $"nothing received for {patience.TotalSeconds:0} s: is it wired to this port?")
        : new(FaultReason.Crc, $"{received} bytes received without an intact frame: is {port.Format.Baud} baud right, "
            + "and is it this kind of device?");
}
