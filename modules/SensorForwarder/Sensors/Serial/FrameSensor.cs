using SensorForwarder.Options;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors.Serial;

/// <summary>
/// A device that sends frames on a serial port, by itself or when it is asked: the first intact frame that comes after
/// the measurement began. What came before is thrown away, since nobody knows how old it is.
/// </summary>
/// <param name="port">Its port.</param>
/// <param name="form">What its frames look like.</param>
/// <param name="request">What it is asked with; empty: it sends by itself.</param>
/// <param name="read">Reads an intact frame.</param>
/// <param name="warmUp">How long its values are not to be trusted after it got power.</param>
internal sealed class FrameSensor(
    SerialPort port, FrameForm form, byte[] request, Func<byte[], Measurement> read, TimeSpan warmUp) : ISensor
{
    // Those that send by themselves do so about every second.
    static readonly TimeSpan SentBy = TimeSpan.FromSeconds(3);
    static readonly TimeSpan AnsweredBy = TimeSpan.FromSeconds(1);

    /// <summary>How long the values of a kind are not to be trusted after it got power.</summary>
    public static Option<double> WarmUpOption(double standard) => Option.Number(
        "warmUpSeconds", 0, 3600, standard, "So long after the port was opened readings are `uncertain`, `power-on`: "
            + "the device may have got power just then.");

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
                Detail = $"it warms up: its port was opened less than {warmUp.TotalSeconds:0} s ago",
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
            var rest = patience - port.TimeProvider.GetElapsedTime(began);
            var read = rest > TimeSpan.Zero ? port.Read(bytes.AsSpan(length), rest, cancellationToken) : 0;
            if (read == 0) throw Missing(all, patience);
            all += read;
            length += read;
            if (form.Find(bytes.AsSpan(0, length)) is { } frame) return frame;
            if (length < bytes.Length) continue;
            // Garbage; what may be the beginning of a frame stays.
            length = form.Length - 1;
            bytes.AsSpan(bytes.Length - length).CopyTo(bytes);
        }
    }

    SensorFault Missing(int received, TimeSpan patience) => received == 0
        ? new(FaultReason.Timeout, $"nothing came for {patience.TotalSeconds:0} s: is it wired to this port?")
        : new(FaultReason.Crc, $"{received} bytes came and no intact frame was among them: is {port.Format.Baud} baud "
            + "right, and is it this kind of device?");
}
