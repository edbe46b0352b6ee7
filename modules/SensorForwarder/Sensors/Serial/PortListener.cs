namespace SensorForwarder.Sensors.Serial;

/// <summary>What was received on a serial port.</summary>
/// <param name="Kind">The kind that sends such bytes; null: none does.</param>
/// <param name="Baud">The rate at which it was recognised.</param>
/// <param name="Bytes">Number of bytes received at all rates.</param>
internal sealed record HeardDevice(SensorKind? Kind, int Baud, int Bytes);

/// <summary>Recognises devices that send without a request, for the doctor. Sends nothing: an unknown device could
/// misinterpret a request.</summary>
internal static class PortListener
{
    const int MaxBytesAtOneRate = 2048;

    /// <summary>The default rate of all kinds that send without a request.</summary>
    public const int UsualBaud = 9600;

    // After the usual rate, the other rates of satellite receivers.
    static readonly int[] Rates = [UsualBaud, 38_400, 115_200, 4800];

    /// <summary>Listens at the usual rates, one after the other, until something is recognised. A port that is silent
    /// at the first rate is silent at every rate.</summary>
    /// <param name="path">As in a sensor's option <c>port</c>. Its settings are restored.</param>
    /// <param name="patience">How long to listen at each rate.</param>
    /// <exception cref="SensorFault">The port can't be used.</exception>
    public static HeardDevice Listen(
        SensorWorld world, string path, IReadOnlyList<SensorKind> kinds, TimeSpan patience)
    {
        var total = 0;
        foreach (var rate in Rates)
        {
            using var port = new SerialPort(world, path, new(rate), restores: true);
            port.Discard();
            var bytes = new byte[MaxBytesAtOneRate];
            var began = world.TimeProvider.GetTimestamp();
            for (var length = 0; length < bytes.Length;)
            {
                var read = port.Read(bytes.AsSpan(length), began, patience, CancellationToken.None);
                if (read == 0) break;
                length += read;
                total += read;
                var heard = bytes[..length];
                if (kinds.FirstOrDefault(kind => kind.IsHeardIn?.Invoke(heard) == true) is { } kind)
                    return new(kind, rate, total);
            }

            if (total == 0) break;
        }

        return new(null, 0, total);
    }
}
